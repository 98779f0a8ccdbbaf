//! The order in which people expect names: without case, numbers by value.

use std::cmp::Ordering;

/// Compares `v2` before `v10`, `Anime` beside `anime`.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let by_pieces = pieces(a).map(Piece::new).cmp(pieces(b).map(Piece::new));
    by_pieces.then_with(|| a.cmp(b))
}

/// Runs of digits, and runs of anything else.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let is_digit = rest.chars().next()?.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != is_digit).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    /// Digits without leading zeros: by length, then by text, is by value.
    Number(usize, String),
    Text(String),
}

impl Piece {
    fn new(piece: &str) -> Self {
        if piece.starts_with(|c: char| c.is_ascii_digit()) {
            let digits = piece.trim_start_matches('0');
            Piece::Number(digits.len(), digits.into())
        } else {
            Piece::Text(piece.to_lowercase())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_by_value_and_no_case() {
        let sorted = ["1.pt", "Anime2.pt", "anime10.pt", "sd-007.pt", "sd-8.pt", "sd.pt"];
        let mut found = sorted;
        found.reverse();
        found.sort_by(|a, b| compare(a, b));
        assert_eq!(found, sorted);
    }
}

//! A map of differences as a picture.

use ndarray::Array4;
use vaekit::Images;

use crate::score::{Decoded, Original};

/// The CIEDE2000 that gets the last colour, and all above it.
pub const HOTTEST: f32 = 20.0;

/// matplotlib's inferno (CC0), every 32nd of its 256 colours and the last: dark to bright in even steps of lightness, also for
/// the colour-blind and in grey.
const INFERNO: [[u8; 3]; 9] = [
    [0, 0, 4],
    [33, 12, 74],
    [87, 16, 110],
    [138, 34, 106],
    [188, 55, 84],
    [228, 90, 49],
    [249, 142, 9],
    [249, 203, 53],
    [252, 255, 164],
];

/// The colour of a difference.
pub fn colour(delta_e: f32) -> [u8; 3] {
    // Small differences matter most, so they get most of the colours.
    let position = (delta_e / HOTTEST).clamp(0.0, 1.0).sqrt() * (INFERNO.len() - 1) as f32;
    let index = (position as usize).min(INFERNO.len() - 2);
    let share = position - index as f32;
    let mix = |channel: usize| {
        let (low, high) = (f32::from(INFERNO[index][channel]), f32::from(INFERNO[index + 1][channel]));
        (low + share * (high - low)).round() as u8
    };
    [mix(0), mix(1), mix(2)]
}

/// Where a decoded picture differs from its original: an image of the same size, dark where the two are equal.
pub fn map(original: &Original, decoded: &Decoded) -> Images {
    let (height, width) = original.size();
    let colours: Vec<[u8; 3]> = decoded.delta_e.iter().map(|&delta_e| colour(delta_e)).collect();
    let data = Array4::from_shape_fn((1, 3, height, width), |(_, channel, y, x)| {
        f32::from(colours[y * width + x][channel]) / 127.5 - 1.0
    });
    Images { data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_and_nothing_beyond() {
        assert_eq!(colour(0.0), INFERNO[0]);
        assert_eq!(colour(HOTTEST), INFERNO[8]);
        assert_eq!(colour(1e9), INFERNO[8]);
        assert_eq!(colour(HOTTEST / 4.0), INFERNO[4]);
    }
}

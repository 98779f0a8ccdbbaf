//! `--tiles`: when pictures are cut.

use anyhow::{Context, Result};
use vaekit::{TileSize, Tiling};

use crate::failure::{Kind, OfKind};

/// `--tiles`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tiles {
    /// Where one piece does not fit into memory.
    #[default]
    Auto,
    /// What does not fit is an error.
    Never,
    /// Always, in tiles of so many pixels a side.
    Pixels {
        /// Most pixels along a side.
        side: usize,
        /// Pixels that neighbours share; a quarter of the side if nothing is said.
        overlap: Option<usize>,
    },
}

impl std::str::FromStr for Tiles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pixels = || {
            let (side, overlap) = match text.split_once(':') {
                Some((side, overlap)) => (side, Some(overlap.parse().ok()?)),
                None => (text, None),
            };
            Some(Tiles::Pixels { side: side.parse().ok()?, overlap })
        };
        match text {
            "auto" => Ok(Tiles::Auto),
            "never" => Ok(Tiles::Never),
            _ => {
                pixels().ok_or_else(|| "write auto, never, or pixels: SIDE or SIDE:OVERLAP, for example 512:128".into())
            }
        }
    }
}

impl std::fmt::Display for Tiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Tiles::Auto => f.write_str("auto"),
            Tiles::Never => f.write_str("never"),
            Tiles::Pixels { side, overlap: None } => write!(f, "{side}"),
            Tiles::Pixels { side, overlap: Some(overlap) } => write!(f, "{side}:{overlap}"),
        }
    }
}

impl Tiles {
    /// For a VAE with `factor` pixels a latent.
    ///
    /// # Errors
    /// [`Kind::Usage`] if the tiles are too small, or share more than half of themselves.
    pub(crate) fn of(self, factor: usize) -> Result<Tiling> {
        let Tiles::Pixels { side, overlap } = self else {
            return Ok(if self == Tiles::Never { Tiling::Never } else { Tiling::OutOfMemory });
        };
        let size = TileSize::of_pixels(side, overlap, factor).with_context(|| format!("--tiles {self}"));
        size.map(Tiling::Always).of_kind(Kind::Usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_pixels() {
        for text in ["auto", "never", "512", "512:64"] {
            assert_eq!(text.parse::<Tiles>().unwrap().to_string(), text);
        }
        assert!("512:".parse::<Tiles>().is_err() && "half".parse::<Tiles>().is_err());
        let of = |text: &str| text.parse::<Tiles>().unwrap().of(8);
        assert_eq!(of("512").unwrap(), Tiling::Always(TileSize { side: 64, overlap: 16 }));
        assert_eq!(of("500:30").unwrap(), Tiling::Always(TileSize { side: 62, overlap: 4 }));
        assert_eq!(of("never").unwrap(), Tiling::Never);
        assert!(of("127").is_err() && of("512:300").is_err());
    }
}

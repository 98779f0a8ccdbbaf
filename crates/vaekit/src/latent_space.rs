//! Raw and scaled latents, and the ways between them.

use ndarray::{Array4, ArrayView4, Axis, Zip};
use serde::{Deserialize, Serialize};

/// Which of the two conventions an array of latents follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// As the VAE makes them: what `vae.encode` gives in diffusers and ComfyUI stores.
    Raw,
    /// As the diffusion model sees them, near unit variance: `(raw - shift_factor) * scaling_factor`.
    Scaled,
}

impl std::fmt::Display for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Domain::Raw => "raw",
            Domain::Scaled => "scaled",
        })
    }
}

/// How raw latents become scaled ones. Sources: diffusers' pipelines and the models' `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Scaling {
    /// `scaled = (raw - shift_factor) * scaling_factor`: SD1, SD2, SDXL, SD3, FLUX.1.
    Affine {
        /// diffusers' `scaling_factor`, CompVis' `scale_factor`.
        scaling_factor: f64,
        /// diffusers' `shift_factor`, 0 where there is none.
        shift_factor: f64,
    },
    /// `scaled = (raw - mean) * scaling_factor / std` for each channel: Playground v2.5.
    PerChannel {
        /// diffusers' `latents_mean`.
        mean: Vec<f64>,
        /// diffusers' `latents_std`.
        std: Vec<f64>,
        /// diffusers' `scaling_factor`.
        scaling_factor: f64,
    },
    /// `scaled = (pack(raw) - mean) / std` for each packed channel: FLUX.2's batch normalisation.
    Packed {
        /// `bn.running_mean`.
        mean: Vec<f64>,
        /// `sqrt(bn.running_var + 1e-4)`.
        std: Vec<f64>,
    },
}

impl Scaling {
    /// An affine scaling without a shift.
    pub fn factor(scaling_factor: f64) -> Self {
        Scaling::Affine { scaling_factor, shift_factor: 0.0 }
    }
}

/// A published scaling: a name for people, and the latents it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownScaling {
    /// `sdxl` ...
    pub name: String,
    /// Latent channels.
    pub channels: usize,
    /// The scaling.
    pub scaling: Scaling,
}

impl std::fmt::Display for Scaling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scaling::Affine { scaling_factor, shift_factor } if *shift_factor == 0.0 => write!(f, "{scaling_factor}"),
            Scaling::Affine { scaling_factor, shift_factor } => write!(f, "{scaling_factor}, shift {shift_factor}"),
            Scaling::PerChannel { scaling_factor, mean, .. } => {
                write!(f, "{scaling_factor}, with mean and deviation for each of {} channels", mean.len())
            }
            Scaling::Packed { mean, .. } => write!(f, "mean and deviation for each of {} packed channels", mean.len()),
        }
    }
}

/// The latents of one VAE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatentSpace {
    /// C, the channels of the latents that the graphs take and give.
    pub channels: usize,
    /// H / h: 8 for the usual VAEs.
    pub downsample_factor: usize,
    /// What the graphs take and give: raw for AutoencoderKL, scaled for the tiny ones.
    pub native: Domain,
    /// The way from raw to scaled, if it is known. A tiny VAE has its parent's.
    pub scaling: Option<Scaling>,
    /// Scaled latents are stored with patches of 2 by 2 packed into channels: `[N, 4C, h/2, w/2]` (FLUX.2).
    #[serde(default)]
    pub packed: bool,
}

/// Latents `[N, C, h, w]` that say which convention they follow.
///
/// Scaled latents of a [packed](LatentSpace::packed) space may also be `[N, 4C, h/2, w/2]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Latents {
    /// The values, f32.
    pub data: Array4<f32>,
    /// Raw or scaled.
    pub domain: Domain,
}

/// Why latents do not fit a VAE.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum LatentError {
    /// The channel count is another one.
    #[error("the latents are {shape:?} (N, C, h, w), this VAE takes C = {expected}{}; they were made by another VAE", packed_hint(*.packed))]
    Channels {
        /// Shape found.
        shape: Vec<usize>,
        /// C expected.
        expected: usize,
        /// Whether 4C would do as well.
        packed: bool,
    },
    /// An empty axis.
    #[error("the latents are {shape:?} (N, C, h, w), which holds no values")]
    Empty {
        /// Shape found.
        shape: Vec<usize>,
    },
    /// Packing needs even sides.
    #[error(
        "the latents are {h} by {w}, and this VAE packs patches of 2 by 2; the sides must be even, so use an image whose sides are multiples of 16"
    )]
    OddSides {
        /// Height.
        h: usize,
        /// Width.
        w: usize,
    },
    /// Raw to scaled or back was needed, but this VAE's scaling is not known.
    #[error(
        "the latents are {from} and {to} ones are needed, but how this VAE scales its latents is not known; give it with --scaling (sd1, sdxl, sd3, flux1, or FACTOR[,SHIFT])"
    )]
    UnknownScaling {
        /// What there is.
        from: Domain,
        /// What is needed.
        to: Domain,
    },
}

fn packed_hint(packed: bool) -> &'static str {
    if packed { " (or 4C, packed)" } else { "" }
}

impl LatentSpace {
    /// Sides of an image must be multiples of this: the factor, twice that where latents are packed.
    pub fn image_multiple(&self) -> usize {
        self.downsample_factor * if self.packed { 2 } else { 1 }
    }

    /// The latents as the graphs take them: `[N, C, h, w]` in the [native](Self::native) domain.
    pub fn to_native(&self, latents: Latents) -> Result<Array4<f32>, LatentError> {
        let unpacked = self.to_domain(latents, self.native)?.data;
        Ok(if self.packed && unpacked.len_of(Axis(1)) == 4 * self.channels {
            unpack(unpacked.view())
        } else {
            unpacked
        })
    }

    /// The latents in the domain asked for. Scaled latents of a packed space come out packed.
    pub fn to_domain(&self, latents: Latents, to: Domain) -> Result<Latents, LatentError> {
        self.check(&latents)?;
        let Latents { mut data, domain: from } = latents;
        let Some(scaling) = self.scaling_between(from, to)? else { return Ok(Latents { data, domain: to }) };
        let is_packed = data.len_of(Axis(1)) != self.channels;
        let scales_packed = matches!(scaling, Scaling::Packed { .. });
        if scales_packed && !is_packed {
            data = pack(data.view())?;
        }
        for (channel, mut values) in data.axis_iter_mut(Axis(1)).enumerate() {
            // scaled = (raw - offset) * factor
            let (offset, factor) = match scaling {
                Scaling::Affine { scaling_factor, shift_factor } => (*shift_factor, *scaling_factor),
                Scaling::PerChannel { mean, std, scaling_factor } => (mean[channel], scaling_factor / std[channel]),
                Scaling::Packed { mean, std } => (mean[channel], 1.0 / std[channel]),
            };
            match to {
                Domain::Scaled => values.mapv_inplace(|raw| ((f64::from(raw) - offset) * factor) as f32),
                Domain::Raw => values.mapv_inplace(|scaled| (f64::from(scaled) / factor + offset) as f32),
            }
        }
        let data =
            if matches!(scaling, Scaling::Packed { .. }) && to == Domain::Raw { unpack(data.view()) } else { data };
        Ok(Latents { data, domain: to })
    }

    /// What takes latents from one domain to another; `None` if they are the same.
    ///
    /// # Errors
    /// [`LatentError::UnknownScaling`].
    pub fn scaling_between(&self, from: Domain, to: Domain) -> Result<Option<&Scaling>, LatentError> {
        if from == to {
            return Ok(None);
        }
        self.scaling.as_ref().map(Some).ok_or(LatentError::UnknownScaling { from, to })
    }

    /// Why latents of this space are none of `other`. A scaling that is not known is no reason.
    pub fn misfit(&self, other: &LatentSpace) -> Option<String> {
        if self.channels != other.channels {
            return Some(format!("its latents have {} channels, not {}", self.channels, other.channels));
        }
        if self.downsample_factor != other.downsample_factor {
            return Some(format!("its factor is {}, not {}", self.downsample_factor, other.downsample_factor));
        }
        match (&self.scaling, &other.scaling) {
            (Some(ours), Some(theirs)) if ours != theirs => Some(format!("its scaling is {ours}, not {theirs}")),
            _ => None,
        }
    }

    /// Whether the latents' shape is one this space has.
    ///
    /// # Errors
    /// [`LatentError::Channels`] or [`LatentError::Empty`].
    pub fn check(&self, latents: &Latents) -> Result<(), LatentError> {
        let shape = latents.data.shape();
        let packed = self.packed && latents.domain == Domain::Scaled;
        if shape[1] != self.channels && !(packed && shape[1] == 4 * self.channels) {
            return Err(LatentError::Channels { shape: shape.to_vec(), expected: self.channels, packed });
        }
        if shape.contains(&0) {
            return Err(LatentError::Empty { shape: shape.to_vec() });
        }
        Ok(())
    }
}

/// `[N, C, h, w]` to `[N, 4C, h/2, w/2]`; packed channel = 4c + 2(row parity) + column parity, as diffusers' FLUX.2 pipeline.
///
/// # Errors
/// [`LatentError::OddSides`].
pub fn pack(latents: ArrayView4<'_, f32>) -> Result<Array4<f32>, LatentError> {
    let (n, c, h, w) = latents.dim();
    if h % 2 != 0 || w % 2 != 0 {
        return Err(LatentError::OddSides { h, w });
    }
    let mut packed = Array4::zeros((n, 4 * c, h / 2, w / 2));
    for (channel, mut plane) in packed.axis_iter_mut(Axis(1)).enumerate() {
        let parity = ((channel / 2) % 2, channel % 2);
        Zip::from(&mut plane)
            .and(latents.slice(ndarray::s![.., channel / 4, parity.0..;2, parity.1..;2]))
            .for_each(|to, &from| *to = from);
    }
    Ok(packed)
}

/// The inverse of [`pack`].
///
/// # Panics
/// If the channels are no multiple of 4.
pub fn unpack(packed: ArrayView4<'_, f32>) -> Array4<f32> {
    let (n, c, h, w) = packed.dim();
    assert!(c % 4 == 0, "{c} packed channels are no multiple of 4");
    let mut latents = Array4::zeros((n, c / 4, 2 * h, 2 * w));
    for (channel, plane) in packed.axis_iter(Axis(1)).enumerate() {
        let parity = ((channel / 2) % 2, channel % 2);
        latents.slice_mut(ndarray::s![.., channel / 4, parity.0..;2, parity.1..;2]).assign(&plane);
    }
    latents
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array;
    use proptest::prelude::*;

    fn latents(channels: usize, domain: Domain) -> Latents {
        let data = Array::from_iter((0..2 * channels * 24).map(|i| (i as f32 * 0.37).sin() * 3.0));
        Latents { data: data.into_shape_with_order((2, channels, 4, 6)).unwrap(), domain }
    }

    fn space(scaling: Option<Scaling>) -> LatentSpace {
        let packed = matches!(scaling, Some(Scaling::Packed { .. }));
        LatentSpace { channels: 4, downsample_factor: 8, native: Domain::Raw, scaling, packed }
    }

    #[test]
    fn latents_fit_where_channels_and_scaling_do() {
        let sd1 = space(Some(Scaling::factor(0.18215)));
        let sdxl = space(Some(Scaling::factor(0.13025)));
        let sd3 = LatentSpace { channels: 16, ..space(None) };
        assert_eq!(sd1.misfit(&sd1), None);
        assert_eq!(sd1.misfit(&space(None)), None);
        assert_eq!(sdxl.misfit(&sd1).unwrap(), "its scaling is 0.13025, not 0.18215");
        assert_eq!(sd3.misfit(&sd1).unwrap(), "its latents have 16 channels, not 4");
    }

    fn scalings() -> impl Strategy<Value = Scaling> {
        let values = |n| (prop::collection::vec(-3.0..3.0f64, n), prop::collection::vec(0.2..9.0f64, n));
        prop_oneof![
            (0.05..3.0f64, -1.0..1.0f64)
                .prop_map(|(scaling_factor, shift_factor)| Scaling::Affine { scaling_factor, shift_factor }),
            (values(4), 0.05..3.0f64).prop_map(|((mean, std), scaling_factor)| Scaling::PerChannel {
                mean,
                std,
                scaling_factor
            }),
            values(16).prop_map(|(mean, std)| Scaling::Packed { mean, std }),
        ]
    }

    proptest! {
        #[test]
        fn scaling_is_undone(scaling in scalings()) {
            let space = space(Some(scaling));
            let raw = latents(4, Domain::Raw);
            let scaled = space.to_domain(raw.clone(), Domain::Scaled).unwrap();
            let back = space.to_domain(scaled.clone(), Domain::Raw).unwrap();
            prop_assert!(Zip::from(&back.data).and(&raw.data).all(|a, b| (a - b).abs() < 1e-4));
            prop_assert_eq!(space.to_native(scaled).unwrap(), back.data);
        }
    }

    #[test]
    fn flux1_shift_comes_off_before_the_factor() {
        let flux1 = space(Some(Scaling::Affine { scaling_factor: 0.3611, shift_factor: 0.1159 }));
        let raw = Latents { data: Array4::from_elem((1, 4, 1, 1), 2.1159), domain: Domain::Raw };
        let scaled = flux1.to_domain(raw, Domain::Scaled).unwrap();
        assert!((scaled.data[(0, 0, 0, 0)] - 0.7222).abs() < 1e-6);
    }

    #[test]
    fn packing_puts_rows_before_columns() {
        let plane = Array4::from_shape_fn((1, 2, 2, 2), |(_, c, y, x)| (100 * c + 10 * y + x) as f32);
        let packed = pack(plane.view()).unwrap();
        assert_eq!(packed.iter().copied().collect::<Vec<_>>(), [0., 1., 10., 11., 100., 101., 110., 111.]);
        assert_eq!(unpack(packed.view()), plane);
        assert_eq!(pack(Array4::zeros((1, 2, 3, 2)).view()), Err(LatentError::OddSides { h: 3, w: 2 }));
    }

    #[test]
    fn a_tiny_vae_of_packed_latents_takes_both_forms() {
        let taef2 = LatentSpace { native: Domain::Scaled, packed: true, ..space(None) };
        let flat = latents(4, Domain::Scaled);
        let packed = Latents { data: pack(flat.data.view()).unwrap(), ..flat };
        assert_eq!(taef2.to_native(packed).unwrap(), taef2.to_native(flat).unwrap());
    }

    #[test]
    fn latents_of_another_vae_are_refused() {
        let message = space(None).to_native(latents(16, Domain::Raw)).unwrap_err().to_string();
        assert_eq!(
            message,
            "the latents are [2, 16, 4, 6] (N, C, h, w), this VAE takes C = 4; they were made by another VAE"
        );
        let packed = LatentSpace { packed: true, ..space(None) };
        assert!(matches!(packed.check(&latents(16, Domain::Raw)), Err(LatentError::Channels { .. })));
        assert!(matches!(space(None).to_native(latents(4, Domain::Scaled)), Err(LatentError::UnknownScaling { .. })));
    }
}

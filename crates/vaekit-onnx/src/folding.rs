//! fp16 that cannot go black: where activations would leave fp16's range, powers of two are folded into the weights.
//!
//! An AutoencoderKL's residual stream starts at `conv_in`, and everything that reads it is a group normalisation, which
//! takes any factor out again once its epsilon has the factor's square, or is linear. So the whole stream may be carried
//! times 2^-k: weights and biases of what *writes* it (`conv_in`, each resnet's `conv2`, the attention's `to_out.0`) get the
//! factor, of what is *linear on* it (`conv_shortcut`, the convolutions after up- and downsampling) the bias alone, and each
//! normalisation that reads it 2^-2k in its epsilon. `conv_norm_out` ends it. In the same way `conv1` of a resnet folds into
//! the epsilon of `norm2`. A power of two only moves exponents: in f32 the result is the same to the bit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vaekit::arch::{Attention, Conv, GroupNorm, Layer, TinyBlock, layers};
use vaekit::{Half, VaeConfig};

use crate::names;

/// fp16's largest finite value.
const FP16_MAX: f32 = 65504.0;
/// What can be folded stays this factor below fp16's largest value, 65504: probing sees few pictures, and exponents are cheap.
pub const FOLDED_MARGIN: f32 = 8.0;
/// What cannot be folded is refused within this factor of 65504; it also covers a sum of two such values.
pub const FIXED_MARGIN: f32 = 2.0;
/// Folding stops here: 1e-6 * 2^-64 is far from f32's smallest normal number, so the epsilons stay exact.
const MAX_EXPONENT: u32 = 32;

/// The largest magnitude of each activation of the f32 network, by name, as seen while probing.
///
/// Names: every convolution, group normalisation, block, upsampling, affine and soft clamp under its own name (a block after
/// its residual sum); of an attention also `NAME.to_q`, `.to_k`, `.to_v`, `.scores` (scaled, before the softmax),
/// `.attended` and `.to_out.0`; and the graphs' inputs, `sample` and `latent_sample`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ranges(BTreeMap<String, f32>);

impl Ranges {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of a magnitude; the larger of two stays, and a NaN stays for good.
    pub fn record(&mut self, activation: &str, magnitude: f32) {
        match self.0.get_mut(activation) {
            Some(known) if known.is_nan() || *known >= magnitude => {}
            Some(known) => *known = magnitude,
            None => {
                self.0.insert(activation.into(), magnitude);
            }
        }
    }

    /// The magnitude seen, if any.
    pub fn magnitude(&self, activation: &str) -> Option<f32> {
        self.0.get(activation).copied()
    }

    fn largest<'a>(&self, activations: impl IntoIterator<Item = &'a str>) -> Result<Seen, RangeError> {
        let mut largest = Seen { activation: String::new(), magnitude: 0.0 };
        for activation in activations {
            let magnitude = self.finite(activation)?;
            if magnitude >= largest.magnitude {
                largest = Seen { activation: activation.into(), magnitude };
            }
        }
        Ok(largest)
    }

    fn finite(&self, activation: &str) -> Result<f32, RangeError> {
        match self.magnitude(activation) {
            None => Err(RangeError::NotProbed { activation: activation.into() }),
            Some(magnitude) if !magnitude.is_finite() => {
                Err(RangeError::NotFinite { activation: activation.into(), magnitude })
            }
            Some(magnitude) => Ok(magnitude.abs()),
        }
    }
}

impl FromIterator<(String, f32)> for Ranges {
    fn from_iter<I: IntoIterator<Item = (String, f32)>>(ranges: I) -> Self {
        let mut all = Ranges::new();
        all.extend(ranges);
        all
    }
}

impl Extend<(String, f32)> for Ranges {
    fn extend<I: IntoIterator<Item = (String, f32)>>(&mut self, ranges: I) {
        ranges.into_iter().for_each(|(activation, magnitude)| self.record(&activation, magnitude));
    }
}

/// An activation and its magnitude.
struct Seen {
    activation: String,
    magnitude: f32,
}

/// Why a network cannot run in fp16.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum RangeError {
    /// An activation was not seen while probing.
    #[error("no range of activation `{activation}` was recorded; probe the f32 network of this very config")]
    NotProbed {
        /// Name of the activation.
        activation: String,
    },
    /// The f32 network itself overflows.
    #[error("activation `{activation}` is {magnitude} in f32 already; the checkpoint's weights are broken")]
    NotFinite {
        /// Name of the activation.
        activation: String,
        /// What was seen.
        magnitude: f32,
    },
    /// A value outside fp16 that no folding reaches.
    #[error(
        "activation `{activation}` reaches {magnitude:.4e}, expected at most {limit:.4e}, all that fp16 holds there with what can be folded; use fp32"
    )]
    TooLarge {
        /// Name of the activation.
        activation: String,
        /// What was seen.
        magnitude: f32,
        /// The most that would do.
        limit: f32,
    },
}

/// The powers of two folded into one half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folding {
    /// The half.
    pub half: Half,
    /// k: the residual stream is carried times 2^-k.
    pub stream: u32,
    /// k of those resnets' `conv1` whose output is carried times 2^-k, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conv1: BTreeMap<String, u32>,
}

impl std::fmt::Display for Folding {
    /// `decoder: the stream by 2^-3, 2 convolutions by up to 2^-4`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.half)?;
        match (self.stream, self.conv1.values().max()) {
            (0, None) => f.write_str("nothing"),
            (stream, None) => write!(f, "the stream by 2^-{stream}"),
            (0, Some(most)) => write!(f, "{} convolutions by up to 2^-{most}", self.conv1.len()),
            (stream, Some(most)) => {
                write!(f, "the stream by 2^-{stream}, {} convolutions by up to 2^-{most}", self.conv1.len())
            }
        }
    }
}

impl Folding {
    /// Folds nothing.
    pub fn none(half: Half) -> Self {
        Folding { half, stream: 0, conv1: BTreeMap::new() }
    }

    /// The smallest powers of two that keep what can be folded [`FOLDED_MARGIN`] below fp16's largest value.
    ///
    /// # Errors
    /// [`RangeError`] if a value that cannot be folded comes within [`FIXED_MARGIN`] of it, or a range is missing or no
    /// number.
    pub fn plan(config: &VaeConfig, half: Half, ranges: &Ranges) -> Result<Self, RangeError> {
        let layers = layers(config, half);
        let activations = Activations::of(half, &layers);
        let fixed = ranges.largest(activations.fixed.iter().map(String::as_str))?;
        let limit = FP16_MAX / FIXED_MARGIN;
        if fixed.magnitude > limit {
            return Err(RangeError::TooLarge { activation: fixed.activation, magnitude: fixed.magnitude, limit });
        }
        let stream = exponent(ranges.largest(activations.stream.iter().map(String::as_str))?)?;
        let mut conv1 = BTreeMap::new();
        for name in activations.conv1 {
            let k = exponent(ranges.largest([name.as_str()])?)?;
            if k > 0 {
                conv1.insert(name, k);
            }
        }
        Ok(Folding { half, stream, conv1 })
    }

    /// Whether nothing is folded.
    pub fn is_none(&self) -> bool {
        self.stream == 0 && self.conv1.values().all(|&k| k == 0)
    }

    /// Changes the epsilons of `layers` and returns k for each tensor that is to be carried times 2^-k.
    pub(crate) fn apply(&self, layers: &mut [Layer]) -> BTreeMap<String, u32> {
        let mut fold = Fold { k: self.stream, exponents: BTreeMap::new() };
        let Some(stream) = stream_of(layers) else {
            return fold.exponents;
        };
        for layer in &mut layers[stream] {
            match layer {
                Layer::Conv(conv) if conv.name.ends_with(".conv_in") => fold.writer(conv),
                Layer::Conv(conv) => fold.linear(conv),
                Layer::GroupNorm(norm) => fold.reader(norm, self.stream),
                Layer::Resnet(resnet) => {
                    let k1 = self.conv1.get(&resnet.conv1.name).copied().unwrap_or(0);
                    fold.reader(&mut resnet.norm1, self.stream);
                    fold.weight_and_bias(&resnet.conv1.name, k1);
                    fold.reader(&mut resnet.norm2, k1);
                    fold.writer(&resnet.conv2);
                    resnet.shortcut.iter().for_each(|conv| fold.linear(conv));
                }
                Layer::Attention(attention) => {
                    fold.reader(&mut attention.norm, self.stream);
                    let [.., to_out] = attention.linears();
                    fold.weight_and_bias(&to_out, self.stream);
                }
                _ => {}
            }
        }
        fold.exponents
    }
}

/// Collects what one folding does to the tensors.
struct Fold {
    k: u32,
    exponents: BTreeMap<String, u32>,
}

impl Fold {
    fn writer(&mut self, conv: &Conv) {
        self.weight_and_bias(&conv.name, self.k);
    }

    fn linear(&mut self, conv: &Conv) {
        self.exponents.insert(format!("{}.bias", conv.name), self.k);
    }

    fn weight_and_bias(&mut self, name: &str, k: u32) {
        self.exponents.insert(format!("{name}.weight"), k);
        self.exponents.insert(format!("{name}.bias"), k);
    }

    fn reader(&mut self, norm: &mut GroupNorm, k: u32) {
        norm.epsilon *= power_of_two(2 * k);
    }
}

/// 2^-k, exactly.
pub(crate) fn power_of_two(k: u32) -> f32 {
    (-f64::from(k)).exp2() as f32
}

/// The smallest k with `magnitude * 2^-k` within the margin.
fn exponent(seen: Seen) -> Result<u32, RangeError> {
    let limit = FP16_MAX / FOLDED_MARGIN;
    (0..=MAX_EXPONENT).find(|&k| seen.magnitude * power_of_two(k) <= limit).ok_or_else(|| RangeError::TooLarge {
        activation: seen.activation,
        magnitude: seen.magnitude,
        limit: limit / power_of_two(MAX_EXPONENT),
    })
}

/// Where the residual stream lies: from `conv_in` to the normalisation that ends it. Tiny networks have none.
fn stream_of(layers: &[Layer]) -> Option<std::ops::RangeInclusive<usize>> {
    let first_block = layers.iter().position(|layer| matches!(layer, Layer::Resnet(_)))?;
    let end = layers.iter().position(|layer| matches!(layer, Layer::GroupNorm(_)))?;
    Some(first_block.checked_sub(1)?..=end)
}

/// Names of a half's activations, by what can be done about their magnitude.
#[derive(Default)]
struct Activations {
    stream: Vec<String>,
    conv1: Vec<String>,
    fixed: Vec<String>,
}

impl Activations {
    fn of(half: Half, layers: &[Layer]) -> Self {
        let mut found = Activations { fixed: vec![names::input(half).into()], ..Self::default() };
        let stream = stream_of(layers);
        for (index, layer) in layers.iter().enumerate() {
            let in_stream = stream.as_ref().is_some_and(|range| range.contains(&index));
            found.layer(layer, in_stream);
        }
        found
    }

    fn layer(&mut self, layer: &Layer, in_stream: bool) {
        match layer {
            Layer::Conv(Conv { name, .. }) | Layer::Upsample { name } if in_stream => self.stream.push(name.clone()),
            Layer::Conv(Conv { name, .. })
            | Layer::GroupNorm(GroupNorm { name, .. })
            | Layer::Affine { name, .. }
            | Layer::SoftClamp { name, .. }
            | Layer::Upsample { name } => self.fixed.push(name.clone()),
            // Bounded by what they read.
            Layer::Silu { .. } | Layer::Relu { .. } => {}
            Layer::Resnet(resnet) => {
                self.fixed.extend([&resnet.norm1, &resnet.norm2].map(|norm| norm.name.clone()));
                self.conv1.push(resnet.conv1.name.clone());
                self.stream.extend([resnet.conv2.name.clone(), resnet.name.clone()]);
                self.stream.extend(resnet.shortcut.iter().map(|conv| conv.name.clone()));
            }
            Layer::Attention(attention) => self.attention(attention),
            Layer::TinyBlock(block) => self.tiny_block(block),
        }
    }

    fn attention(&mut self, attention: &Attention) {
        let [to_q, to_k, to_v, to_out] = attention.linears();
        let inner = ["scores", "attended"].map(|name| format!("{}.{name}", attention.name));
        self.fixed.extend([attention.norm.name.clone(), to_q, to_k, to_v]);
        self.fixed.extend(inner);
        self.stream.extend([to_out, attention.name.clone()]);
    }

    fn tiny_block(&mut self, block: &TinyBlock) {
        if let Some(pool) = &block.pool {
            self.fixed.extend([&pool.conv1.name, &pool.norm.name, &pool.conv2.name].map(String::clone));
        }
        self.fixed.extend(block.convs.iter().chain(&block.skip).map(|conv| conv.name.clone()));
        self.fixed.push(block.name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vaes::{kl, tiny};

    /// A range of 1 for every activation, but for those given.
    fn ranges(config: &VaeConfig, half: Half, given: &[(&str, f32)]) -> Ranges {
        let activations = Activations::of(half, &layers(config, half));
        let names = [activations.stream, activations.conv1, activations.fixed].concat();
        let mut ranges = Ranges::new();
        names.iter().for_each(|name| ranges.record(name, 1.0));
        for &(name, magnitude) in given {
            assert!(names.iter().any(|known| known == name), "{name} is no activation of {names:?}");
            ranges.record(name, magnitude);
        }
        ranges
    }

    fn check(given: &[(&str, f32)], stream: u32, conv1: &[(&str, u32)]) {
        let config = kl(4, |_| {});
        let plan = Folding::plan(&config, Half::Decoder, &ranges(&config, Half::Decoder, given)).unwrap();
        let conv1 = conv1.iter().map(|&(name, k)| (name.to_owned(), k)).collect();
        assert_eq!(plan, Folding { half: Half::Decoder, stream, conv1 });
    }

    fn check_error(config: &VaeConfig, given: &[(&str, f32)], expected: &str) {
        let error = Folding::plan(config, Half::Decoder, &ranges(config, Half::Decoder, given)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn what_fits_is_left_alone() {
        check(&[], 0, &[]);
        check(&[("decoder.mid_block.resnets.0", 8188.0), ("decoder.mid_block.resnets.0.conv1", 8188.0)], 0, &[]);
    }

    #[test]
    fn the_stream_has_one_exponent_for_all_that_is_on_it() {
        for name in [
            "decoder.conv_in",
            "decoder.mid_block.resnets.0",
            "decoder.mid_block.resnets.1.conv2",
            "decoder.mid_block.attentions.0.to_out.0",
            "decoder.mid_block.attentions.0",
            "decoder.up_blocks.0.upsamplers.0.nearest",
            "decoder.up_blocks.0.upsamplers.0.conv",
            "decoder.up_blocks.1.resnets.0.conv_shortcut",
        ] {
            check(&[(name, 8189.0)], 1, &[]);
            check(&[(name, 1e5)], 4, &[]);
        }
    }

    #[test]
    fn each_conv1_has_its_own_exponent() {
        let name = "decoder.up_blocks.1.resnets.0.conv1";
        check(&[(name, 1e5), ("decoder.conv_in", 2e4)], 2, &[(name, 4)]);
    }

    #[test]
    fn what_cannot_be_folded_is_refused_by_name() {
        let config = kl(4, |_| {});
        check_error(
            &config,
            &[("decoder.mid_block.attentions.0.scores", 4e4)],
            "activation `decoder.mid_block.attentions.0.scores` reaches 4.0000e4, expected at most 3.2752e4, all that fp16 holds there with what can be folded; use fp32",
        );
        for name in ["latent_sample", "post_quant_conv", "decoder.conv_out", "decoder.conv_norm_out"] {
            let error = Folding::plan(&config, Half::Decoder, &ranges(&config, Half::Decoder, &[(name, 4e4)]));
            assert!(matches!(error, Err(RangeError::TooLarge { activation, .. }) if activation == name));
        }
        check_error(
            &tiny(4, false, None),
            &[("decoder.layers.2.conv.2", 1e6)],
            "activation `decoder.layers.2.conv.2` reaches 1.0000e6, expected at most 3.2752e4, all that fp16 holds there with what can be folded; use fp32",
        );
    }

    #[test]
    fn broken_networks_are_refused() {
        let config = kl(4, |_| {});
        check_error(
            &config,
            &[("decoder.conv_in", f32::NAN)],
            "activation `decoder.conv_in` is NaN in f32 already; the checkpoint's weights are broken",
        );
        check_error(
            &config,
            &[("decoder.conv_in", 1e20)],
            "activation `decoder.conv_in` reaches 1.0000e20, expected at most 3.5167e13, all that fp16 holds there with what can be folded; use fp32",
        );
        let error = Folding::plan(&config, Half::Decoder, &Ranges::new()).unwrap_err();
        assert!(matches!(error, RangeError::NotProbed { .. }), "{error}");
    }

    #[test]
    fn nan_stays_whatever_follows() {
        let mut ranges = Ranges::new();
        for magnitude in [1.0, f32::NAN, 2.0] {
            ranges.record("decoder.conv_in", magnitude);
        }
        assert!(ranges.magnitude("decoder.conv_in").unwrap().is_nan());
    }

    #[test]
    fn tensors_and_epsilons_of_a_folded_decoder() {
        let mut layers = layers(&kl(4, |_| {}), Half::Decoder);
        let conv1 = "decoder.up_blocks.1.resnets.0.conv1";
        let folding = Folding { half: Half::Decoder, stream: 3, conv1: BTreeMap::from([(conv1.into(), 2)]) };
        let exponents: Vec<String> = folding
            .apply(&mut layers)
            .into_iter()
            .filter(|&(_, k)| k > 0)
            .map(|(name, k)| format!("{name} {k}"))
            .collect();
        expect_test::expect![[r#"
            decoder.conv_in.bias 3
            decoder.conv_in.weight 3
            decoder.mid_block.attentions.0.to_out.0.bias 3
            decoder.mid_block.attentions.0.to_out.0.weight 3
            decoder.mid_block.resnets.0.conv2.bias 3
            decoder.mid_block.resnets.0.conv2.weight 3
            decoder.mid_block.resnets.1.conv2.bias 3
            decoder.mid_block.resnets.1.conv2.weight 3
            decoder.up_blocks.0.resnets.0.conv2.bias 3
            decoder.up_blocks.0.resnets.0.conv2.weight 3
            decoder.up_blocks.0.resnets.1.conv2.bias 3
            decoder.up_blocks.0.resnets.1.conv2.weight 3
            decoder.up_blocks.0.upsamplers.0.conv.bias 3
            decoder.up_blocks.1.resnets.0.conv1.bias 2
            decoder.up_blocks.1.resnets.0.conv1.weight 2
            decoder.up_blocks.1.resnets.0.conv2.bias 3
            decoder.up_blocks.1.resnets.0.conv2.weight 3
            decoder.up_blocks.1.resnets.0.conv_shortcut.bias 3
            decoder.up_blocks.1.resnets.1.conv2.bias 3
            decoder.up_blocks.1.resnets.1.conv2.weight 3"#]]
        .assert_eq(&exponents.join("\n"));

        let epsilons: Vec<String> = layers.iter().flat_map(epsilons).collect();
        expect_test::expect![[r#"
            decoder.mid_block.resnets.0.norm1 -3
            decoder.mid_block.resnets.0.norm2 0
            decoder.mid_block.attentions.0.group_norm -3
            decoder.mid_block.resnets.1.norm1 -3
            decoder.mid_block.resnets.1.norm2 0
            decoder.up_blocks.0.resnets.0.norm1 -3
            decoder.up_blocks.0.resnets.0.norm2 0
            decoder.up_blocks.0.resnets.1.norm1 -3
            decoder.up_blocks.0.resnets.1.norm2 0
            decoder.up_blocks.1.resnets.0.norm1 -3
            decoder.up_blocks.1.resnets.0.norm2 -2
            decoder.up_blocks.1.resnets.1.norm1 -3
            decoder.up_blocks.1.resnets.1.norm2 0
            decoder.conv_norm_out -3"#]]
        .assert_eq(&epsilons.join("\n"));
    }

    /// Name and log4 of what is left of the epsilon.
    fn epsilons(layer: &Layer) -> Vec<String> {
        let norms = match layer {
            Layer::GroupNorm(norm) => vec![norm],
            Layer::Resnet(resnet) => vec![&resnet.norm1, &resnet.norm2],
            Layer::Attention(attention) => vec![&attention.norm],
            _ => vec![],
        };
        norms.iter().map(|norm| format!("{} {}", norm.name, (norm.epsilon / 1e-6).log(4.0))).collect()
    }

    #[test]
    fn a_tiny_network_has_nothing_to_fold() {
        let config = tiny(4, true, None);
        let mut layers = layers(&config, Half::Decoder);
        assert!(Folding { stream: 3, ..Folding::none(Half::Decoder) }.apply(&mut layers).is_empty());
        assert_eq!(layers, vaekit::arch::layers(&config, Half::Decoder));
    }
}

//! Hashes of a VAE's weights: the same VAE in another file, layout, format or element type.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vaekit::{Weights, WeightsError};

use crate::source::hex;

/// Elements that are rounded and hashed at a time.
const CHUNK: usize = 1 << 14;

/// What tells two VAEs apart, whatever file, layout and format they lie in; sha256 in lower-case hexadecimal.
///
/// Each is taken over all tensors, in the order of [`vaekit::arch::tensors`]: the name, a zero byte, the rank and the
/// dimensions as u64, and the values; all little-endian. They differ in what the values are rounded to first.
///
/// Three of them, because no single one can stand for all casts. A cast rounds to the nearest value, and such roundings do
/// not compose: a weight that is cast to F16 and then to BF16 is not always the one that is cast to BF16 at once. So the
/// F16 cast of an F32 file shares its `f16`, the BF16 cast its `bf16`, and the two casts share nothing with each other; that
/// they are siblings shows where the F32 file, or whatever they were cast from, is known too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsHashes {
    /// Of the values as f32, into which F16 and BF16 go without loss: no bit differs.
    #[serde(rename = "sha256")]
    pub f32: String,
    /// Of the values rounded to F16; absent where the weights themselves are not at hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub f16: Option<String>,
    /// Of the values rounded to BF16; absent where the weights themselves are not at hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bf16: Option<String>,
}

/// How far two VAEs have the same weights, the closest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sameness {
    /// No weight differs.
    Exact,
    /// Rounded to F16 no weight differs: one is a cast of the other, or both are of a third.
    F16,
    /// Rounded to BF16 no weight differs.
    Bf16,
}

impl std::fmt::Display for Sameness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Sameness::Exact => "the same weights",
            Sameness::F16 => "the same weights, rounded to F16",
            Sameness::Bf16 => "the same weights, rounded to BF16",
        })
    }
}

impl WeightsHashes {
    /// The hash that is known for certain, of a VAE whose weights are not at hand.
    pub fn exact(sha256: impl Into<String>) -> Self {
        WeightsHashes { f32: sha256.into(), f16: None, bf16: None }
    }

    /// Reads all weights once, one tensor at a time.
    pub(crate) fn of(tensors: &[(String, Vec<usize>)], weights: &dyn Weights) -> Result<Self, WeightsError> {
        let mut hashes = [Sha256::new(), Sha256::new(), Sha256::new()];
        let mut halves = vec![f16::ZERO; CHUNK];
        for (name, shape) in tensors {
            hashes.iter_mut().for_each(|hash| update_head(hash, name, shape));
            for piece in weights.read_f32(name)?.chunks(CHUNK) {
                let halves = &mut halves[..piece.len()];
                halves.convert_from_f32_slice(piece);
                hashes[0].update(bytes(piece, f32::to_le_bytes));
                hashes[1].update(bytes(halves, f16::to_le_bytes));
                hashes[2].update(bytes(piece, |value| bf16::from_f32(value).to_le_bytes()));
            }
        }
        let [f32, f16, bf16] = hashes.map(|hash| hex(&hash.finalize()));
        Ok(WeightsHashes { f32, f16: Some(f16), bf16: Some(bf16) })
    }

    /// How far these weights and those are the same; `None` if they are others, or nothing known of both says so.
    pub fn sameness(&self, other: &Self) -> Option<Sameness> {
        let equal = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
        if self.f32 == other.f32 {
            Some(Sameness::Exact)
        } else if equal(&self.f16, &other.f16) {
            Some(Sameness::F16)
        } else if equal(&self.bf16, &other.bf16) {
            Some(Sameness::Bf16)
        } else {
            None
        }
    }
}

/// As [`WeightsHashes::f32`], alone.
pub(crate) fn exact(tensors: &[(String, Vec<usize>)], weights: &dyn Weights) -> Result<String, WeightsError> {
    let mut hash = Sha256::new();
    for (name, shape) in tensors {
        update_head(&mut hash, name, shape);
        for piece in weights.read_f32(name)?.chunks(CHUNK) {
            hash.update(bytes(piece, f32::to_le_bytes));
        }
    }
    Ok(hex(&hash.finalize()))
}

fn update_head(hash: &mut Sha256, name: &str, shape: &[usize]) {
    hash.update(name.as_bytes());
    hash.update([0]);
    hash.update((shape.len() as u64).to_le_bytes());
    shape.iter().for_each(|&dim| hash.update((dim as u64).to_le_bytes()));
}

fn bytes<T: Copy, const N: usize>(values: &[T], to_le_bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| to_le_bytes(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(Vec<f32>);

    impl Weights for One {
        fn read_f32(&self, _: &str) -> Result<Vec<f32>, WeightsError> {
            Ok(self.0.clone())
        }
    }

    /// Values over F16's whole range and beyond, ties of both roundings among them.
    fn values() -> Vec<f32> {
        let spread = (0..60_000u32).map(|i| f32::from_bits(0x3100_0000 + i * 7919));
        let ties = [1.0 + 2f32.powi(-11), 1.0 + 2f32.powi(-8), 1.0 + 2f32.powi(-8) + 2f32.powi(-13), -0.0, 1e-9, 7e4];
        spread.chain(ties).collect()
    }

    fn hashes(values: Vec<f32>) -> WeightsHashes {
        WeightsHashes::of(&[("a".into(), vec![values.len()])], &One(values)).unwrap()
    }

    #[track_caller]
    fn check(a: &WeightsHashes, b: &WeightsHashes, expected: Option<Sameness>) {
        assert_eq!((a.sameness(b), b.sameness(a)), (expected, expected));
    }

    #[test]
    fn casts_are_known_by_what_they_were_rounded_to() {
        let original = hashes(values());
        let to_f16 = hashes(values().into_iter().map(|x| f16::from_f32(x).to_f32()).collect());
        let to_bf16 = hashes(values().into_iter().map(|x| bf16::from_f32(x).to_f32()).collect());
        check(&original, &original, Some(Sameness::Exact));
        check(&original, &to_f16, Some(Sameness::F16));
        check(&original, &to_bf16, Some(Sameness::Bf16));
        // Rounding twice is not rounding once: nothing in the two casts alone says that they are siblings.
        check(&to_f16, &to_bf16, None);
    }

    #[test]
    fn a_weight_that_a_cast_keeps_apart_is_another_vae() {
        let other = values().into_iter().map(|x| x * 1.01).collect();
        check(&hashes(values()), &hashes(other), None);
    }

    #[test]
    fn what_is_not_known_is_not_equal() {
        let mut a = WeightsHashes::exact("ab");
        check(&a, &WeightsHashes::exact("cd"), None);
        check(&a, &WeightsHashes { f16: Some("ef".into()), ..WeightsHashes::exact("ab") }, Some(Sameness::Exact));
        a.f16 = Some("ef".into());
        check(&a, &WeightsHashes::exact("cd"), None);
    }

    #[test]
    fn the_exact_hash_is_the_same_alone() {
        let tensors = [("a".to_owned(), vec![60_006])];
        assert_eq!(exact(&tensors, &One(values())).unwrap(), hashes(values()).f32);
    }
}

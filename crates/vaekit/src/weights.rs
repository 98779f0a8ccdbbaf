//! A VAE's tensors by name, wherever they lie.

/// The tensors of a VAE under their canonical names (those of [`crate::arch::tensors`]), read one at a time.
///
/// A checkpoint implements it over a file, so that a converter never holds more than one tensor.
pub trait Weights: Sync {
    /// The tensor's values as f32 in row-major order, widened from F16 and BF16 or rounded from F64.
    ///
    /// # Errors
    /// [`WeightsError`] if there is no such tensor or it cannot be read.
    fn read_f32(&self, name: &str) -> Result<Vec<f32>, WeightsError>;
}

/// A tensor that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("tensor `{name}`: {reason}")]
pub struct WeightsError {
    /// The canonical name.
    pub name: String,
    /// Why.
    pub reason: String,
}

//! How images lie in a GPU's memory: four channels of a pixel side by side.
//!
//! An image of C channels is `ceil(C / 4)` planes, each `height * width` vectors of four values in row order; vector
//! (y, x) of plane p holds channels `4 p .. 4 p + 4`, and lanes past the last channel are 0. Neighbouring threads work on
//! neighbouring pixels, so that whatever is read of a plane is read in one piece.

/// Channels in a vector.
pub const LANES: usize = 4;

/// An image's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Shape {
    /// A shape `[C, H, W]`.
    pub const fn new(channels: usize, height: usize, width: usize) -> Self {
        Shape { channels, height, width }
    }

    /// Planes of four channels.
    pub const fn planes(self) -> usize {
        self.channels.div_ceil(LANES)
    }

    /// Pixels of a plane; saturates.
    pub const fn pixels(self) -> usize {
        self.height.saturating_mul(self.width)
    }

    /// Vectors of all planes; saturates.
    pub const fn vectors(self) -> usize {
        self.pixels().saturating_mul(self.planes())
    }
}

/// What the lanes of a vector are stored as. Sums are made in f32 whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// Four f32.
    #[default]
    F32,
    /// Four f16, where the device has that type in buffers (`shader-f16`).
    F16,
    /// Four f16 in two u32, which any device can take apart.
    PackedF16,
}

impl Storage {
    /// Bytes of a vector.
    pub const fn bytes(self) -> u64 {
        match self {
            Storage::F32 => 16,
            Storage::F16 | Storage::PackedF16 => 8,
        }
    }

    /// The bytes of vectors of these lanes. What f16 cannot hold becomes its largest value, as the kernels do.
    pub fn encode(self, lanes: &[f32]) -> Vec<u8> {
        match self {
            Storage::F32 => bytemuck::cast_slice(lanes).to_vec(),
            Storage::F16 | Storage::PackedF16 => lanes.iter().flat_map(|&x| half(x).to_le_bytes()).collect(),
        }
    }

    /// The lanes of vectors of these bytes.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Storage::F32 => bytemuck::pod_collect_to_vec(bytes),
            Storage::F16 | Storage::PackedF16 => {
                let lanes = bytes.as_chunks().0.iter();
                lanes.map(|&two| half::f16::from_le_bytes(two).to_f32()).collect()
            }
        }
    }

    /// `x` after it was stored.
    pub fn round(self, x: f32) -> f32 {
        match self {
            Storage::F32 => x,
            Storage::F16 | Storage::PackedF16 => half(x).to_f32(),
        }
    }
}

fn half(x: f32) -> half::f16 {
    half::f16::from_f32(if x.is_nan() { x } else { x.clamp(-65504.0, 65504.0) })
}

/// The vectors of an image `[C, H, W]` in row order.
///
/// # Panics
/// If the lengths do not fit.
pub fn pack(shape: Shape, planar: &[f32]) -> Vec<f32> {
    let pixels = shape.pixels();
    assert_eq!(planar.len(), shape.channels * pixels, "values of an image");
    let mut vectors = vec![0.0; shape.vectors() * LANES];
    for channel in 0..shape.channels {
        let to = &mut vectors[channel / LANES * pixels * LANES..];
        let from = &planar[channel * pixels..][..pixels];
        to.chunks_exact_mut(LANES).zip(from).for_each(|(vector, &value)| vector[channel % LANES] = value);
    }
    vectors
}

/// An image `[C, H, W]` in row order of its vectors.
///
/// # Panics
/// If the lengths do not fit.
pub fn unpack(shape: Shape, vectors: &[f32], planar: &mut [f32]) {
    let pixels = shape.pixels();
    assert_eq!(planar.len(), shape.channels * pixels, "values of an image");
    assert_eq!(vectors.len(), shape.vectors() * LANES, "vectors of an image");
    for channel in 0..shape.channels {
        let from = &vectors[channel / LANES * pixels * LANES..];
        let to = &mut planar[channel * pixels..][..pixels];
        to.iter_mut().zip(from.chunks_exact(LANES)).for_each(|(value, vector)| *value = vector[channel % LANES]);
    }
}

/// One value a channel as vectors, the last filled up with 0.
pub fn pack_channels(values: &[f32]) -> Vec<f32> {
    let mut vectors = values.to_vec();
    vectors.resize(values.len().next_multiple_of(LANES), 0.0);
    vectors
}

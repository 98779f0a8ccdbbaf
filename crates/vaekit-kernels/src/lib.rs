//! The numeric kernels of a VAE on the CPU, in f32 and for any processor: 3x3 convolutions by Winograd's minimal
//! filtering, nearest-neighbour enlargement folded into the convolution that follows it, strided and 1x1 convolutions,
//! group normalisation and SiLU, attention.
//!
//! ```
//! use vaekit_kernels::layout::{Block, Shape, View, pack, unpack};
//! use vaekit_kernels::{Conv3x3, Epilogue, GroupNorm, Io, Level, Moments, Prologue, Workspace};
//!
//! // conv2(silu(norm2(conv1(x)))) + x, half of a residual block, in two passes over memory.
//! let (level, workspace, shape) = (Level::best(), Workspace::new(), Shape::new(32, 8, 8));
//! let (weight, bias) = (vec![0.01; 32 * 32 * 9], vec![0.0; 32]);
//! let conv1 = Conv3x3::new(level, &weight, &bias, 32);
//! let conv2 = Conv3x3::new(level, &weight, &bias, 32);
//! let norm2 = GroupNorm::new(8, 1e-6, &[1.0; 32], &[0.0; 32]);
//!
//! let mut x = vec![Block::ZERO; shape.blocks()];
//! pack(shape, &[0.5; 32 * 8 * 8], &mut x);
//! let x = View::new(shape, &x);
//!
//! let (mut h, mut moments) = (vec![Block::ZERO; shape.blocks()], Moments::new());
//! conv1.run(Io::new(x), &mut h, Some(&mut moments), &workspace);
//!
//! let mut y = vec![Block::ZERO; shape.blocks()];
//! let io = Io {
//!     input: View::new(shape, &h),
//!     prologue: Prologue::AffineSilu(&norm2.affine(&moments)),
//!     epilogue: Epilogue { residual: Some(x), relu: false },
//! };
//! conv2.run(io, &mut y, Some(&mut moments), &workspace);
//!
//! let mut planar = vec![0.0; 32 * 8 * 8];
//! unpack(View::new(shape, &y), &mut planar);
//! # assert!(planar.iter().all(|v| v.is_finite()));
//! ```
//!
//! # How activations flow
//! Pictures lie in blocks of sixteen channels ([`layout`]) from the first convolution to the last; only a network's
//! input and output are packed and unpacked. Each convolution reads its input through a [`Prologue`] (normalisation and
//! SiLU), adds bias and residual and applies ReLU as it writes ([`Epilogue`]), and sums what it writes for the next
//! normalisation ([`Moments`]), so that between two convolutions a picture is written once and read once:
//!
//! | network | is |
//! | --- | --- |
//! | `conv(silu(norm(x)))` | the convolution that wrote x fills its moments; [`GroupNorm::affine`]; a prologue |
//! | `x + conv(..)`, `shortcut(x) + conv(..)` | [`Epilogue::residual`]; a shortcut is a [`Conv2d`] of [`Window::POINT`] |
//! | `relu(conv(..) + x)` | the same with [`Epilogue::relu`] |
//! | `conv(upsample(x))` | [`Upsample2xConv3x3`] |
//! | a halving convolution | [`Conv2d`] with [`Window::HALVE_DOWN`] or [`Window::HALVE_UP`] |
//! | q, k and v of a normalised x | three [`Window::POINT`]s with [`Prologue::Affine`], then [`attention`()] |
//!
//! A batch is run picture by picture: normalisation is over one picture anyway.
//!
//! # Weights
//! A convolution holds its weight once and transforms it, in f64, at each run, into memory that all layers share; that
//! costs little but where the picture is small. `keep_transformed` does it once and keeps four times (the enlarging
//! convolution: sixteen times) the weight's memory.
//!
//! # Numbers
//! Against f64, over inputs and outputs of variance 1 and 512 channels, a Winograd convolution's error is 1.0e-6 in the
//! root mean square and was 6e-6 at most over 6400 outputs; where it enlarges, 1.2e-6, and 1.2e-5 over 25600. A block of
//! tiles with an input that is not finite, or so large that a transform might overflow, is convolved directly: nothing
//! becomes NaN or infinite that a direct convolution keeps finite.
//! Results are the same, to the bit, for any number of threads, but not at different [`Level`]s.
//!
//! # Threads and memory
//! Work is shared out by rayon, in the caller's pool. A [`Workspace`] keeps 19 MB for each thread where a 3x3 convolution
//! has 512 channels, less for fewer, whatever the picture's size, and the largest layer's filters where they are
//! transformed at each run: 38 MB for 512 by 512 channels. [`Need`] tells before a run, [`Workspace::reserve`] takes it.
//!
//! # Limits
//! Lengths and shapes that do not fit are a caller's error and panic; sides may be anything, 0 included. The scalar
//! twins, for tests, are in [`scalar`].

mod attention;
mod bands;
mod direct;
mod finish;
mod gemm;
mod io;
pub mod layout;
mod math;
mod norm;
pub mod scalar;
mod simd;
mod stage;
mod winograd;
mod workspace;

pub use attention::{attention, attention_blocks, attention_need};
pub use direct::{Conv2d, Window};
pub use finish::Epilogue;
pub use io::Io;
pub use norm::{Affine, GroupNorm, GroupSums, Moments, Prologue};
pub use simd::Level;
pub use winograd::{Conv3x3, Upsample2xConv3x3};
pub use workspace::{Need, Workspace};

//! Sixteen lanes of f32 at a time, whatever the processor has.
//!
//! A kernel is written once, generic over [`Simd`], and [`Level::run`] compiles it once for each instruction set and
//! picks one at run time. All `unsafe` code of the crate lives below this module.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::layout::{Block, LANES};

/// A token proving that an instruction set is there, with its arithmetic on sixteen lanes.
///
/// Every method is `#[inline(always)]`, and so must be every function that takes a token, up to [`Kernel::run`]: only
/// then does the code land in the one function that is compiled for the instruction set.
pub(crate) trait Simd: Copy + Send + Sync {
    /// Sixteen f32 lanes, in as many registers as the instruction set needs.
    type V: Copy;
    /// Sixteen f64 lanes.
    type Wide: Copy;

    /// Rows of the micro-kernel of [`crate::gemm`]: as many as keep all sums in registers.
    const ROWS: usize;
    /// Blocks of sixteen columns of that micro-kernel, 1 or 2.
    const COLUMNS: usize;

    fn splat(self, x: f32) -> Self::V;
    fn load(self, from: &Block) -> Self::V;
    fn store(self, v: Self::V, to: &mut Block);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// 1 / x, to the last place or two, for x from 1 to 2^127.
    #[inline(always)]
    fn reciprocal(self, x: Self::V) -> Self::V {
        self.div(self.splat(1.0), x)
    }

    /// `a * b + c`, rounded once where the instruction set can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger of each pair; NaN where `b` is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller of each pair; NaN where `b` is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger of `m` and |x|, where `m` is not negative and a NaN counts as larger than everything.
    fn max_magnitude(self, m: Self::V, x: Self::V) -> Self::V;
    /// Rounds to the nearest integer.
    fn round(self, v: Self::V) -> Self::V;
    /// 2 to the power of an integral `n` from -126 to 127.
    fn exp2_integral(self, n: Self::V) -> Self::V;

    /// Exactly.
    fn widen(self, v: Self::V) -> Self::Wide;
    /// Rounded to f32.
    fn narrow(self, v: Self::Wide) -> Self::V;
    /// `a * by`.
    fn scale(self, a: Self::Wide, by: f64) -> Self::Wide;
    /// `a * by + c`, rounded once where the instruction set can.
    fn scale_add(self, a: Self::Wide, by: f64, c: Self::Wide) -> Self::Wide;

    /// Brings a block that will be read soon towards the second-level cache, where the processor can be told so.
    #[inline(always)]
    fn prefetch(self, _: &Block) {}

    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }

    #[inline(always)]
    fn to_block(self, v: Self::V) -> Block {
        let mut block = Block([0.0; LANES]);
        self.store(v, &mut block);
        block
    }
}

/// Code that is compiled once for each instruction set.
pub(crate) trait Kernel {
    type Output;

    /// Must be `#[inline(always)]`.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// An instruction set that this program was built for and this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    /// Not in a module of WebAssembly with SIMD, which is smaller by a quarter for it.
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(x86::Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    Wasm(wasm::Wasm),
}

impl Level {
    /// Every level that this processor can run, the fastest last. The first is plain Rust without intrinsics, but for modules
    /// of WebAssembly that are built with SIMD.
    pub fn available() -> Vec<Self> {
        let levels = [
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            Some(Self(Set::Portable)),
            #[cfg(target_arch = "x86_64")]
            x86::Avx2::detect().map(|t| Self(Set::Avx2(t))),
            #[cfg(target_arch = "x86_64")]
            x86::Avx512::detect().map(|t| Self(Set::Avx512(t))),
            #[cfg(target_arch = "aarch64")]
            Some(Self(Set::Neon(neon::Neon::new()))),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Some(Self(Set::Wasm(wasm::Wasm))),
        ];
        levels.into_iter().flatten().collect()
    }

    /// The fastest level of this processor.
    pub fn best() -> Self {
        static BEST: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Self::available().pop().expect("every processor has a level"))
    }

    /// The name of the instruction set, in lower case.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            Set::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Set::Neon(_) => "neon",
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Set::Wasm(_) => wasm::NAME,
        }
    }

    /// Runs `kernel` as compiled for this level.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            Set::Portable => kernel.run(portable::Portable),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(token) => token.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(token) => token.run(kernel),
            #[cfg(target_arch = "aarch64")]
            Set::Neon(token) => kernel.run(token),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Set::Wasm(token) => kernel.run(token),
        }
    }

    /// How many blocks of columns a packed panel holds at this level.
    pub(crate) fn panel_blocks(self) -> usize {
        struct Columns;
        impl Kernel for Columns {
            type Output = usize;
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> usize {
                S::COLUMNS
            }
        }
        self.run(Columns)
    }
}

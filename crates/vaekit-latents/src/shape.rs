//! Stored arrays to latents `[N, C, h, w]`.

use ndarray::{Array4, ArrayD, IxDyn, ShapeBuilder};

use crate::{element::Stored, read::ReadErrorKind};

/// Channel counts by which a 3-D array is recognised as `[C, h, w]`: those of the known image VAEs' latents, packed ones
/// included.
pub const CHANNELS: [usize; 7] = [4, 8, 16, 32, 48, 64, 128];

/// Features of a packed token: 2 by 2 patches of 16 (FLUX.1) or 32 (FLUX.2) channels.
const TOKEN_FEATURES: [usize; 2] = [64, 128];

/// Pixels to a token, each way: a VAE of factor 8 and patches of 2 (diffusers' `vae_scale_factor * 2`).
const TOKEN_PIXELS: usize = 16;

/// The array as latents, by the rules of the [crate's documentation](crate), and whether it was tokens.
pub(crate) fn arrange(
    stored: &Stored<'_>,
    token_size: Option<(usize, usize)>,
) -> Result<(Array4<f32>, bool), ReadErrorKind> {
    let shape = stored.shape.as_slice();
    if shape.contains(&0) {
        return Err(ReadErrorKind::Empty { array: stored.name.clone(), shape: shape.to_vec() });
    }
    let (target, tokens) = match (shape, token_size) {
        (&[n, c, h, w], _) => ([n, c, h, w], None),
        (&[b, s, f], Some(size)) => ([1, b, s, f], Some(token_grid(stored, s, f, size)?)),
        (&[c, h, w], None) if CHANNELS.contains(&c) => ([1, c, h, w], None),
        (&[_, _, f], None) if TOKEN_FEATURES.contains(&f) => {
            return Err(ReadErrorKind::TokensNeedSize { array: stored.name.clone(), shape: shape.to_vec() });
        }
        _ => return Err(ReadErrorKind::Shape { array: stored.name.clone(), shape: shape.to_vec() }),
    };
    let data = in_row_major(stored).into_shape_with_order(target).expect("only axes of length 1 were added");
    Ok(match tokens {
        Some(grid) => (unpack_tokens(data, grid), true),
        None => (data, false),
    })
}

fn in_row_major(stored: &Stored<'_>) -> ArrayD<f32> {
    let shape = IxDyn(&stored.shape).set_f(stored.column_major);
    let data = ArrayD::from_shape_vec(shape, stored.values()).expect("sizes were checked when the header was read");
    if data.is_standard_layout() { data } else { data.as_standard_layout().into_owned() }
}

/// Rows and columns of tokens. diffusers rounds sides down to multiples of 16, so does this.
fn token_grid(
    stored: &Stored<'_>,
    n_tokens: usize,
    features: usize,
    (height, width): (usize, usize),
) -> Result<(usize, usize), ReadErrorKind> {
    let grid = (height / TOKEN_PIXELS, width / TOKEN_PIXELS);
    if grid.0.checked_mul(grid.1) != Some(n_tokens) || !TOKEN_FEATURES.contains(&features) {
        return Err(ReadErrorKind::Tokens { array: stored.name.clone(), shape: stored.shape.clone(), height, width });
    }
    Ok(grid)
}

/// `[1, B, rows * columns, 4C]` to `[B, C, 2 rows, 2 columns]`; feature = 4c + 2(row parity) + column parity, as diffusers'
/// `FluxPipeline._unpack_latents` and `Flux2Pipeline._unpatchify_latents`.
fn unpack_tokens(tokens: Array4<f32>, (rows, columns): (usize, usize)) -> Array4<f32> {
    let (_, b, _, features) = tokens.dim();
    let c = features / 4;
    tokens
        .into_shape_with_order((b, rows, columns, c, 2, 2))
        .expect("the grid has as many cells as there are tokens")
        .permuted_axes([0, 3, 1, 4, 2, 5])
        .as_standard_layout()
        .into_owned()
        .into_shape_with_order((b, c, 2 * rows, 2 * columns))
        .expect("parities become the lowest bit of row and column")
}

//! Files of latents, and how alike two pictures are: what needs no VAE.

use vaekit::metrics::{psnr, ssim};
use vaekit_latents::{Format, Precision, Provenance, ReadOptions};
use wasm_bindgen::prelude::*;

use crate::error::{Error, Kind, OfKind};
use crate::js::{self, object};

/// The bytes of a file of latents in a format named by its extension. `provenance` is JSON, or empty.
#[wasm_bindgen(js_name = saveLatents)]
pub fn save_latents(
    data: Vec<f32>,
    shape: Vec<usize>,
    domain: &str,
    format: &str,
    provenance: &str,
) -> Result<Vec<u8>, JsValue> {
    let latents = js::to_latents(data, &shape, js::domain(domain)?)?;
    let format = Format::from_file_name(&format!("latents.{format}"))
        .ok_or_else(|| Error::new(Kind::BadInput, format!("latents are not written as .{format}")))?;
    let provenance = match provenance {
        "" => None,
        json => Some(Provenance::from_json(json).of_kind(Kind::BadInput)?),
    };
    Ok(vaekit_latents::write(&latents, provenance.as_ref(), format, Precision::F32).of_kind(Kind::BadInput)?)
}

/// `{ latents, provenance }` of a file; the provenance is JSON or undefined.
#[wasm_bindgen(js_name = readLatents)]
pub fn read_latents(name: &str, bytes: &[u8]) -> Result<JsValue, JsValue> {
    let file = vaekit_latents::read(name, bytes, &ReadOptions::default()).of_kind(Kind::BadInput)?;
    let provenance = file.provenance.as_ref().map(Provenance::to_json);
    let latents = file.into_latents().map_err(|error| Error::new(Kind::BadInput, format!("{name}: {error}")))?;
    Ok(object([("latents", js::from_latents(&latents)), ("provenance", provenance.into())]))
}

/// `{ psnr, ssim }` of two pictures of one size in RGBA bytes; SSIM is NaN for a side below 11 pixels.
#[wasm_bindgen]
pub fn metrics(a: &[u8], b: &[u8], width: usize, height: usize) -> Result<JsValue, JsValue> {
    let (a, b) = (js::to_images(a, width, height)?, js::to_images(b, width, height)?);
    let ssim = ssim(a.image(0), b.image(0)).unwrap_or(f64::NAN);
    Ok(object([("psnr", psnr(a.image(0), b.image(0)).into()), ("ssim", ssim.into())]))
}

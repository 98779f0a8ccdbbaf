//! Values for JavaScript.

use js_sys::{Array, Float32Array, Object, Reflect};
use ndarray::Array4;
use serde::de::DeserializeOwned;
use vaekit::{Domain, Images, Latents};
use wasm_bindgen::prelude::*;

use crate::error::{Error, Kind, OfKind};

/// An object of these entries but those that are undefined.
pub(crate) fn object<'a>(entries: impl IntoIterator<Item = (&'a str, JsValue)>) -> JsValue {
    let object = Object::new();
    for (key, value) in entries.into_iter().filter(|(_, value)| !value.is_undefined()) {
        // A plain object takes every key.
        let _ = Reflect::set(&object, &key.into(), &value);
    }
    object.into()
}

/// Options that crossed as JSON.
pub(crate) fn options<T: DeserializeOwned>(json: &str) -> Result<T, Error> {
    serde_json::from_str(json).map_err(|error| Error::new(Kind::BadInput, format!("the options: {error}")))
}

/// Which latents a page says they are.
pub(crate) fn domain(name: &str) -> Result<Domain, Error> {
    match name {
        "raw" => Ok(Domain::Raw),
        "scaled" => Ok(Domain::Scaled),
        other => Err(Error::new(Kind::BadInput, format!("the latents are `{other}`, expected raw or scaled"))),
    }
}

/// `{ data, shape, domain }`.
pub(crate) fn from_latents(latents: &Latents) -> JsValue {
    object([
        ("data", from_values(&latents.data)),
        ("shape", latents.data.shape().iter().map(|&side| JsValue::from(side)).collect::<Array>().into()),
        ("domain", latents.domain.to_string().into()),
    ])
}

/// A copy, in row-major order.
pub(crate) fn from_values(values: &Array4<f32>) -> JsValue {
    Float32Array::from(values.as_standard_layout().as_slice().expect("standard layout")).into()
}

/// Latents of a shape `[N, C, h, w]`.
pub(crate) fn to_latents(data: Vec<f32>, shape: &[usize], domain: Domain) -> Result<Latents, Error> {
    let found = data.len();
    let array = <[usize; 4]>::try_from(shape).ok().and_then(|shape| Array4::from_shape_vec(shape, data).ok());
    match array {
        Some(data) => Ok(Latents { data, domain }),
        None => {
            Err(Error::new(Kind::BadInput, format!("{found} values are no latents [N, C, h, w] of shape {shape:?}")))
        }
    }
}

/// RGBA bytes to an image in [-1, 1]; alpha is passed over.
pub(crate) fn to_images(rgba: &[u8], width: usize, height: usize) -> Result<Images, Error> {
    let rgb: Vec<u8> = rgba.as_chunks().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
    Images::from_rgb(width, height, &rgb).of_kind(Kind::BadInput)
}

//! Pictures through several VAEs and back, compared: as `vaekit compare` does it.

use serde::{Deserialize, Serialize};
use vaekit::Images;
use vaekit_checkpoint::scaling;
use vaekit_compare::html::{Encoded, Views};
use vaekit_compare::{
    Decoded, LatentStatistics, Original, Passage, Picture, Reason, Region, Shown, Summary, Variant, Verdict,
};
use vaekit_latents::VaeId;
use wasm_bindgen::prelude::*;

use crate::error::{Error, Kind, OfKind};
use crate::js::{self, object};

/// A comparison that is being made: for each picture its original, then what came out of each VAE.
#[wasm_bindgen]
pub struct Comparison {
    of: vaekit_compare::Comparison,
    views: Vec<Views>,
    current: Option<Current>,
}

/// The picture whose results come.
struct Current {
    name: String,
    original: Original,
    decoded: Vec<Decoded>,
    passages: Vec<Passage>,
}

/// A VAE that takes part.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entrant {
    name: String,
    family: String,
    engine: String,
    model_bytes: u64,
    peak_bytes: u64,
    precision: Option<String>,
    scaling_source: Option<String>,
    tiles: Option<String>,
    id: VaeId,
}

/// What the page shows.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Findings<'a> {
    labels: Vec<&'a str>,
    verdict: &'a Verdict,
    summary: Summary,
    pictures: Vec<Places<'a>>,
}

/// Where to look in a picture.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Places<'a> {
    name: &'a str,
    regions_for: Reason,
    regions: &'a [Region],
}

impl<'a> From<&'a Picture> for Places<'a> {
    fn from(Picture { name, regions_for, regions, .. }: &'a Picture) -> Self {
        Places { name, regions_for: *regions_for, regions }
    }
}

/// As `vaekit compare` writes it.
#[derive(Serialize)]
struct Report<'a> {
    verdict: &'a Verdict,
    #[serde(flatten)]
    comparison: &'a vaekit_compare::Comparison,
}

#[wasm_bindgen]
impl Comparison {
    /// Of VAEs that are described in JSON.
    #[wasm_bindgen(constructor)]
    pub fn new(entrants: &str) -> Result<Comparison, JsValue> {
        let mut variants: Vec<Variant> = Vec::new();
        for entrant in js::options::<Vec<Entrant>>(entrants)? {
            let others: Vec<&str> = variants.iter().map(|other| other.label.as_str()).collect();
            let label = vaekit_compare::label(&entrant.name, &others);
            variants.push(variant(entrant, label)?);
        }
        let of = vaekit_compare::Comparison { variants, pictures: Vec::new() };
        Ok(Comparison { of, views: Vec::new(), current: None })
    }

    /// The next picture, in RGBA bytes.
    pub fn picture(&mut self, name: String, rgba: Vec<u8>, width: usize, height: usize) -> Result<(), JsValue> {
        self.close()?;
        let original = Original::new(js::to_images(&rgba, width, height)?).of_kind(Kind::BadInput)?;
        self.current = Some(Current { name, original, decoded: Vec::new(), passages: Vec::new() });
        Ok(())
    }

    /// What the picture became in the next VAE, in RGBA bytes of the same size; the mean of its posterior, and its divergence in
    /// nats where there is one.
    #[expect(clippy::too_many_arguments, reason = "wasm-bindgen takes no structures")]
    pub fn trip(
        &mut self,
        rgba: Vec<u8>,
        data: Vec<f32>,
        shape: Vec<usize>,
        domain: String,
        kl: Option<f64>,
        encode_seconds: f64,
        decode_seconds: f64,
    ) -> Result<(), JsValue> {
        let Some(current) = &mut self.current else { return Err(out_of_turn("a trip without a picture").into()) };
        let Some(variant) = self.of.variants.get(current.decoded.len()) else {
            return Err(out_of_turn(&format!("{}: more trips than VAEs", current.name)).into());
        };
        let space = &variant.latents;
        let mean = js::to_latents(data, &shape, js::domain(&domain)?)?;
        let mean = vaekit::Latents { data: space.to_native(mean).of_kind(Kind::BadInput)?, domain: space.native };
        let latents = LatentStatistics::of_mean(mean, kl, space);
        let (height, width) = current.original.size();
        if rgba.len() != 4 * width * height {
            let message = format!("{}: what came back has not the {width} by {height} pixels of it", current.name);
            return Err(Error::new(Kind::BadInput, message).into());
        }
        let decoded = current.original.compare(&js::to_images(&rgba, width, height)?).of_kind(Kind::BadInput)?;
        current.decoded.push(decoded);
        current.passages.push(Passage { latents, encode_seconds, decode_seconds });
        Ok(())
    }

    /// `{ findings, json, csv, html }`: [`Findings`] as JSON, and the reports.
    pub fn finish(mut self) -> Result<JsValue, JsValue> {
        self.close()?;
        let comparison = &self.of;
        if comparison.pictures.is_empty() {
            return Err(out_of_turn("there are no pictures").into());
        }
        let verdict = vaekit_compare::verdict(comparison, &scaling::known());
        let findings = Findings {
            labels: comparison.variants.iter().map(|variant| variant.label.as_str()).collect(),
            verdict: &verdict,
            summary: vaekit_compare::summary(comparison, &verdict),
            pictures: comparison.pictures.iter().map(Places::from).collect(),
        };
        let json = |of: Result<String, serde_json::Error>| of.of_kind(Kind::Other);
        Ok(object([
            ("findings", json(serde_json::to_string(&findings))?.into()),
            ("json", json(serde_json::to_string_pretty(&Report { verdict: &verdict, comparison }))?.into()),
            ("csv", vaekit_compare::csv(comparison).into()),
            ("html", vaekit_compare::html::render(comparison, &verdict, &self.views).into()),
        ]))
    }
}

impl Comparison {
    /// Measures the picture whose results are all there.
    fn close(&mut self) -> Result<(), Error> {
        let Some(Current { name, original, decoded, passages }) = self.current.take() else { return Ok(()) };
        let (found, expected) = (decoded.len(), self.of.variants.len());
        if found != expected {
            return Err(out_of_turn(&format!("{name}: {found} trips, expected one for each of {expected} VAEs")));
        }
        let picture = Picture::new(name.clone(), name, &original, &decoded, passages);
        if let Some(shown) = Shown::after(self.views.iter().map(Views::bytes).sum()) {
            let views =
                vaekit_compare::views(&original, &decoded, &picture.regions, shown, |images, _| encode(images))?;
            self.views.push(views);
        }
        self.of.pictures.push(picture);
        Ok(())
    }
}

fn variant(entrant: Entrant, label: String) -> Result<Variant, Error> {
    let Entrant { name, family, engine, model_bytes, peak_bytes, precision, scaling_source, tiles, id } = entrant;
    let Some(latents) = id.latents else {
        return Err(Error::new(Kind::BadInput, format!("{name}: its description says nothing of its latents")));
    };
    Ok(Variant {
        label,
        vae: name,
        family,
        model_bytes,
        engine,
        precision,
        tiles,
        weights_sha256: id.weights_sha256,
        latents,
        scaling_source,
        open_seconds: None,
        peak_memory_bytes: Some(peak_bytes),
    })
}

fn out_of_turn(message: &str) -> Error {
    Error::new(Kind::BadInput, message)
}

fn encode(images: &Images) -> Result<Encoded, Error> {
    Ok(Encoded { mime: "image/png", bytes: png(images).of_kind(Kind::Other)? })
}

/// Without a colour profile: the canvas that a page's pictures come from has made sRGB of them.
fn png(images: &Images) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let (height, width) = images.size();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, u32::try_from(width)?, u32::try_from(height)?);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&images.to_rgb::<u8>(0)?)?;
    writer.finish()?;
    Ok(bytes)
}

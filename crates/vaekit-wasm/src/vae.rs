//! A VAE in the page.

use js_sys::{Float32Array, Function, Map, Uint8Array};
use ndarray::Axis;
use serde::{Deserialize, Serialize};
use vaekit::cost::cost;
use vaekit::{Domain, Half, LOGVAR_RANGE, Latents, Posterior, Scaling, TileSize, Tiling};
use vaekit_latents::{ImageSize, Provenance, ReadOptions, VaeId};
use vaekit_onnx::{ModelFolder, Precision};
use wasm_bindgen::prelude::*;

use crate::convert::{CheckpointOptions, to_folder};
use crate::engine::{self, Host, Runtime};
use crate::error::{Error, Kind, OfKind};
use crate::files::{Found, Given};
use crate::js::{self, object};
use crate::observer::{Asking, Telling};

/// A VAE that is ready to run.
#[wasm_bindgen]
pub struct Vae {
    vae: vaekit::Vae,
    runtime: Runtime,
    info: Info,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LoadOptions {
    halves: Option<Vec<Half>>,
    /// Whether this module's engine was asked for by name.
    by_name: bool,
    #[serde(flatten)]
    checkpoint: CheckpointOptions,
}

/// What the page learns of a VAE.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    name: String,
    family: String,
    halves: Vec<Half>,
    latents: LatentsInfo,
    has_posterior: bool,
    weights_bytes: u64,
    model_bytes: u64,
    /// Of the numbers in the graphs, where a manifest says.
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<Precision>,
    /// Where the scaling was learned from.
    #[serde(skip_serializing_if = "Option::is_none")]
    scaling_source: Option<String>,
    engine: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter: Option<String>,
    notices: Vec<String>,
    /// What files of its latents say of it.
    id: VaeId,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LatentsInfo {
    channels: usize,
    factor: usize,
    native: Domain,
    #[serde(skip_serializing_if = "Option::is_none")]
    scaling_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shift_factor: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EncodeOptions {
    crop: bool,
    sample: bool,
    seed: u64,
    latents: Option<Domain>,
    tiles: Tiles,
}

/// When pictures are cut: in tiles of so many pixels, never, or where one piece does not fit.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Tiles {
    #[default]
    Auto,
    Never,
    #[serde(untagged)]
    Pixels(usize),
}

impl Tiles {
    /// For a VAE with `factor` pixels a latent.
    fn of(&self, factor: usize) -> Result<Tiling, Error> {
        match *self {
            Tiles::Auto => Ok(Tiling::OutOfMemory),
            Tiles::Never => Ok(Tiling::Never),
            Tiles::Pixels(side) => TileSize::of_pixels(side, None, factor).map(Tiling::Always).of_kind(Kind::BadInput),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DecodeOptions {
    domain: Option<Domain>,
    crop_to: Option<ImageSize>,
    /// Whether the picture may stay on the GPU.
    bitmap: bool,
    tiles: Tiles,
}

#[wasm_bindgen]
impl Vae {
    /// Loads a `Map` of paths to `Blob`s: a model folder, a lone model, or a checkpoint, which is converted first.
    pub async fn load(files: Map, options: String, report: Function) -> Result<Vae, JsValue> {
        let options = js::options::<LoadOptions>(&options)?;
        Ok(load(Given::new(&files), options, &Telling(report)).await?)
    }

    /// [`Info`] as JSON.
    pub fn info(&self) -> String {
        serde_json::to_string(&self.info).expect("an info has string keys only")
    }

    /// Encodes a picture of RGBA bytes, row by row; alpha is passed over.
    ///
    /// `observe` is [`Asking`]'s. Gives `{ latents, width, height, posterior, operations, stages }`.
    pub async fn encode(
        &mut self,
        rgba: Vec<u8>,
        width: usize,
        height: usize,
        options: String,
        observe: Function,
    ) -> Result<JsValue, JsValue> {
        let options = js::options::<EncodeOptions>(&options)?;
        let multiple = self.vae.config().latents.image_multiple();
        let mut images = js::to_images(&rgba, width, height)?;
        drop(rgba);
        if options.crop {
            images = images.center_cropped(multiple).ok_or_else(|| {
                let message = format!("{width} by {height} pixels are less than the VAE's {multiple}");
                Error::new(Kind::BadInput, message)
            })?;
        }
        let mut observer = Asking::new(observe);
        self.vae.set_tiling(options.tiles.of(self.vae.config().latents.downsample_factor)?);
        let posterior = self.vae.encode_with(&images, &mut observer).await;
        let posterior = posterior.map_err(|error| self.or_lost(error.into()))?;
        let stages = self.stages(Half::Encoder);
        let space = &self.vae.config().latents;
        let drawn = draw(&posterior, &options);
        let latents = space.to_domain(drawn, options.latents.unwrap_or(space.native)).of_kind(Kind::BadInput)?;
        let (height, width) = images.size();
        Ok(object([
            ("latents", js::from_latents(&latents)),
            ("width", width.into()),
            ("height", height.into()),
            ("posterior", from_posterior(&posterior)),
            ("operations", self.operations(Half::Encoder, (height, width)).into()),
            ("stages", stages),
            ("tiles", observer.tiles()),
        ]))
    }

    /// Decodes latents `[1, C, h, w]`. Gives `{ width, height, operations, stages }`
    /// with `pixels` and `rgba`, f32 `[3, H, W]` as the decoder gave them, and bytes, or with a `bitmap`.
    pub async fn decode(
        &mut self,
        data: Vec<f32>,
        shape: Vec<usize>,
        domain: String,
        options: String,
        observe: Function,
    ) -> Result<JsValue, JsValue> {
        let options = js::options::<DecodeOptions>(&options)?;
        let domain = options.domain.map_or_else(|| js::domain(&domain), Ok)?;
        let latents = js::to_latents(data, &shape, domain)?;
        self.run(latents, options, &Provenance::default(), observe).await
    }

    /// Decodes a file of latents; as [`decode`](Self::decode). What encoding padded is taken off again.
    #[wasm_bindgen(js_name = decodeFile)]
    pub async fn decode_file(
        &mut self,
        name: String,
        bytes: Vec<u8>,
        options: String,
        observe: Function,
    ) -> Result<JsValue, JsValue> {
        let options = js::options::<DecodeOptions>(&options)?;
        let read = ReadOptions { domain: options.domain, ..ReadOptions::default() };
        let file = vaekit_latents::read(&name, &bytes, &read).of_kind(Kind::BadInput)?;
        drop(bytes);
        let provenance = file.provenance.clone().unwrap_or_default();
        self.check_fit(&name, &provenance)?;
        let latents = file.into_latents().map_err(|error| Error::new(Kind::BadInput, format!("{name}: {error}")))?;
        self.run(latents, options, &provenance, observe).await
    }
}

impl Vae {
    async fn run(
        &mut self,
        latents: Latents,
        options: DecodeOptions,
        provenance: &Provenance,
        observe: Function,
    ) -> Result<JsValue, JsValue> {
        let n = latents.data.dim().0;
        if n > 1 {
            return Err(Error::new(Kind::BadInput, format!("there are {n} latents, expected one at a time")).into());
        }
        let mut observer = Asking::new(observe);
        let tiling = options.tiles.of(self.vae.config().latents.downsample_factor)?;
        self.vae.set_tiling(tiling);
        let space = &self.vae.config().latents;
        let latents = Latents { data: space.to_native(latents).of_kind(Kind::BadInput)?, domain: space.native };
        let (_, _, h, w) = latents.data.dim();
        let decoded = (h * space.downsample_factor, w * space.downsample_factor);
        let crop_to = options.crop_to.or_else(|| provenance.size_before_padding(decoded, space.image_multiple()));
        let kept = crop_to
            .map_or(decoded, |ImageSize { width, height }| (height.clamp(1, decoded.0), width.clamp(1, decoded.1)));
        let about = [
            ("operations", self.operations(Half::Decoder, decoded).into()),
            ("height", kept.0.into()),
            ("width", kept.1.into()),
        ];
        // Tiles are put together here, not on a GPU.
        let draws = options.bitmap && !matches!(tiling, Tiling::Always(_));
        if draws && let Some(session) = self.vae.session_mut(Half::Decoder) {
            let native = latents.data.index_axis(Axis(0), 0);
            let drawn = match self.runtime.draw(session, native, decoded, kept, &mut observer).await {
                Err(error) if error.is_out_of_memory() && tiling == Tiling::OutOfMemory => None,
                drawn => drawn.map_err(|error| self.or_lost(error))?,
            };
            if let Some(bitmap) = drawn {
                let stages = self.stages(Half::Decoder);
                return Ok(object(about.into_iter().chain([("bitmap", bitmap.into()), ("stages", stages)])));
            }
        }
        let images = self.vae.decode_with(latents, &mut observer).await.map_err(|error| self.or_lost(error.into()))?;
        let images = images.cropped(kept.0, kept.1);
        let rgb = images.to_rgb::<u8>(0).of_kind(Kind::Other)?;
        let rgba: Vec<u8> = rgb.as_chunks().0.iter().flat_map(|&[r, g, b]| [r, g, b, u8::MAX]).collect();
        let stages = self.stages(Half::Decoder);
        Ok(object(about.into_iter().chain([
            ("pixels", js::from_values(&images.data)),
            ("rgba", Uint8Array::from(rgba.as_slice()).into()),
            ("stages", stages),
            ("tiles", observer.tiles()),
        ])))
    }

    /// The same error, or if the GPU was lost with it that.
    fn or_lost(&self, error: Error) -> Error {
        if self.runtime.is_lost() { error.lost() } else { error }
    }

    /// `{ stage: seconds }` of a half's last run.
    fn stages(&mut self, half: Half) -> JsValue {
        let stages = self.vae.session_mut(half).map(|session| self.runtime.stages(session)).unwrap_or_default();
        object(stages.into_iter().map(|(stage, seconds)| (stage, seconds.into())))
    }

    /// Multiplications and additions that one half's graph asks for, whatever an engine saves of them.
    fn operations(&self, half: Half, (height, width): (usize, usize)) -> f64 {
        let factor = self.vae.config().latents.downsample_factor;
        let positions = (height.div_ceil(factor) as u64).saturating_mul(width.div_ceil(factor) as u64);
        2.0 * cost(self.vae.config(), half, 4).macs.at(positions) as f64
    }

    /// Refuses latents of a VAE whose latents are others: decoded all the same they would be washed out or noise.
    fn check_fit(&self, file: &str, provenance: &Provenance) -> Result<(), Error> {
        let Some(made_by) = &provenance.vae else { return Ok(()) };
        let misfit = made_by.latents.as_ref().and_then(|theirs| theirs.misfit(&self.vae.config().latents));
        match misfit {
            Some(reason) => Err(Error::new(
                Kind::BadInput,
                format!(
                    "{file}: it was made by the VAE `{}` and does not fit `{}`: {reason}",
                    made_by.name, self.info.name
                ),
            )),
            None => Ok(()),
        }
    }
}

async fn load(mut given: Given, options: LoadOptions, report: &Telling) -> Result<Vae, Error> {
    if let Some(config) = &options.checkpoint.config {
        given.add_config(config);
    }
    let (given, root, fallback_name) = match given.find()? {
        Found::Models(root) => {
            let name = root.file_stem().map(|name| name.to_string_lossy().into_owned());
            (given, root, name)
        }
        Found::Checkpoint(paths) => {
            let stem = paths[0].file_stem().map(|name| name.to_string_lossy().into_owned());
            let name = options.checkpoint.name.clone().or(stem);
            let named = CheckpointOptions { name: name.clone(), ..options.checkpoint.clone() };
            (to_folder(&given, &paths, named, report)?, Default::default(), name)
        }
    };
    let folder = ModelFolder::open_in(&given, &root).of_kind(Kind::BadInput)?;
    let runtime = Runtime::start(options.by_name).await?;
    let mut sessions = [None, None];
    let mut weights_bytes = 0;
    for (half, session) in Half::BOTH.into_iter().zip(&mut sessions) {
        let wanted = options.halves.as_ref().is_none_or(|halves| halves.contains(&half));
        let Some(model) = folder.model(half).filter(|_| wanted) else { continue };
        *session = Some(engine::open(&runtime, &given, model, report).await?);
        weights_bytes += engine::weights_bytes(model);
    }
    let [encoder, decoder] = sessions;
    let mut vae = vaekit::Vae::new(folder.config().clone(), encoder, decoder);
    let given_name = options.checkpoint.name.or_else(|| folder.facts()?.name.clone());
    let name = given_name.or(fallback_name).unwrap_or_else(|| "unnamed".into());
    let halves: Vec<Half> = Half::BOTH.into_iter().filter(|&half| vae.engine(half).is_some()).collect();
    let Some(engine) = halves.iter().find_map(|&half| Some(vae.engine(half)?.to_string())) else {
        let wanted: Vec<String> = options.halves.iter().flatten().map(Half::to_string).collect();
        return Err(Error::new(Kind::BadInput, format!("{name} has no {}", wanted.join(" and no "))));
    };
    report.tell("trying the engine", 0, 0);
    runtime.try_out(&mut vae).await?;
    let (adapter, notices) = (runtime.adapter(), runtime.notices());
    let info = Info { name: name.clone(), weights_bytes, engine, adapter, notices, halves, ..describe(&folder, name) };
    Ok(Vae { vae, runtime, info })
}

fn describe(folder: &ModelFolder, name: String) -> Info {
    let (config, facts) = (folder.config(), folder.facts());
    let space = &config.latents;
    let (scaling_factor, shift_factor) = match space.scaling {
        Some(Scaling::Affine { scaling_factor, shift_factor }) => (Some(scaling_factor), Some(shift_factor)),
        Some(Scaling::PerChannel { scaling_factor, .. }) => (Some(scaling_factor), None),
        Some(Scaling::Packed { .. }) | None => (None, None),
    };
    Info {
        family: config.class_name().to_owned(),
        halves: Vec::new(),
        latents: LatentsInfo {
            channels: space.channels,
            factor: space.downsample_factor,
            native: space.native,
            scaling_factor,
            shift_factor,
        },
        has_posterior: config.encoder_out_channels() > space.channels,
        weights_bytes: 0,
        model_bytes: folder.models().iter().map(|model| model.size).sum(),
        precision: facts.map(|facts| facts.precision),
        scaling_source: facts.map(|facts| facts.source.scaling.clone()),
        engine: String::new(),
        adapter: None,
        notices: Vec::new(),
        id: VaeId {
            name: name.clone(),
            family: Some(config.class_name().to_owned()),
            latents: Some(space.clone()),
            weights_sha256: facts.map(|facts| facts.source.weights_sha256.clone()),
            source_sha256: facts.and_then(|facts| facts.source.files.first()?.sha256.clone()),
        },
        name,
    }
}

/// The mean, or the draw that `vaekit encode --sample --seed` makes of one picture.
fn draw(posterior: &Posterior, options: &EncodeOptions) -> Latents {
    if options.sample { posterior.draw(options.seed, 0) } else { posterior.mode() }
}

/// `{ mean, std, kl }`, or undefined where there is no variance.
fn from_posterior(posterior: &Posterior) -> JsValue {
    let (Some(logvar), Some(kl)) = (posterior.logvar(), posterior.kl()) else { return JsValue::UNDEFINED };
    let std: Vec<f32> =
        logvar.iter().map(|logvar| (0.5 * logvar.clamp(LOGVAR_RANGE.0, LOGVAR_RANGE.1)).exp()).collect();
    object([
        ("mean", js::from_latents(&posterior.mode())),
        ("std", Float32Array::from(std.as_slice()).into()),
        ("kl", kl.iter().sum::<f64>().into()),
    ])
}

//! What made a picture or a file of latents.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use vaekit::Domain;
use vaekit_checkpoint::StateDict;
use vaekit_latents::{Format, LatentFile, Provenance, ReadOptions};

use crate::args::LibraryArgs;
use crate::failure::{Kind, OfKind};
use crate::installed::{Installed, short};
use crate::ui::Ui;

const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Most bytes of text in a PNG that are read.
const MAX_PNG_BYTES: usize = 64 << 20;
/// Files of latents above this are not read to be described.
const MAX_LATENTS: u64 = 4 << 30;
/// The text chunk of AUTOMATIC1111's web UI.
const WEB_UI_KEY: &str = "parameters";

/// A picture or latents.
#[derive(Debug, Serialize)]
pub struct OutputInspection {
    /// The file.
    pub path: PathBuf,
    /// `png`, or the format of latents.
    pub format: &'static str,
    /// Raw or scaled, if latents say so.
    pub domain: Option<Domain>,
    /// Shape of the latents `[N, C, h, w]`.
    pub shape: Option<Vec<usize>>,
    /// What vaekit noted in it; nothing if another program wrote it.
    pub provenance: Option<Provenance>,
    /// What AUTOMATIC1111's web UI noted in a PNG.
    pub web_ui: Option<WebUi>,
    /// Where the VAE that made it is on this machine, if it is known to be here.
    pub vae_is_at: Option<String>,
    /// The name that `vaekit vae fetch` knows that VAE by, if it does.
    pub known_as: Option<String>,
}

/// The VAE in the web UI's `parameters`.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct WebUi {
    /// `VAE`: the file's name.
    pub vae: Option<String>,
    /// `VAE hash`: the short hash of the file.
    pub vae_hash: Option<String>,
}

/// Describes a PNG or a file of latents; `None` if it is neither.
///
/// # Errors
/// [`Kind::BadInput`] if it is one and damaged.
pub(super) fn inspect_output(path: &Path, library: &LibraryArgs, ui: &Ui) -> Result<Option<OutputInspection>> {
    let describe = || -> Result<Option<OutputInspection>> {
        let mut start = Vec::new();
        File::open(path)?.take(8).read_to_end(&mut start)?;
        if start == PNG_SIGNATURE {
            return Ok(Some(picture(path)?));
        }
        if is_latents(path, &start)? { Ok(Some(latents(path)?)) } else { Ok(None) }
    };
    let described = describe().with_context(|| format!("cannot inspect {}", path.display())).of_kind(Kind::BadInput)?;
    let Some(mut output) = described else { return Ok(None) };
    if output.provenance.is_some() || output.web_ui.is_some() {
        output.look(&Installed::open(library, ui)?)?;
    }
    Ok(Some(output))
}

fn picture(path: &Path) -> Result<OutputInspection> {
    let limits = png::Limits { bytes: MAX_PNG_BYTES };
    let reader = png::Decoder::new_with_limits(BufReader::new(File::open(path)?), limits).read_info()?;
    let info = reader.info();
    let international = info.utf8_text.iter().filter_map(|chunk| Some((&chunk.keyword, chunk.get_text().ok()?)));
    let latin = info.uncompressed_latin1_text.iter().map(|chunk| (&chunk.keyword, chunk.text.clone()));
    let text: Vec<(&String, String)> = international.chain(latin).collect();
    let of_key = |key: &str| text.iter().find(|(keyword, _)| *keyword == key).map(|(_, text)| text.as_str());
    let provenance = of_key(Provenance::KEY).map(Provenance::from_json).transpose();
    Ok(OutputInspection {
        path: path.to_owned(),
        format: "png",
        domain: None,
        shape: None,
        provenance: provenance.context("the text chunk `vaekit` is not what vaekit writes")?,
        web_ui: of_key(WEB_UI_KEY).and_then(web_ui),
        vae_is_at: None,
        known_as: None,
    })
}

/// `Steps: 20, Sampler: Euler a, VAE hash: 735e4c3a44, VAE: vae-ft-mse-840000-ema-pruned.safetensors, ...`, on the last line.
fn web_ui(parameters: &str) -> Option<WebUi> {
    let line = format!(", {}", parameters.lines().next_back()?);
    let field = |key: &str| {
        let (_, value) = line.split_once(&format!(", {key}: "))?;
        // A value with a comma stands in quotes.
        let value = match value.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next()?,
            None => value.split(", ").next()?,
        };
        Some(value.to_owned())
    };
    let found = WebUi { vae: field("VAE"), vae_hash: field("VAE hash") };
    (found != WebUi::default()).then_some(found)
}

/// Latents by their format, or, of those that checkpoints have too, by vaekit's metadata or ComfyUI's name of the tensor.
fn is_latents(path: &Path, start: &[u8]) -> Result<bool> {
    let name = path.to_string_lossy();
    match Format::from_file_name(&name) {
        Some(Format::Npy | Format::Npz | Format::Latent) => Ok(true),
        Some(Format::Safetensors) if !start.is_empty() => {
            // What is no safetensors file is described as the checkpoint it is meant to be.
            let Ok(state) = StateDict::open(vaekit_library::source(path)?) else { return Ok(false) };
            Ok(state.metadata().contains_key(Provenance::KEY) || state.tensor("latent_tensor").is_some())
        }
        _ => Ok(false),
    }
}

fn latents(path: &Path) -> Result<OutputInspection> {
    let size = path.metadata()?.len();
    anyhow::ensure!(size <= MAX_LATENTS, "it has {size} bytes, more than latents have ({MAX_LATENTS} at most)");
    let (name, bytes) = (path.to_string_lossy(), fs::read(path)?);
    let LatentFile { data, domain, provenance, .. } = vaekit_latents::read(&name, &bytes, &ReadOptions::default())?;
    let format = Format::from_file_name(&name).map_or("latents", Format::extension);
    Ok(OutputInspection {
        path: path.to_owned(),
        format,
        domain,
        shape: Some(data.shape().to_vec()),
        provenance,
        web_ui: None,
        vae_is_at: None,
        known_as: None,
    })
}

impl fmt::Display for OutputInspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "file        {}", self.path.display())?;
        match &self.shape {
            Some(shape) => {
                let domain = self.domain.map_or("raw or scaled, it does not say".into(), |domain| domain.to_string());
                writeln!(f, "latents     {shape:?}, {}, {domain}", self.format)?;
            }
            None => writeln!(f, "picture     {}", self.format)?,
        }
        if let Some(provenance) = &self.provenance {
            self.fmt_provenance(provenance, f)?;
        }
        if let Some(WebUi { vae, vae_hash }) = &self.web_ui {
            let hash = vae_hash.as_ref().map(|hash| format!(", short hash {hash}")).unwrap_or_default();
            writeln!(f, "made by     {}{hash} (noted by the web UI)", vae.as_deref().unwrap_or("a VAE"))?;
        }
        if self.provenance.is_none() && self.web_ui.is_none() {
            writeln!(f, "made by     it does not say")?;
        }
        match (&self.vae_is_at, &self.known_as) {
            (Some(place), _) => writeln!(f, "here        {place}"),
            (None, Some(name)) => writeln!(f, "here        not that we know; `vaekit vae fetch {name}` fetches it"),
            (None, None) => Ok(()),
        }
    }
}

impl OutputInspection {
    /// Looks for the VAE that made it.
    fn look(&mut self, installed: &Installed) -> Result<()> {
        if let Some(made_by) = self.provenance.as_ref().and_then(|provenance| provenance.vae.as_ref()) {
            self.vae_is_at = installed.whereabouts(made_by)?;
            self.known_as = installed.known(&made_by.name, made_by.source_sha256.as_deref()).map(str::to_owned);
        } else if let Some(WebUi { vae, vae_hash }) = &self.web_ui {
            self.vae_is_at = vae_hash.as_ref().and_then(|hash| installed.of_file(hash));
            let name = vae.as_deref().unwrap_or_default();
            self.known_as = installed.known(name, vae_hash.as_deref()).map(str::to_owned);
        }
        Ok(())
    }

    fn fmt_provenance(&self, provenance: &Provenance, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(vae) = &provenance.vae {
            let family = vae.family.as_ref().map(|family| format!(", {family}")).unwrap_or_default();
            writeln!(f, "made by     {}{family}", vae.name)?;
            let scaling = vae.latents.as_ref().and_then(|latents| latents.scaling.as_ref());
            scaling.map_or(Ok(()), |scaling| writeln!(f, "scaling     {scaling}"))?;
            for (what, hash) in [("weights", &vae.weights_sha256), ("checkpoint", &vae.source_sha256)] {
                hash.as_ref()
                    .map_or(Ok(()), |hash| writeln!(f, "{what:<11} sha256 {hash}, in short {}", short(hash)))?;
            }
        }
        if let Some(size) = provenance.image_size {
            writeln!(f, "size        {} by {}", size.width, size.height)?;
        }
        let engine = provenance.engine.as_ref().map(|engine| format!(" on {engine}")).unwrap_or_default();
        writeln!(f, "written     by vaekit {}{engine}", provenance.vaekit)?;
        provenance.tiles.as_ref().map_or(Ok(()), |tiles| writeln!(f, "            in {tiles}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_web_uis_parameters() {
        let text = "a cat, VAE: no\nNegative prompt: dog\nSteps: 20, VAE hash: 735e4c3a44, VAE: \"mse, new.pt\", Version: v1.10";
        let found = web_ui(text).unwrap();
        assert_eq!((found.vae.as_deref(), found.vae_hash.as_deref()), (Some("mse, new.pt"), Some("735e4c3a44")));
        assert_eq!(web_ui("Steps: 20, VAE: mse.pt").unwrap().vae.as_deref(), Some("mse.pt"));
        assert_eq!(web_ui("Steps: 20"), None);
    }
}

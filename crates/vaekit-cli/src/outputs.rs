//! Which file each result goes to, and what the files say about their making.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use serde::Serialize;
use vaekit::{Cut, Images};
use vaekit_latents::{ImageSize, Provenance, VaeId};
use vaekit_onnx::ModelFolder;

use crate::engine::EngineReport;
use crate::failure::{Kind, OfKind};
use crate::ui::Stages;
use crate::{files, locate, platform};

/// The file for each input: `output` itself for a single input if its extension is one of `extensions`, else
/// `output/STEM.EXTENSION` with the first of them.
///
/// # Errors
/// [`Kind::Usage`] if `output` has another extension, is one file for several inputs, is itself an input, or if two inputs
/// share a stem.
pub fn paths(inputs: &[PathBuf], output: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let choose = || -> Result<Vec<PathBuf>> {
        let extension = output.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
        let is_folder = output.is_dir() || extension.is_none();
        if !is_folder {
            let known = extensions.contains(&extension.as_deref().unwrap_or_default());
            ensure!(known, "{} cannot be written; known endings are {}", output.display(), extensions.join(", "));
            ensure!(inputs.len() == 1, "{} is one file for {} inputs; name a folder", output.display(), inputs.len());
            return Ok(vec![output.to_owned()]);
        }
        let in_folder = |input: &PathBuf| {
            let Some(stem) = input.file_stem() else { bail!("{} names no file", input.display()) };
            Ok(output.join(stem).with_added_extension(extensions[0]))
        };
        inputs.iter().map(in_folder).collect()
    };
    let paths = choose().of_kind(Kind::Usage)?;
    ensure_new(inputs, &paths)?;
    Ok(paths)
}

/// Makes sure that no result takes the place of an input or of another result.
///
/// # Errors
/// [`Kind::Usage`] with the path that would.
pub fn ensure_new(inputs: &[PathBuf], outputs: &[PathBuf]) -> Result<()> {
    // Two ways of writing a path are one file; what is not there yet has no other way to be recognised than its folder's.
    let place = |path: &Path| {
        let place = || Some(files::parent(path).canonicalize().ok()?.join(path.file_name()?));
        path.canonicalize().ok().or_else(place).unwrap_or_else(|| path.to_owned())
    };
    let inputs: HashSet<PathBuf> = inputs.iter().map(|input| place(input)).collect();
    let check = || -> Result<()> {
        let mut seen = HashSet::new();
        for output in outputs {
            let (place, output) = (place(output), output.display());
            ensure!(!inputs.contains(&place), "{output} is an input and would be lost; name another output");
            ensure!(seen.insert(place), "two results would be written to {output}; name one of them otherwise");
        }
        Ok(())
    };
    check().of_kind(Kind::Usage)
}

/// What an output of this VAE says about its making on an engine, as [`EngineReport::engine`] names it.
pub fn provenance(folder: &ModelFolder, engine: &str, images: &Images, cut: Option<&Cut>) -> Provenance {
    let (height, width) = images.size();
    Provenance {
        vae: Some(vae_id(folder)),
        image_size: Some(ImageSize { width, height }),
        engine: Some(engine.into()),
        tiles: cut.map(Cut::to_string),
        ..Provenance::default()
    }
}

/// The name of a VAE in its outputs.
pub fn vae_id(folder: &ModelFolder) -> VaeId {
    let facts = folder.facts();
    VaeId {
        name: locate::name(folder),
        family: Some(folder.config().class_name().to_owned()),
        latents: Some(folder.config().latents.clone()),
        weights_sha256: facts.map(|facts| facts.source.weights_sha256.clone()),
        source_sha256: facts.and_then(|facts| facts.source.files.first()?.sha256.clone()),
    }
}

/// What every command that runs a VAE reports.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The VAE's name.
    pub vae: String,
    /// Its model folder.
    pub folder: PathBuf,
    /// What ran.
    #[serde(flatten)]
    pub engine: EngineReport,
    /// The tiles that pictures were cut into, if any was.
    pub tiles: Option<Cut>,
    /// Seconds of each stage.
    pub seconds: Stages,
    /// Most memory held, where the system tells.
    pub peak_memory_bytes: Option<u64>,
}

impl Run {
    /// At the end of a command.
    pub fn new(folder: &ModelFolder, engine: EngineReport, tiles: Option<Cut>, seconds: Stages) -> Self {
        let (vae, folder) = (locate::name(folder), folder.path().to_owned());
        Run { vae, folder, engine, tiles, seconds, peak_memory_bytes: platform::peak_memory() }
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "vae     {}", self.vae)?;
        writeln!(f, "engine  {}", self.engine.engine)?;
        // That the machine lacks some provider is for --verbose and --json; that its ONNX Runtime is broken, for everybody.
        for reason in self.engine.skipped.iter().filter(|reason| reason.starts_with("ort: ")) {
            writeln!(f, "        instead of {reason}")?;
        }
        if let Some(cut) = &self.tiles {
            writeln!(f, "tiles   {cut}")?;
        }
        write!(f, "time    {}", self.seconds)?;
        if let Some(bytes) = self.peak_memory_bytes {
            write!(f, "\nmemory  {} MB at most", bytes / 1_000_000)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(inputs: &[&str], output: &str, expected: Result<&[&str], &str>) {
        let inputs: Vec<PathBuf> = inputs.iter().map(PathBuf::from).collect();
        let found = paths(&inputs, Path::new(output), &["safetensors", "npy"]).map_err(|error| error.to_string());
        let expected = expected.map(|paths| paths.iter().map(PathBuf::from).collect()).map_err(str::to_owned);
        assert_eq!(found, expected);
    }

    #[test]
    fn one_file_or_a_folder() {
        check(&["a.png"], "x.npy", Ok(&["x.npy"]));
        check(&["a.png"], "x", Ok(&["x/a.safetensors"]));
        check(&["p/a.b.png", "c.png"], "x", Ok(&["x/a.b.safetensors", "x/c.safetensors"]));
        check(&["a.png", "b.png"], "x.npy", Err("x.npy is one file for 2 inputs; name a folder"));
        check(&["a.npy"], "./a.npy", Err("./a.npy is an input and would be lost; name another output"));
        check(&["a.png"], "x.jpg", Err("x.jpg cannot be written; known endings are safetensors, npy"));
        check(
            &["p/a.png", "q/a.jpg"],
            "x",
            Err("two results would be written to x/a.safetensors; name one of them otherwise"),
        );
    }
}

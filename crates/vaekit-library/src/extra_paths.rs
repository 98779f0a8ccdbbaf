//! ComfyUI's `extra_model_paths.yaml`: folders of models that lie elsewhere, in a web UI's installation or on another disk.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::places::{Holds, Place};

const FILE: &str = "extra_model_paths.yaml";
/// Most bytes of it that are read; ComfyUI's example has about 2,000.
const MAX_BYTES: u64 = 1 << 20;

/// Sections by a name that means nothing to ComfyUI either; an empty one is passed over.
type Document = Option<BTreeMap<String, Option<Section>>>;

/// The keys that matter for VAEs. Each holds a folder, or several in lines.
///
/// Source: ComfyUI's `utils/extra_config.py` and `folder_paths.py`.
#[derive(Deserialize)]
struct Section {
    base_path: Option<String>,
    vae: Option<String>,
    vae_approx: Option<String>,
    checkpoints: Option<String>,
}

/// What the file of an installation says.
#[derive(Default)]
pub(crate) struct ExtraPaths {
    pub(crate) places: Vec<Place>,
    /// What is wrong with it, for people.
    pub(crate) problems: Vec<String>,
}

/// Whether an installation has such a file.
pub(crate) fn is_there(installation: &Path) -> bool {
    installation.join(FILE).is_file()
}

/// Reads the file of an installation, if it has one. Nothing in it is fatal: ComfyUI starts without the folders too.
pub(crate) fn read(installation: &Path) -> ExtraPaths {
    let file = installation.join(FILE);
    if !file.is_file() {
        return ExtraPaths::default();
    }
    let mut extra = ExtraPaths::default();
    let sections = read_text(&file).map_err(|error| error.to_string()).and_then(|text| parse(&text));
    let sections = sections.unwrap_or_else(|error| {
        extra.problems.push(format!("{}: {error}", file.display()));
        Vec::new()
    });
    for place in sections.iter().flat_map(|section| section.folders(installation)) {
        match fs::read_dir(&place.folder) {
            Ok(_) => extra.places.push(place),
            Err(error) => {
                let (folder, file) = (place.folder.display(), file.display());
                extra.problems.push(format!("{folder}, which {file} names: {error}"));
            }
        }
    }
    extra
}

fn read_text(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

fn parse(text: &str) -> Result<Vec<Section>, String> {
    // The reader of YAML bounds what aliases may expand to. Its message goes on with a picture of the place.
    let document: Document = serde_saphyr::from_str(text).map_err(|error| {
        let message = error.to_string();
        let first = message.lines().next().unwrap_or_default();
        first.strip_prefix("error: ").unwrap_or(first).to_owned()
    })?;
    Ok(document.unwrap_or_default().into_values().flatten().collect())
}

impl Section {
    /// Its folders. A relative one, of `base_path` or of a model, begins where the file lies.
    fn folders(&self, installation: &Path) -> Vec<Place> {
        let base = self.base_path.as_deref().map(str::trim).filter(|base| !base.is_empty());
        let base = base.map_or_else(|| installation.to_owned(), |base| installation.join(at_home(base)));
        let keys = [
            (&self.vae, Holds::Vaes),
            (&self.vae_approx, Holds::Halves),
            (&self.checkpoints, Holds::BesideCheckpoints),
        ];
        let lines = keys.iter().flat_map(|(folders, holds)| {
            let lines = folders.as_deref().unwrap_or_default().lines().map(str::trim);
            lines.filter(|line| !line.is_empty()).map(|line| (line, *holds))
        });
        lines.map(|(line, holds)| Place { folder: base.join(line), holds }).collect()
    }
}

/// With the user's own folder for `~`.
fn at_home(path: &str) -> PathBuf {
    let in_home = path.strip_prefix('~').and_then(|rest| rest.strip_prefix(std::path::is_separator));
    match (in_home, std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The folders of a file at `/comfy`, with slashes.
    #[track_caller]
    fn check(text: &str, expected: Result<&[&str], &str>) {
        let folders = parse(text).map(|sections| {
            let places = sections.iter().flat_map(|section| section.folders(Path::new("/comfy")));
            places.map(|place| place.folder.to_string_lossy().replace('\\', "/")).collect::<Vec<_>>()
        });
        match (folders, expected) {
            (Ok(folders), Ok(expected)) => assert_eq!(folders, expected),
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn sections_as_comfyuis_example_has_them() {
        let text = "# comments\na111:\n    base_path: /webui/\n    is_default: true\n    vae: models/VAE\n    loras: |\n         \
                    models/Lora\n         models/LyCORIS\nnothing:\n";
        check(text, Ok(&["/webui/models/VAE"]));
        check(
            "a:\n  vae: |\n    one\n    two words\n  checkpoints: /disk/x\n",
            Ok(&["/comfy/one", "/comfy/two words", "/disk/x"]),
        );
        check("a:\n  base_path: sub\n  vae_approx: x\n", Ok(&["/comfy/sub/x"]));
        check("", Ok(&[]));
        check("# nothing\n", Ok(&[]));
        check("a:\n  vae:\n  base_path:\n", Ok(&[]));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        check("a:\n\tvae: x\n", Err("line 2"));
        check("a: [1]\n", Err("line 1"));
    }

    #[test]
    fn aliases_that_expand_to_billions_are_refused() {
        let mut bomb = "a:\n  a: &a x\n".to_owned();
        for (new, old) in "bcdefghijk".chars().zip("abcdefghij".chars()) {
            bomb += &format!("  {new}: &{new} [{}]\n", vec![format!("*{old}"); 10].join(", "));
        }
        assert!(parse(&bomb).is_err());
    }
}

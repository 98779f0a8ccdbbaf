//! Where latents or a picture come from.

use serde::{Deserialize, Serialize};
use vaekit::{Domain, LatentSpace};

/// What made a file, as one JSON object.
///
/// It stands under [`Provenance::KEY`] in the metadata of a safetensors file, in the text chunks of a PNG, and as `vaekit.json`
/// in an `.npz`. Every field may be missing and unknown ones are ignored, so that versions read each other's files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// The version of vaekit that wrote the file.
    pub vaekit: String,
    /// Whether the file's latents are raw or scaled; nothing in a picture. [`write()`](crate::write()) sets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
    /// The VAE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vae: Option<VaeId>,
    /// The image's size, before it was padded to a multiple of the VAE's factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<ImageSize>,
    /// How the latents were taken from the posterior; nothing where the VAE has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub posterior: Option<Posterior>,
    /// The engine, as [`vaekit::Engine`] prints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The tiles that it went in, as [`vaekit::Cut`] prints; nothing where it went in one piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tiles: Option<String>,
}

/// Which VAE.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VaeId {
    /// Name of the model folder or the checkpoint.
    pub name: String,
    /// The family, as `vaekit inspect` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Its latents: what another VAE must have to decode them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latents: Option<LatentSpace>,
    /// sha256 of the weights, in hexadecimal: the same for every file that holds the same VAE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights_sha256: Option<String>,
    /// sha256 of the checkpoint file, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_sha256: Option<String>,
}

/// The size of an image as it is seen, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSize {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// How latents were taken from a posterior.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Posterior {
    /// Its mean.
    Mode,
    /// A draw.
    Sample {
        /// The seed of the noise.
        seed: u64,
    },
}

impl Default for Provenance {
    /// This version of vaekit and nothing more.
    fn default() -> Self {
        Provenance {
            vaekit: env!("CARGO_PKG_VERSION").into(),
            domain: None,
            vae: None,
            image_size: None,
            posterior: None,
            engine: None,
            tiles: None,
        }
    }
}

impl Provenance {
    /// The key of the metadata entry or text chunk.
    pub const KEY: &str = "vaekit";

    /// The size that was noted, for an image of `size` (height, width): nothing if padding it to `multiple` does not give that.
    pub fn size_before_padding(&self, (height, width): (usize, usize), multiple: usize) -> Option<ImageSize> {
        let pads = |noted: usize, side: usize| noted > 0 && noted <= side && side - noted < multiple;
        self.image_size.filter(|size| pads(size.height, height) && pads(size.width, width))
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always serialise")
    }

    /// # Errors
    /// If the text is not JSON or a known field has another type.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(provenance: &Provenance, json: &str) {
        assert_eq!(provenance.to_json(), json);
        assert_eq!(&Provenance::from_json(json).unwrap(), provenance);
    }

    #[test]
    fn json_is_short_where_little_is_known_and_complete_where_all_is() {
        let version = env!("CARGO_PKG_VERSION");
        check(&Provenance::default(), &format!(r#"{{"vaekit":"{version}"}}"#));
        let full = Provenance {
            domain: Some(Domain::Raw),
            vae: Some(VaeId {
                name: "starter".into(),
                family: Some("taesd".into()),
                latents: None,
                weights_sha256: Some("ab".into()),
                source_sha256: Some("cd".into()),
            }),
            image_size: Some(ImageSize { width: 640, height: 427 }),
            posterior: Some(Posterior::Sample { seed: 7 }),
            engine: Some("tract 0.23 on cpu".into()),
            ..Provenance::default()
        };
        check(
            &full,
            &format!(
                "{}{}",
                format_args!(r#"{{"vaekit":"{version}","domain":"raw","vae":{{"name":"starter","family":"taesd","#),
                r#""weights_sha256":"ab","source_sha256":"cd"},"image_size":{"width":640,"height":427},"posterior":{"kind":"sample","seed":7},"engine":"tract 0.23 on cpu"}"#
            ),
        );
    }

    #[test]
    fn fields_of_later_versions_are_ignored() {
        let read = Provenance::from_json(r#"{"vaekit":"9.0","colour":"blue"}"#).unwrap();
        assert_eq!(read, Provenance { vaekit: "9.0".into(), ..Provenance::default() });
    }
}

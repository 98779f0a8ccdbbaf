//! The formats, told apart by their first bytes.

use crate::read::ReadErrorKind;

/// A format of latent files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `.safetensors`, with vaekit's metadata. Raw latents are written so that the file is a ComfyUI `.latent` as well.
    Safetensors,
    /// ComfyUI's `.latent`: safetensors with the tensors `latent_tensor` and `latent_format_version_0`.
    Latent,
    /// NumPy's `.npy`: one array and nothing else, not even raw or scaled.
    Npy,
    /// NumPy's `.npz`: a zip of `.npy` files, and in ours a `vaekit.json`.
    Npz,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 4] = [Format::Safetensors, Format::Latent, Format::Npy, Format::Npz];

    /// The extension, without a dot.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Safetensors => "safetensors",
            Format::Latent => "latent",
            Format::Npy => "npy",
            Format::Npz => "npz",
        }
    }

    /// The format that a file name's extension asks for, in any case.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        Format::ALL.into_iter().find(|format| format.extension().eq_ignore_ascii_case(extension))
    }

    /// The format of these bytes; a `.latent` is a [`Format::Safetensors`] here.
    pub(crate) fn detect(bytes: &[u8]) -> Result<Self, ReadErrorKind> {
        if bytes.starts_with(crate::npy::MAGIC) {
            Ok(Format::Npy)
        } else if bytes.starts_with(b"PK\x03\x04") {
            Ok(Format::Npz)
        } else if bytes.get(8) == Some(&b'{') {
            // A safetensors file is the header's length in 8 bytes, then JSON.
            Ok(Format::Safetensors)
        } else {
            Err(ReadErrorKind::UnknownFormat { start: bytes.iter().copied().take(8).collect(), n_bytes: bytes.len() })
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, ".{}", self.extension())
    }
}

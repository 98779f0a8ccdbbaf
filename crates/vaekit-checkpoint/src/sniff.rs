//! What a file is, by its first bytes.

use crate::error::OpenReason;
use crate::safetensors::is_safetensors;
use crate::source::{ReadAt, read_vec};
use crate::state_dict::Format;
use crate::torch::LEGACY_MAGIC;

/// First bytes of files that people pass by mistake, and what to tell them.
const NOT_CHECKPOINTS: &[(&[u8], &str)] = &[
    (b"GGUF", "a GGUF file, which vaekit does not read; convert the .safetensors or .ckpt it was made from"),
    (b"lmgg", "a GGML file, which vaekit does not read; convert the .safetensors or .ckpt it was made from"),
    (b"tjgg", "a GGML file, which vaekit does not read; convert the .safetensors or .ckpt it was made from"),
    (b"\x89HDF", "an HDF5 file (Keras), which vaekit does not read; expected .safetensors, .ckpt, .pt, .pth or .bin"),
    (b"\x93NUMPY", "a NumPy array, expected a checkpoint"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"),
    (b"\x89PNG", "a PNG picture, expected a checkpoint"),
    (b"\xff\xd8\xff", "a JPEG picture, expected a checkpoint"),
    (b"%PDF", "a PDF file, expected a checkpoint"),
    (b"ORTM", "an ONNX Runtime model, expected a checkpoint"),
];

/// How far into a file its kind can be told: a tar archive's mark ends at byte 262.
const START: u64 = 512;

pub(crate) fn format(data: &dyn ReadAt) -> Result<Format, OpenReason> {
    if data.is_empty() {
        return Err(OpenReason::Empty);
    }
    let start = read_vec(data, 0, data.len().min(START))?;
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        return Ok(Format::TorchZip);
    }
    if start.starts_with(LEGACY_MAGIC) {
        return Ok(Format::TorchLegacy);
    }
    let found = match NOT_CHECKPOINTS.iter().find(|(magic, _)| start.starts_with(magic)) {
        Some((_, found)) => (*found).into(),
        None if start.get(257..262) == Some(b"ustar") => {
            "a tar archive (torch.save from before PyTorch 0.1.10 wrote such), which vaekit does not read; save it again with a newer PyTorch".into()
        }
        None if is_safetensors(&start) => return Ok(Format::Safetensors),
        None => text(&start).unwrap_or_else(|| unknown(&start)),
    };
    Err(OpenReason::Format { found })
}

fn text(start: &[u8]) -> Option<String> {
    let start = String::from_utf8_lossy(start);
    let start = start.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    let lower = start.to_ascii_lowercase();
    if let Some(pointer) = start.strip_prefix("version https://git-lfs") {
        let size = pointer.lines().find_map(|line| line.strip_prefix("size ")).unwrap_or("?");
        return Some(format!(
            "a git-lfs pointer to a file of {size} bytes, not the file itself; fetch it with `git lfs pull` or download it"
        ));
    }
    if lower.starts_with("<!doctype") || lower.starts_with("<html") || lower.starts_with("<?xml") {
        return Some(
            "a web page, not a checkpoint: the download failed, perhaps because the model asks for a login or a licence".into(),
        );
    }
    (start.starts_with('{') || start.starts_with('[')).then(|| "a JSON file; give the checkpoint beside it".into())
}

fn unknown(start: &[u8]) -> String {
    match start {
        [0x80, 0..=5, ..] => {
            "a pickle that torch.save did not write; expected a state dict saved with torch.save, or .safetensors"
                .into()
        }
        _ => {
            let bytes = crate::source::hex(&start[..start.len().min(8)]);
            format!("neither safetensors nor written by torch.save (it starts with bytes {bytes})")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(start: &[u8], expected: &str) {
        let found = format(&start.to_vec()).unwrap_err().to_string();
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn mistakes_are_named() {
        check(b"", "the file is empty (0 bytes)");
        check(b"GGUF\x03\0\0\0", "a GGUF file");
        check(b"  <!DOCTYPE html><html>", "a web page");
        check(
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 334641190\n",
            "a git-lfs pointer to a file of 334641190 bytes",
        );
        check(b"{\"weight_map\": {}}", "a JSON file");
        check(b"\x80\x02}.", "a pickle that torch.save did not write");
        check(
            b"\0\0\0\0\0\0\0\0\0",
            "neither safetensors nor written by torch.save (it starts with bytes 0000000000000000)",
        );
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        check(&tar, "a tar archive");
    }
}

//! safetensors files: vaekit's, ComfyUI's `.latent`, and others'.

use std::borrow::Cow;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use vaekit::{Domain, Latents};

use crate::{
    DomainSource, Format, Precision, Provenance,
    element::{Element, Layout, Stored},
    read::{Found, ReadErrorKind, choose},
};

/// ComfyUI's `SaveLatent` (nodes.py) stores the values under this name ...
const COMFYUI_VALUES: &str = "latent_tensor";
/// ... and beside them an empty tensor, which says that they are not SD1's scaled latents of its first version.
const COMFYUI_VERSION: &str = "latent_format_version_0";
/// Scaled latents have a name that ComfyUI does not know: it would take `latent_tensor` for raw.
const SCALED_VALUES: &str = "latents";
/// Channels of FLUX.2's packed latents, which ComfyUI keeps scaled.
const COMFYUI_PACKED: usize = 128;

pub(crate) fn read<'a>(bytes: &'a [u8], wanted: Option<&str>) -> Result<Found<'a>, ReadErrorKind> {
    let damaged = |reason: String| ReadErrorKind::Damaged { format: Format::Safetensors, reason };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| damaged(error.to_string()))?;
    let file = SafeTensors::deserialize(bytes).map_err(|error| damaged(error.to_string()))?;
    let has_version = header.info(COMFYUI_VERSION).is_some();
    let names = file.names().into_iter().filter(|&name| name != COMFYUI_VERSION).map(String::from).collect();
    let name = choose(Format::Safetensors, names, wanted)?;
    let tensor = file.tensor(&name).map_err(|error| damaged(error.to_string()))?;
    let convention = match (name.as_str(), has_version, tensor.shape()) {
        (COMFYUI_VALUES, true, &[_, COMFYUI_PACKED, _, _]) => Some((Domain::Scaled, DomainSource::ComfyUi)),
        (COMFYUI_VALUES, true, _) => Some((Domain::Raw, DomainSource::ComfyUi)),
        (COMFYUI_VALUES, false, _) => Some((Domain::Raw, DomainSource::OldComfyUi)),
        _ => None,
    };
    let provenance = match header.metadata().as_ref().and_then(|metadata| metadata.get(Provenance::KEY)) {
        Some(json) => {
            Some(Provenance::from_json(json).map_err(|error| ReadErrorKind::Metadata { reason: error.to_string() })?)
        }
        None => None,
    };
    Ok(Found { array: stored(name, &tensor)?, convention, provenance })
}

fn stored<'a>(name: String, tensor: &TensorView<'a>) -> Result<Stored<'a>, ReadErrorKind> {
    let element = match tensor.dtype() {
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::Bf16,
        Dtype::F32 => Element::F32,
        Dtype::F64 => Element::F64,
        other => return Err(ReadErrorKind::Element { array: name, found: other.to_string() }),
    };
    let layout = Layout { shape: tensor.shape().to_vec(), element, big_endian: false, column_major: false };
    Stored::new(name, layout, Cow::Borrowed(tensor.data()))
        .map_err(|reason| ReadErrorKind::Damaged { format: Format::Safetensors, reason })
}

/// Whether ComfyUI's convention can hold these latents: raw, or FLUX.2's packed ones.
pub(crate) fn comfyui_holds(latents: &Latents) -> bool {
    (latents.domain == Domain::Scaled) == (latents.data.dim().1 == COMFYUI_PACKED)
}

/// The file, with `values` as little-endian bytes; for ComfyUI too where [`comfyui_holds`] the latents.
pub(crate) fn write(latents: &Latents, values: &[u8], precision: Precision, provenance: &Provenance) -> Vec<u8> {
    let dtype = match precision {
        Precision::F32 => Dtype::F32,
        Precision::F16 => Dtype::F16,
    };
    let view = |dtype, shape: &[usize], bytes| {
        TensorView::new(dtype, shape.to_vec(), bytes).expect("the bytes are those of the shape")
    };
    let values = view(dtype, latents.data.shape(), values);
    let tensors = match comfyui_holds(latents) {
        // `torch.tensor([])` is an f32 of shape [0].
        true => vec![(COMFYUI_VALUES, values), (COMFYUI_VERSION, view(Dtype::F32, &[0], &[]))],
        false => vec![(SCALED_VALUES, values)],
    };
    // One entry, and not several: safetensors writes metadata in the order of a hash map, which is another one each time.
    let metadata = [(Provenance::KEY.into(), provenance.to_json())].into();
    safetensors::serialize(tensors, Some(metadata)).expect("the header is far below the format's limit")
}

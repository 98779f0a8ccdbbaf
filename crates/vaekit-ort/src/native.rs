//! Everything unsafe: opening the library to ask for its version, a run into the caller's memory, and which provider
//! took which node. Each function is safe to call; its `SAFETY` line says why.

use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::ptr;

use libloading::Library;
use ort::AsPointer;
use ort::session::Session;
use ort::sys;
use ort::value::{TensorRef, TensorRefMut};

/// Opens the library at `path`, which may be a bare name for the system to look up.
///
/// # Errors
/// What the system's loader says.
pub(crate) fn open(path: &Path) -> Result<Library, libloading::Error> {
    #[cfg(windows)]
    if path.is_absolute() {
        return open_with_neighbours(path);
    }
    // SAFETY: loading runs the library's initialisers. ONNX Runtime's are sound, and a file that its user or the system put
    // where ONNX Runtime belongs is trusted with that, as every dynamic loader does.
    unsafe { Library::new(path) }
}

/// Windows looks for what a library needs beside the program and in the system, where an older `DirectML.dll` may lie. So
/// what came with this library is loaded first: a library that is loaded already is found by its name.
#[cfg(windows)]
fn open_with_neighbours(path: &Path) -> Result<Library, libloading::Error> {
    use libloading::os::windows::{LOAD_WITH_ALTERED_SEARCH_PATH, Library as Native};
    for name in ["DirectML.dll", "dxil.dll", "dxcompiler.dll"] {
        let neighbour = path.with_file_name(name);
        if neighbour.exists() {
            // SAFETY: as in `open`; the file came with the library. It must stay loaded, hence `forget`.
            std::mem::forget(unsafe { Native::load_with_flags(&neighbour, LOAD_WITH_ALTERED_SEARCH_PATH) });
        }
    }
    // SAFETY: as in `open`.
    unsafe { Native::load_with_flags(path, LOAD_WITH_ALTERED_SEARCH_PATH) }.map(Library::from)
}

/// The version that the library says it has, or `None` if it is not ONNX Runtime.
pub(crate) fn version(library: &Library) -> Option<String> {
    // SAFETY: `OrtGetApiBase` has had this signature since ONNX Runtime 1.0, and both its functions are the first fields of a
    // structure that never changes, whatever the version: asking for it is how a version is told. The string is static.
    unsafe {
        let base = library.get::<unsafe extern "system" fn() -> *const sys::OrtApiBase>(b"OrtGetApiBase").ok()?();
        let version = ((*base.as_ref().map(ptr::from_ref)?).GetVersionString)();
        (!version.is_null()).then(|| CStr::from_ptr(version).to_string_lossy().into_owned())
    }
}

/// Runs `session` on its only input and writes its only output into `output`'s memory, copying neither.
/// For a provider that computes in host memory: there ONNX Runtime compares the shapes before it writes.
///
/// # Errors
/// ONNX Runtime's, also when the output's shape is not the one that was computed.
pub(crate) fn run_into(
    session: &mut Session,
    (input_name, input): (&CStr, &TensorRef<'_, f32>),
    (output_name, output): (&CStr, &mut TensorRefMut<'_, f32>),
) -> ort::Result<()> {
    let (inputs, mut outputs) = ([input.ptr()], [output.ptr().cast_mut()]);
    let (input_names, output_names) = ([input_name.as_ptr()], [output_name.as_ptr()]);
    // SAFETY: session, values and names are borrowed for the whole call and the counts are those of the arrays. `session` and
    // `output` are borrowed mutably, so nothing else runs the session or looks at the memory meanwhile. ONNX Runtime refuses
    // a result whose size is not `output`'s, whatever computed it, and it replaces no value it is given, so nothing needs to
    // be released.
    unsafe {
        ort::Error::result_from_status((ort::api().Run)(
            session.ptr().cast_mut(),
            ptr::null(),
            input_names.as_ptr(),
            inputs.as_ptr(),
            inputs.len(),
            output_names.as_ptr(),
            output_names.len(),
            outputs.as_mut_ptr(),
        ))
    }
}

/// The configuration key that makes ONNX Runtime keep what [`assignments`] reads.
pub(crate) const RECORD_ASSIGNMENTS: &str = "session.record_ep_graph_assignment_info";

/// Which provider took each node, as pairs of provider (`CPUExecutionProvider`) and operator (`Conv`).
///
/// A provider that changes the layout of its nodes is asked twice, and only its second answer is listed, which leaves out
/// most of what it took; what it did not take is listed in full.
///
/// # Errors
/// ONNX Runtime's, if the session was built without [`RECORD_ASSIGNMENTS`].
pub(crate) fn assignments(session: &Session) -> ort::Result<Vec<(String, String)>> {
    let api = ort::api();
    let mut pairs = Vec::new();
    // SAFETY: the lists and strings belong to the session, which is borrowed until they are copied; each list has the
    // length that came with it, and each getter gets an element of the list it is for.
    unsafe {
        for &graph in list(|items, n| (api.Session_GetEpGraphAssignmentInfo)(session.ptr(), items, n))? {
            let provider = text(|out| (api.EpAssignedSubgraph_GetEpName)(graph, out))?;
            for &node in list(|items, n| (api.EpAssignedSubgraph_GetNodes)(graph, items, n))? {
                pairs.push((provider.clone(), text(|out| (api.EpAssignedNode_GetOperatorType)(node, out))?));
            }
        }
    }
    Ok(pairs)
}

/// # Safety
/// `get` must give a list that lives as long as `'a`, with its length.
unsafe fn list<'a, T>(get: impl FnOnce(*mut *const T, *mut usize) -> sys::OrtStatusPtr) -> ort::Result<&'a [T]> {
    let (mut items, mut n) = (ptr::null(), 0);
    // SAFETY: the status is fresh from the call, and the list is as the caller promises.
    unsafe {
        ort::Error::result_from_status(get(&mut items, &mut n))?;
        Ok(if items.is_null() { &[] } else { std::slice::from_raw_parts(items, n) })
    }
}

/// # Safety
/// `get` must give a string that ends in a zero byte.
unsafe fn text(get: impl FnOnce(*mut *const c_char) -> sys::OrtStatusPtr) -> ort::Result<String> {
    let mut out = ptr::null();
    // SAFETY: the status is fresh from the call, and the string is as the caller promises.
    unsafe {
        ort::Error::result_from_status(get(&mut out))?;
        Ok(if out.is_null() { String::new() } else { CStr::from_ptr(out).to_string_lossy().into_owned() })
    }
}

/// A name for the C API, if it holds no zero byte.
pub(crate) fn c_name(name: &str) -> ort::Result<CString> {
    Ok(CString::new(name)?)
}

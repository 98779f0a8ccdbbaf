//! Files of latents, written and read, ours and others', whole and damaged.

use ndarray::{Array4, s};
use proptest::prelude::*;
use safetensors::{Dtype, tensor::TensorView};
use vaekit::{Domain, Latents};
use vaekit_latents::{
    DomainSource, Format, ImageSize, LatentFile, Posterior, Precision, Provenance, ReadOptions, VaeId, WriteError,
    read, write,
};

/// Values that f16 and bf16 hold exactly, each another one.
fn values(shape: (usize, usize, usize, usize)) -> Array4<f32> {
    let mut next = -64.0;
    Array4::from_shape_simple_fn(shape, || {
        next += 0.5;
        next
    })
}

fn latents(channels: usize, domain: Domain) -> Latents {
    Latents { data: values((2, channels, 3, 2)), domain }
}

fn provenance() -> Provenance {
    Provenance {
        vae: Some(VaeId { name: "starter".into(), weights_sha256: Some("00ff".into()), ..VaeId::default() }),
        image_size: Some(ImageSize { width: 15, height: 24 }),
        posterior: Some(Posterior::Sample { seed: u64::MAX }),
        engine: Some("tract 0.23.9 on cpu".into()),
        ..Provenance::default()
    }
}

fn read_as(bytes: &[u8], options: &ReadOptions) -> Result<LatentFile, String> {
    read("file", bytes, options).map_err(|error| error.to_string())
}

fn check(bytes: &[u8], expected: &Array4<f32>, domain: Option<Domain>, source: DomainSource) {
    check_with(bytes, &ReadOptions::default(), expected, domain, source);
}

fn check_with(
    bytes: &[u8],
    options: &ReadOptions,
    expected: &Array4<f32>,
    domain: Option<Domain>,
    source: DomainSource,
) {
    let file = read_as(bytes, options).unwrap();
    assert_eq!((&file.data, file.domain, file.domain_source), (expected, domain, source));
    assert!(file.data.is_standard_layout());
}

fn check_error(bytes: &[u8], expected: &str) {
    check_error_with(bytes, &ReadOptions::default(), expected);
}

fn check_error_with(bytes: &[u8], options: &ReadOptions, expected: &str) {
    assert_eq!(read_as(bytes, options).unwrap_err(), format!("file: {expected}"));
}

fn safetensors(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
    let tensors = tensors
        .iter()
        .map(|&(name, dtype, shape, bytes)| (name, TensorView::new(dtype, shape.to_vec(), bytes).unwrap()));
    safetensors::serialize(tensors, None).unwrap()
}

fn le_bytes(data: &Array4<f32>) -> Vec<u8> {
    data.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}

#[test]
fn every_format_gives_back_what_was_written() {
    for format in Format::ALL {
        for precision in [Precision::F32, Precision::F16] {
            for (channels, domain) in [(4, Domain::Raw), (4, Domain::Scaled), (128, Domain::Scaled), (128, Domain::Raw)]
            {
                let latents = latents(channels, domain);
                let bytes = match write(&latents, Some(&provenance()), format, precision) {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        assert_eq!(error, WriteError::NotForComfyUi { domain, channels });
                        assert_eq!((format, domain == Domain::Scaled), (Format::Latent, channels == 4));
                        continue;
                    }
                };
                assert_eq!(write(&latents, Some(&provenance()), format, precision).unwrap(), bytes, "other bytes");
                let file = read_as(&bytes, &ReadOptions::default()).unwrap();
                assert_eq!((&file.data, file.n_non_finite), (&latents.data, 0));
                if format == Format::Npy {
                    assert_eq!((file.domain, file.provenance), (None, None));
                } else {
                    assert_eq!(file.provenance, Some(Provenance { domain: Some(domain), ..provenance() }));
                    assert_eq!((file.domain, file.domain_source), (Some(domain), DomainSource::Metadata));
                }
            }
        }
    }
}

#[test]
fn without_provenance_a_file_still_says_raw_or_scaled() {
    for format in [Format::Safetensors, Format::Npz] {
        let latents = latents(4, Domain::Scaled);
        let bytes = write(&latents, None, format, Precision::F32).unwrap();
        assert_eq!(read_as(&bytes, &ReadOptions::default()).unwrap().into_latents(), Ok(latents));
    }
}

#[test]
fn an_npy_needs_the_callers_word() {
    let latents = latents(4, Domain::Raw);
    let bytes = write(&latents, None, Format::Npy, Precision::F32).unwrap();
    let error = read_as(&bytes, &ReadOptions::default()).unwrap().into_latents().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the file does not say whether its latents are raw or scaled (their standard deviation is 6.93, that of scaled \
         ones is near 1); say which with --latents raw or --latents scaled"
    );
    let told = ReadOptions { domain: Some(Domain::Raw), ..ReadOptions::default() };
    check_with(&bytes, &told, &latents.data, Some(Domain::Raw), DomainSource::Caller);
}

#[test]
fn our_raw_safetensors_is_what_comfyui_writes_and_loads() {
    let latents = latents(16, Domain::Raw);
    let bytes = write(&latents, None, Format::Safetensors, Precision::F32).unwrap();
    assert_eq!(write(&latents, None, Format::Latent, Precision::F32).unwrap(), bytes);
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let values = file.tensor("latent_tensor").unwrap();
    assert_eq!((values.dtype(), values.shape()), (Dtype::F32, latents.data.shape()));
    let version = file.tensor("latent_format_version_0").unwrap();
    assert_eq!((version.dtype(), version.shape()), (Dtype::F32, &[0][..]));
    // Scaled latents must not look like raw ones to it.
    let scaled =
        write(&Latents { domain: Domain::Scaled, ..latents }, None, Format::Safetensors, Precision::F32).unwrap();
    assert_eq!(safetensors::SafeTensors::deserialize(&scaled).unwrap().names(), ["latents"]);
}

#[test]
fn comfyui_files_old_and_new() {
    let data = values((1, 4, 3, 2));
    let bytes = le_bytes(&data);
    let tensor: (_, _, &[usize], &[u8]) = ("latent_tensor", Dtype::F32, &[1, 4, 3, 2], &bytes);
    let version: (_, _, &[usize], &[u8]) = ("latent_format_version_0", Dtype::F32, &[0], &[]);
    check(&safetensors(&[tensor, version]), &data, Some(Domain::Raw), DomainSource::ComfyUi);
    let old = safetensors(&[tensor]);
    let raw = &data * (1.0 / 0.18215f64) as f32;
    check(&old, &raw, Some(Domain::Raw), DomainSource::OldComfyUi);
    let told = ReadOptions { domain: Some(Domain::Scaled), ..ReadOptions::default() };
    check_with(&old, &told, &data, Some(Domain::Scaled), DomainSource::Caller);

    let packed = values((1, 128, 3, 2));
    let bytes = le_bytes(&packed);
    let flux2 = safetensors(&[("latent_tensor", Dtype::F32, &[1, 128, 3, 2], &bytes), version]);
    check(&flux2, &packed, Some(Domain::Scaled), DomainSource::ComfyUi);
}

#[test]
fn every_type_of_number() {
    let data = values((1, 4, 3, 2));
    let cases: [(Dtype, Vec<u8>); 4] = [
        (Dtype::F32, le_bytes(&data)),
        (Dtype::F64, data.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect()),
        (Dtype::F16, data.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect()),
        (Dtype::BF16, data.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect()),
    ];
    for (dtype, bytes) in &cases {
        check(&safetensors(&[("anything", *dtype, &[1, 4, 3, 2], bytes)]), &data, None, DomainSource::Unknown);
    }
    for (descr, (_, bytes)) in ["<f4", "<f8", "<f2"].iter().zip(&cases) {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1, 4, 3, 2), }}\n");
        check(&npy(&header, bytes), &data, None, DomainSource::Unknown);
    }
    let big_endian: Vec<u8> = data.iter().flat_map(|v| v.to_be_bytes()).collect();
    let header = "{'descr': '>f4', 'fortran_order': False, 'shape': (1, 4, 3, 2), }";
    check(&npy(header, &big_endian), &data, None, DomainSource::Unknown);
    check_error(
        &safetensors(&[("a", Dtype::I64, &[1, 1, 1, 1], &[0; 8])]),
        "array `a` has elements of type I64, expected f32, f16, bf16 or f64",
    );
    check_error(
        &npy("{'descr': '|V2', 'fortran_order': False, 'shape': (1, 4, 1, 1), }", &[0; 8]),
        "array `array` has elements of type '|V2', expected f32, f16, bf16 or f64",
    );
}

#[test]
fn fortran_order() {
    let data = values((2, 4, 3, 2));
    let columns: Vec<u8> = data.t().iter().flat_map(|v| v.to_le_bytes()).collect();
    let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 4, 3, 2), }";
    check(&npy(header, &columns), &data, None, DomainSource::Unknown);
}

#[test]
fn three_axes_are_one_latent_or_tokens() {
    let data = values((1, 16, 3, 2));
    let bytes = le_bytes(&data);
    check(&safetensors(&[("a", Dtype::F32, &[16, 3, 2], &bytes)]), &data, None, DomainSource::Unknown);
    check_error(
        &safetensors(&[("a", Dtype::F32, &[3, 16, 2], &bytes)]),
        "array `a` is [3, 16, 2], expected latents [N, C, h, w], or [C, h, w] with C one of [4, 8, 16, 32, 48, 64, 128]",
    );
    check_error(
        &safetensors(&[("a", Dtype::F32, &[1, 16, 1, 3, 2], &bytes)]),
        "array `a` is [1, 16, 1, 3, 2], expected latents [N, C, h, w], or [C, h, w] with C one of \
         [4, 8, 16, 32, 48, 64, 128]; latents of videos are not supported",
    );
    check_error(
        &safetensors(&[("a", Dtype::F32, &[1, 0, 3, 2], &[])]),
        "array `a` is [1, 0, 3, 2], which holds no values",
    );
}

#[test]
fn tokens_unpack_as_a_loop_would() {
    for features in [64, 128] {
        let (b, rows, columns) = (2, 3, 5);
        let tokens = values((1, b, rows * columns, features));
        let mut expected = Array4::zeros((b, features / 4, 2 * rows, 2 * columns));
        for ((n, c, y, x), value) in expected.indexed_iter_mut() {
            *value = tokens[[0, n, (y / 2) * columns + x / 2, c * 4 + (y % 2) * 2 + x % 2]];
        }
        let bytes = le_bytes(&tokens);
        let file = safetensors(&[("latents", Dtype::F32, &[b, rows * columns, features], &bytes)]);
        let sized = |size| ReadOptions { token_size: Some(size), ..ReadOptions::default() };
        // Sides are rounded down to multiples of 16, as diffusers does.
        check_with(&file, &sized((48, 95)), &expected, Some(Domain::Scaled), DomainSource::Tokens);
        check_error(
            &file,
            &format!(
                "array `latents` is [2, 15, {features}]: packed tokens [B, S, features] of a FLUX pipeline? then give the \
                 image's size with --token-size HEIGHTxWIDTH"
            ),
        );
        check_error_with(
            &file,
            &sized((64, 80)),
            &format!(
                "array `latents` is [2, 15, {features}], expected packed tokens [B, 20, 64 or 128] for an image of 64 by 80: \
                 one token for each 16 by 16 pixels"
            ),
        );
        check_error_with(
            &file,
            &sized((usize::MAX, usize::MAX)),
            &format!(
                "array `latents` is [2, 15, {features}], expected packed tokens [B, {0}, 64 or 128] for an image of {0} by {0}: \
                 one token for each 16 by 16 pixels",
                usize::MAX
            ),
        );
    }
}

#[test]
fn one_of_several_arrays() {
    let data = values((1, 4, 1, 1));
    let bytes = le_bytes(&data);
    let shape: &[usize] = &[1, 4, 1, 1];
    let file = safetensors(&[("noise", Dtype::F32, shape, &[0; 16]), ("samples", Dtype::F32, shape, &bytes)]);
    check(&file, &data, None, DomainSource::Unknown);
    let file = safetensors(&[("a", Dtype::F32, shape, &[0; 16]), ("b", Dtype::F32, shape, &bytes)]);
    check_error(&file, "the file holds 2 arrays: `a`, `b`; choose one with --tensor NAME");
    let wanted = |name: &str| ReadOptions { tensor: Some(name.into()), ..ReadOptions::default() };
    check_with(&file, &wanted("b"), &data, None, DomainSource::Unknown);
    check_error_with(&file, &wanted("c"), "the file holds no array `c`; it has `a`, `b`");
}

#[test]
fn deflated_npz_as_numpy_writes_it() {
    let data = values((1, 4, 3, 2));
    let array = write(&Latents { data: data.clone(), domain: Domain::Raw }, None, Format::Npy, Precision::F32).unwrap();
    check(&deflated("arr_0.npy", &array), &data, None, DomainSource::Unknown);
    check_error(
        &deflated("readme.txt", b"text"),
        "the .npz file holds no array; a PyTorch file? then save its latents as .safetensors",
    );
}

#[test]
fn a_zip_that_lies_about_sizes_is_refused() {
    let honest = deflated("latents.npy", &[0; 100]);
    let record = honest.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    let declaring = |size: u32| {
        let mut lie = honest.clone();
        lie[record + 24..][..4].copy_from_slice(&size.to_le_bytes());
        lie
    };
    check_error(
        &declaring((1 << 30) + 1),
        "damaged .npz file: `latents.npy` inflates to 1073741825 bytes, expected at most 1073741824",
    );
    check_error(&declaring(99), "damaged .npz file: Invalid size: expected 99, got 100");
    check_error(&declaring(101), "damaged .npz file: Invalid size: expected 101, got 100");
}

fn deflated(name: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = rawzip::ZipArchiveWriter::new(Vec::new());
    let (mut entry, config) =
        archive.new_file(name).compression_method(rawzip::CompressionMethod::DEFLATE).start().unwrap();
    let mut writer = config.wrap(flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::fast()));
    std::io::Write::write_all(&mut writer, content).unwrap();
    let (encoder, descriptor) = writer.finish().unwrap();
    encoder.finish().unwrap();
    entry.finish(descriptor).unwrap();
    archive.finish().unwrap()
}

#[test]
fn values_that_are_no_numbers_are_counted() {
    let mut latents = latents(4, Domain::Raw);
    latents.data.slice_mut(s![0, 0, 0, ..]).assign(&ndarray::array![f32::NAN, f32::INFINITY]);
    let bytes = write(&latents, None, Format::Safetensors, Precision::F16).unwrap();
    assert_eq!(read_as(&bytes, &ReadOptions::default()).unwrap().n_non_finite, 2);
}

#[test]
fn f16_that_would_overflow_is_refused() {
    let mut latents = latents(4, Domain::Raw);
    latents.data[[0, 1, 2, 1]] = -70000.0;
    assert_eq!(
        write(&latents, None, Format::Npy, Precision::F16).unwrap_err().to_string(),
        "1 values are beyond the range of f16 (the largest magnitude is 70000, f16 ends at 65504); write f32"
    );
}

#[test]
fn hostile_headers_are_refused() {
    check_error(b"", "not a .safetensors, .latent, .npy or .npz file: it has 0 bytes and starts with ");
    check_error(
        b"\x80\x02}q\x00.",
        "not a .safetensors, .latent, .npy or .npz file: it has 6 bytes and starts with \\x80\\x02}q\\x00.",
    );
    check_error(&[&u64::MAX.to_le_bytes()[..], b"{}"].concat(), "damaged .safetensors file: header too large");
    check_error(
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
        "damaged .npy file: the header has 4294967295 bytes, expected at most 10000",
    );
    check_error(b"\x93NUMPY\x01\x00\x40\x00{", "damaged .npy file: the header ends at 74, the file at 11");
    check_error(b"\x93NUMPY\x04\x00\x40\x00{", "damaged .npy file: version 4.0 is not known, expected 1.0 to 3.0");
    check_error(
        &npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967295, 4294967295, 2, 1), }", &[]),
        "damaged .npy file: array `array` has 0 bytes, its shape [4294967295, 4294967295, 2, 1] needs more than can be addressed",
    );
    check_error(
        &npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4, 64, 64), }", &[0; 12]),
        "damaged .npy file: array `array` has 12 bytes, its shape [1, 4, 64, 64] needs 65536",
    );
    check_error(
        &safetensors::serialize(
            [("a", TensorView::new(Dtype::F32, vec![1, 1, 1, 1], &[0; 4]).unwrap())],
            Some([("vaekit".to_owned(), "[1]".to_owned())].into()),
        )
        .unwrap(),
        "the metadata `vaekit` cannot be read: invalid type: integer `1`, expected a string at line 1 column 2",
    );
}

#[test]
fn truncated_files_are_refused() {
    for format in Format::ALL {
        let bytes = write(&latents(4, Domain::Raw), Some(&provenance()), format, Precision::F32).unwrap();
        for end in 0..bytes.len() {
            assert!(read_as(&bytes[..end], &ReadOptions::default()).is_err(), "{format} cut at {end}");
        }
    }
}

const STARTS: &[&[u8]] = &[b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x20\0\0\0\0\0\0\0{"];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_never_panic(
        format in prop::sample::select(&Format::ALL[..]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        token_size in prop::option::of((any::<usize>(), any::<usize>())),
    ) {
        let mut bytes = write(&latents(4, Domain::Raw), Some(&provenance()), format, Precision::F32).unwrap();
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = read_as(&bytes, &ReadOptions { token_size, ..ReadOptions::default() });
    }

    #[test]
    fn any_bytes_never_panic(
        start in prop::sample::select(STARTS),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = read_as(&[start, &rest].concat(), &ReadOptions::default());
    }
}

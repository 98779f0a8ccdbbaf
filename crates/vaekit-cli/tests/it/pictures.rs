//! Pictures of every kind through encode, decode and roundtrip.

use std::path::Path;

use image::{DynamicImage, ImageBuffer, ImageReader, Luma, Rgb, Rgba};

use crate::Place;

fn gradient(x: u32, y: u32) -> [u8; 3] {
    [(x * 5) as u8, (y * 4) as u8, (x + y) as u8]
}

fn save(path: &Path, image: DynamicImage) {
    image.save(path).unwrap();
}

fn rgb(width: u32, height: u32) -> DynamicImage {
    ImageBuffer::from_fn(width, height, |x, y| Rgb(gradient(x, y))).into()
}

fn open(path: &Path) -> DynamicImage {
    ImageReader::open(path).unwrap().decode().unwrap()
}

#[test]
fn several_pictures_are_one_call_and_come_back_at_their_own_size() {
    let place = Place::new();
    let sizes = [(40, 24), (40, 24), (37, 21), (9, 50)];
    let names: Vec<String> = (0..sizes.len()).map(|index| format!("picture{index}.png")).collect();
    for (name, (width, height)) in names.iter().zip(sizes) {
        save(&place.path(name), rgb(width, height));
    }
    let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
    let encoded = place.json(&[&["encode", "--engine", "tract", "-o", "latents"], &inputs[..]].concat());
    assert_eq!(encoded["files"][2]["shape"], serde_json::json!([1, 16, 3, 5]));
    let latents: Vec<String> = (0..sizes.len()).map(|index| format!("latents/picture{index}.safetensors")).collect();
    let latents: Vec<&str> = latents.iter().map(String::as_str).collect();
    place.json(&[&["decode", "--engine", "tract", "-o", "decoded"], &latents[..]].concat());
    for (name, (width, height)) in names.iter().zip(sizes) {
        let decoded = open(&place.path("decoded").join(name));
        assert_eq!((decoded.width(), decoded.height()), (width, height), "{name}");
    }
}

#[test]
fn a_round_trip_keeps_alpha_depth_and_size() {
    let place = Place::new();
    let alpha = |x: u32, y: u32| (x * 1000 + y * 77) as u16;
    let image: ImageBuffer<Rgba<u16>, _> = ImageBuffer::from_fn(33, 20, |x, y| {
        let [r, g, b] = gradient(x, y).map(|value| u16::from(value) * 257);
        Rgba([r, g, b, alpha(x, y)])
    });
    save(&place.path("in.png"), image.into());
    place.json(&["roundtrip", "--engine", "tract", "in.png", "-o", "out.png"]);
    let DynamicImage::ImageRgba16(out) = open(&place.path("out.png")) else { panic!("16 bit with alpha") };
    assert_eq!(out.dimensions(), (33, 20));
    assert!(out.enumerate_pixels().all(|(x, y, pixel)| pixel.0[3] == alpha(x, y)));
}

#[test]
fn grey_jpeg_webp_and_tiff_are_read() {
    let place = Place::new();
    let grey: ImageBuffer<Luma<u8>, _> = ImageBuffer::from_fn(24, 16, |x, y| Luma([(x * 9 + y) as u8]));
    save(&place.path("grey.png"), grey.into());
    for name in ["a.jpg", "a.webp", "a.tiff"] {
        save(&place.path(name), rgb(24, 16));
    }
    for name in ["grey.png", "a.jpg", "a.webp", "a.tiff"] {
        let report = place.json(&["roundtrip", "--engine", "tract", name, "-o", "out.png"]);
        assert_eq!((report["width"].as_u64(), report["height"].as_u64()), (Some(24), Some(16)), "{name}");
        assert!(report["psnr"].as_f64().unwrap() > 12.0, "{name}: {report}");
    }
}

#[test]
fn a_picture_is_turned_upright_by_its_exif_orientation() {
    let place = Place::new();
    save(&place.path("flat.jpg"), rgb(32, 16));
    // SOI, then an APP1 block: Exif, big-endian TIFF, one entry: tag 0x0112 (orientation), SHORT, 1, value 6 (turn right).
    let exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let jpeg = std::fs::read(place.path("flat.jpg")).unwrap();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    let turned = [&jpeg[..2], &[0xff, 0xe1], &length, exif, &jpeg[2..]].concat();
    std::fs::write(place.path("turned.jpg"), turned).unwrap();
    let report = place.json(&["roundtrip", "--engine", "tract", "turned.jpg", "-o", "out.png"]);
    assert_eq!((report["width"].as_u64(), report["height"].as_u64()), (Some(16), Some(32)));
}

#[test]
fn the_same_seed_draws_the_same_latents() {
    let place = Place::new();
    save(&place.path("in.png"), rgb(16, 16));
    let draw = |seed: &str, out: &str| {
        place.json(&["encode", "--engine", "tract", "--sample", "--seed", seed, "in.png", "-o", out]);
        std::fs::read(place.path(out)).unwrap()
    };
    let first = draw("7", "a.npy");
    assert!(first == draw("7", "b.npy"));
    assert!(first != draw("8", "c.npy"));
}

#[test]
fn what_is_no_picture_is_bad_input() {
    let place = Place::new();
    std::fs::write(place.path("note.txt"), "no picture").unwrap();
    place.fails(&["encode", "note.txt", "-o", "out"], 3, &["note.txt", "none of PNG, JPEG, WebP, TIFF"]);
    place.fails(&["encode", "nothing.png", "-o", "out"], 3, &["nothing.png"]);
    save(&place.path("a.png"), rgb(8, 8));
    place.fails(&["encode", "a.png", "-o", "out.jpg"], 2, &["out.jpg", "safetensors"]);
    place.fails(&["encode", "--vae", "nowhere", "a.png", "-o", "out"], 3, &["nowhere", "starter"]);
}

#[test]
fn a_result_never_takes_the_place_of_an_input_or_of_another_result() {
    let place = Place::new();
    save(&place.path("a.png"), rgb(16, 16));
    save(&place.path("b.png"), rgb(24, 16));
    let original = std::fs::read(place.path("a.png")).unwrap();
    place.fails(&["roundtrip", "--engine", "tract", "a.png", "-o", "."], 2, &["a.png is an input and would be lost"]);
    assert!(std::fs::read(place.path("a.png")).unwrap() == original);

    // A file of two latents becomes `two-0.png` and `two-1.png`.
    std::fs::write(place.path("two.npy"), npy(2)).unwrap();
    std::fs::write(place.path("two-0.npy"), npy(1)).unwrap();
    let decode = ["decode", "--vae", "starter", "--latents", "raw", "two.npy", "two-0.npy", "-o", "out"];
    place.fails(&decode, 2, &["two results would be written to", "two-0.png"]);
    assert!(!place.path("out").exists());
}

/// `n` latents of the starter VAE, all zero.
fn npy(n: usize) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n}, 16, 2, 2), }}");
    let padded = format!("{header:117}\n");
    let mut bytes = b"\x93NUMPY\x01\0".to_vec();
    bytes.extend((padded.len() as u16).to_le_bytes());
    bytes.extend(padded.as_bytes());
    bytes.extend(vec![0; n * 16 * 4 * 4]);
    bytes
}

#[test]
fn a_small_file_that_says_it_is_huge_is_refused() {
    let place = Place::new();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 60_000, 60_000);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    encoder.write_header().unwrap().write_chunk(png::chunk::IDAT, b"x").unwrap();
    std::fs::write(place.path("bomb.png"), bytes).unwrap();
    place.fails(&["encode", "bomb.png", "-o", "out"], 3, &["bomb.png", "60000 by 60000 are more pixels"]);
}

//! The report as a file: nothing is loaded, nothing a name holds becomes markup, and the numbers are all there.

use vaekit::Images;
use vaekit_compare::html::{Encoded, render};
use vaekit_compare::{Colours, Comparison, MEASURES, Original, Reason, Region, Shown, csv, regions, verdict, views};

use crate::support::{comparison, known, trip};

fn images(width: usize, height: usize, of: impl Fn(usize, usize) -> [u8; 3]) -> Images {
    let pixels: Vec<u8> = (0..width * height).flat_map(|i| of(i % width, i / width)).collect();
    Images::from_rgb(width, height, &pixels).unwrap()
}

/// Bytes that say what they are a picture of.
fn encode(images: &Images, colours: Colours) -> Result<Encoded, std::convert::Infallible> {
    Ok(Encoded { mime: "image/test", bytes: format!("{:?} {colours:?}", images.size()).into_bytes() })
}

fn page(comparison: &Comparison) -> String {
    page_of(comparison, &vec![Shown::Large; comparison.pictures.len()])
}

/// With views of the first pictures, so large.
fn page_of(comparison: &Comparison, shown: &[Shown]) -> String {
    let original = Original::new(images(64, 48, |x, y| [(3 * x) as u8, (5 * y) as u8, 90])).unwrap();
    let decoded = original.compare(&images(64, 48, |x, y| [(3 * x) as u8, (5 * y) as u8, 99])).unwrap();
    let other = original.compare(&images(64, 48, |x, y| [(3 * x) as u8, (4 * y) as u8, 90])).unwrap();
    let decoded = [decoded, other];
    let region = [Region { x: 8, y: 8, width: 16, height: 16 }];
    let views: Vec<_> =
        shown.iter().map(|&shown| views(&original, &decoded, &region, shown, encode).unwrap()).collect();
    render(comparison, &verdict(comparison, &known()), &views)
}

#[test]
fn the_page_loads_nothing_and_takes_no_markup_from_names() {
    let mut comparison =
        comparison(&["a<script>alert(1)</script>", "b\" onload=\"x"], vec![vec![trip(70.0)], vec![trip(60.0)]]);
    comparison.pictures[0].name = "</title><img src=x>.png".into();
    comparison.pictures[0].regions = vec![Region { x: 8, y: 8, width: 16, height: 16 }];
    let page = page(&comparison);
    assert!(!page.contains("<script>alert") && !page.contains("onload=\"x") && !page.contains("<img src=x>"));
    assert_eq!(page.matches("<script>").count(), 1);
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("url("), "nothing may be loaded");
    assert!(page.contains("default-src 'none'"));
    // Whole pictures and crops: three versions each, and two maps.
    assert_eq!(page.matches("src=\"data:image/test;base64,").count(), 3 + 2 + 3);
}

#[test]
fn the_page_says_which_vae_a_variant_is() {
    let mut comparison = comparison(&["mine", "other"], vec![vec![trip(70.0)], vec![trip(60.0)]]);
    let variant = &mut comparison.variants[0];
    (variant.vae, variant.weights_sha256) = ("kl-f8-anime2".into(), Some("0123456789abcdef".into()));
    let page = page(&comparison);
    assert!(page.contains("<dd>kl-f8-anime2 (weights 0123456789), AutoencoderKL"), "{page}");
    let csv = csv(&comparison);
    assert!(csv.lines().nth(1).unwrap().contains(",mine,kl-f8-anime2,0123456789abcdef,tract"), "{csv}");
}

#[test]
fn many_pictures_are_shown_smaller_and_then_not_at_all() {
    let trips = || (0..5).map(|_| trip(70.0)).collect();
    let comparison = comparison(&["a", "b"], vec![trips(), trips()]);
    let page = page_of(&comparison, &[Shown::Large, Shown::Large, Shown::Small]);
    let words = ["2 variants, 5 pictures", "after 2 pictures in full 1 are shown smaller", "and 2 are not shown"];
    assert!(words.iter().all(|words| page.contains(words)), "{page}");
    assert_eq!(page.matches("<details class=\"picture\"").count(), 3);
    assert!(page.contains("picture 4.png"), "the tables have all");
    assert!(!page_of(&comparison, &[Shown::Large; 5]).contains("So that a browser"));

    // Whole pictures and maps grow smaller, regions do not.
    let original = Original::new(images(900, 300, |x, y| [x as u8, y as u8, 90])).unwrap();
    let decoded = [original.compare(&images(900, 300, |x, y| [x as u8, y as u8, 99])).unwrap()];
    let region = [Region { x: 8, y: 8, width: 96, height: 96 }];
    let [large, small] =
        [Shown::Large, Shown::Small].map(|shown| views(&original, &decoded, &region, shown, encode).unwrap());
    let text = |encoded: &Encoded| String::from_utf8(encoded.bytes.clone()).unwrap();
    assert_eq!([text(&large.original), text(&large.heat[0])], ["(300, 900) Picture", "(150, 450) Map"]);
    assert_eq!([text(&small.decoded[0]), text(&small.heat[0])], ["(100, 300) Picture", "(100, 300) Map"]);
    assert_eq!(text(&small.crops[0].decoded[0]), "(96, 96) Picture");
    let lengths =
        ["(100, 300) Picture", "(100, 300) Picture", "(100, 300) Map", "(96, 96) Picture", "(96, 96) Picture"];
    assert_eq!(small.bytes(), lengths.map(str::len).iter().sum::<usize>());
}

#[test]
fn csv_holds_every_number_once() {
    let comparison = comparison(&["a, \"b\"", "c"], vec![vec![trip(70.25), trip(1.0)], vec![trip(60.0), trip(2.0)]]);
    let csv = csv(&comparison);
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(lines.len(), 1 + 4 + 1);
    assert!(MEASURES.iter().all(|measure| lines[0].split(',').filter(|key| *key == measure.key).count() == 1));
    assert!(
        lines[1].starts_with("picture 0.png,1000,1000,\"a, \"\"b\"\"\",\"a, \"\"b\"\"\",\"hash of a, \"\"b\"\"\",tract 0.23.9 on cpu,fp32,70.25,"),
        "{}",
        lines[1]
    );
    assert_eq!(lines[5], "");
}

#[test]
fn regions_are_where_the_pictures_part() {
    let plain = |x: usize, y: usize| [(x / 2) as u8, (y / 2) as u8, 120];
    let original = Original::new(images(400, 300, plain)).unwrap();
    let spoilt =
        |x: usize, y: usize| if (240..336).contains(&x) && (120..216).contains(&y) { [255, 0, 0] } else { plain(x, y) };
    let decoded = [images(400, 300, plain), images(400, 300, spoilt)].map(|images| original.compare(&images).unwrap());
    let (reason, found) = regions(&original, &decoded);
    assert_eq!((reason, found), (Reason::Disagreement, vec![Region { x: 240, y: 120, width: 96, height: 96 }]));
}

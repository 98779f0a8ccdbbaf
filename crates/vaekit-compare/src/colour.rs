//! What became of the colours: differences as people see them, saturation, tint and hue.

use ndarray::{ArrayView3, Axis};
use palette::color_difference::Ciede2000;
use palette::white_point::D65;
use palette::{FromColor, Lab, Srgb};
use serde::Serialize;

use crate::character::Remark;

/// An image in CIE L*a*b* (D65), row by row. The image's values are taken for sRGB, whatever profile the picture carries.
pub(crate) type LabPixels = Vec<Lab<D65, f32>>;

/// `[3, H, W]` in [-1, 1], clamped, to L*a*b*.
pub(crate) fn lab(image: ArrayView3<'_, f32>) -> LabPixels {
    let plane = |channel| image.index_axis_move(Axis(0), channel);
    let unit = |value: f32| (value * 0.5 + 0.5).clamp(0.0, 1.0);
    let (red, green, blue) = (plane(0), plane(1), plane(2));
    let pixels = red.iter().zip(&green).zip(&blue);
    pixels.map(|((&r, &g), &b)| Lab::from_color(Srgb::new(unit(r), unit(g), unit(b)))).collect()
}

/// CIEDE2000 of every pixel (Sharma, Wu and Dalal 2005): 1 is about what a person just sees in flat patches side by side.
pub(crate) fn delta_e(a: &LabPixels, b: &LabPixels) -> Vec<f32> {
    a.iter().zip(b).map(|(&a, &b)| a.difference(b)).collect()
}

/// How the colours of an image differ from those of the original.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Colour {
    /// Mean CIEDE2000 over the pixels; 0 where they are equal.
    pub delta_e_mean: f64,
    /// 95th percentile of CIEDE2000.
    pub delta_e_p95: f64,
    /// Mean chroma (C*ab) over the original's: above 1 more vivid, below 1 washed out. Absent for grey pictures.
    pub saturation: Option<f64>,
    /// Standard deviation of lightness (L*) over the original's. Absent for flat pictures.
    pub contrast: Option<f64>,
    /// Mean change of L*, from 0 to 100.
    pub lightness: f64,
    /// Mean change of a* (green to pink) and b* (blue to yellow).
    pub tint: [f64; 2],
    /// Mean turn of the hue in degrees, weighted by chroma: positive from red towards yellow, from blue towards pink. Absent
    /// for grey pictures.
    pub hue_shift: Option<f64>,
}

/// Mean chroma below which a picture is grey for these purposes.
const GREY: f64 = 2.0;
/// Deviation of L* below which a picture has no contrast to keep.
const FLAT: f64 = 1.0;

impl Colour {
    /// Compares pixel by pixel. `delta_e` is [`delta_e`] of the same two.
    pub(crate) fn new(original: &LabPixels, decoded: &LabPixels, delta_e: &[f32]) -> Self {
        let n = original.len() as f64;
        let mean = |of: &dyn Fn(usize) -> f64| (0..original.len()).map(of).sum::<f64>() / n;
        let chroma = |pixels: &LabPixels| mean(&|i| f64::from(pixels[i].a).hypot(f64::from(pixels[i].b)));
        let lightness = |pixels: &LabPixels| mean(&|i| f64::from(pixels[i].l));
        let deviation = |pixels: &LabPixels, average: f64| mean(&|i| (f64::from(pixels[i].l) - average).powi(2)).sqrt();
        let (chroma_before, chroma_after) = (chroma(original), chroma(decoded));
        let (l_before, l_after) = (lightness(original), lightness(decoded));
        let contrast_before = deviation(original, l_before);
        let colourful = chroma_before >= GREY;
        let (dot, cross) = original.iter().zip(decoded).fold((0.0, 0.0), |(dot, cross), (o, d)| {
            let (oa, ob, da, db) = (f64::from(o.a), f64::from(o.b), f64::from(d.a), f64::from(d.b));
            (dot + oa * da + ob * db, cross + oa * db - ob * da)
        });
        Colour {
            delta_e_mean: delta_e.iter().map(|&e| f64::from(e)).sum::<f64>() / n,
            delta_e_p95: percentile(delta_e, 0.95),
            saturation: colourful.then(|| chroma_after / chroma_before),
            contrast: (contrast_before >= FLAT).then(|| deviation(decoded, l_after) / contrast_before),
            lightness: l_after - l_before,
            tint: [
                mean(&|i| f64::from(decoded[i].a) - f64::from(original[i].a)),
                mean(&|i| f64::from(decoded[i].b) - f64::from(original[i].b)),
            ],
            hue_shift: colourful.then(|| cross.atan2(dot).to_degrees()),
        }
    }
}

/// With linear interpolation between the two nearest ranks, as numpy's default.
fn percentile(values: &[f32], fraction: f64) -> f64 {
    let position = fraction * (values.len() - 1) as f64;
    let index = position as usize;
    let mut values = values.to_vec();
    let (_, &mut low, above) = values.select_nth_unstable_by(index, f32::total_cmp);
    let high = above.iter().copied().min_by(f32::total_cmp).unwrap_or(low);
    f64::from(low) + (position - index as f64) * f64::from(high - low)
}

/// Least change of saturation or contrast that is put into words.
const NOTABLE_RATIO: f64 = 0.05;
/// Least mean change of L*, or of a* and b* together, that is put into words.
const NOTABLE_SHIFT: f64 = 1.0;
/// Least turn of the hue that is put into words, in degrees.
const NOTABLE_TURN: f64 = 3.0;

/// Names of directions in the plane of a* and b*, every 45 degrees from +a*.
const DIRECTIONS: [&str; 8] = ["pink", "orange", "yellow", "green", "teal", "cyan", "blue", "violet"];

/// What a person would say of the colours of one or the mean of several pictures; empty where nothing is notable.
pub(crate) fn remarks(colour: &Colour) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let percent = |what: &str, ratio: f64| format!("{what} {:+.0} %", (ratio - 1.0) * 100.0);
    let mut ratio = |ratio: Option<f64>, what: &str, more: &str, less: &str| {
        let Some(ratio) = ratio.filter(|ratio| (ratio - 1.0).abs() > NOTABLE_RATIO) else { return };
        remarks.push(Remark::new(if ratio > 1.0 { more } else { less }, percent(what, ratio)));
    };
    ratio(colour.saturation, "saturation", "vivid", "washed out");
    ratio(colour.contrast, "contrast", "harsh", "flat");
    if colour.lightness.abs() >= NOTABLE_SHIFT {
        let word = if colour.lightness > 0.0 { "brighter" } else { "darker" };
        remarks.push(Remark::new(word, format!("L* {:+.1}", colour.lightness)));
    }
    let [a, b] = colour.tint;
    if a.hypot(b) >= NOTABLE_SHIFT {
        let eighth = (b.atan2(a).to_degrees() / 45.0).round().rem_euclid(8.0) as usize;
        let towards = format!("tinted towards {}", DIRECTIONS[eighth]);
        remarks.push(Remark::new(towards, format!("{:.1} in a*b*", a.hypot(b))));
    }
    if let Some(turn) = colour.hue_shift.filter(|turn| turn.abs() >= NOTABLE_TURN) {
        remarks.push(Remark::new("shifted in hue", format!("{turn:+.0}°")));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME: Colour = Colour {
        delta_e_mean: 0.0,
        delta_e_p95: 0.0,
        saturation: Some(1.0),
        contrast: Some(1.0),
        lightness: 0.0,
        tint: [0.0, 0.0],
        hue_shift: Some(0.0),
    };

    fn check(colour: Colour, expected: &[&str]) {
        let found: Vec<String> = remarks(&colour).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn words() {
        check(SAME, &[]);
        check(Colour { saturation: Some(1.08), ..SAME }, &["vivid (saturation +8 %)"]);
        check(
            Colour { saturation: Some(0.88), contrast: Some(0.9), ..SAME },
            &["washed out (saturation -12 %)", "flat (contrast -10 %)"],
        );
        check(
            Colour { tint: [-3.0, 0.1], lightness: -2.0, ..SAME },
            &["darker (L* -2.0)", "tinted towards teal (3.0 in a*b*)"],
        );
        check(Colour { tint: [1.0, -0.1], hue_shift: None, ..SAME }, &["tinted towards pink (1.0 in a*b*)"]);
    }

    #[test]
    fn percentiles_interpolate() {
        assert_eq!(percentile(&[4.0, 1.0, 3.0, 2.0], 0.5), 2.5);
        assert_eq!(percentile(&[7.0], 0.95), 7.0);
    }
}

//! The numbers as CSV, one line for each picture and variant.

use crate::comparison::Comparison;
use crate::measure::MEASURES;

/// Every number of every trip. Lines end in CR LF, as RFC 4180 says; what is absent is empty.
pub fn csv(comparison: &Comparison) -> String {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let mut write =
        |record: Vec<String>| writer.write_record(record).expect("memory takes all, and lines are equally long");
    let fixed = ["picture", "width", "height", "variant", "vae", "weights_sha256", "engine", "precision"];
    let last = ["kl_per_value", "scaled_mean", "scaled_deviation", "encode_seconds", "decode_seconds"];
    let keys = MEASURES.iter().map(|measure| measure.key);
    write(fixed.into_iter().chain(keys).chain(last).map(str::to_owned).collect());
    for picture in &comparison.pictures {
        for (variant, trip) in comparison.variants.iter().zip(&picture.trips) {
            let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
            let mut record = vec![
                picture.name.clone(),
                picture.width.to_string(),
                picture.height.to_string(),
                variant.label.clone(),
                variant.vae.clone(),
                variant.weights_sha256.clone().unwrap_or_default(),
                variant.engine.clone(),
                variant.precision.clone().unwrap_or_default(),
            ];
            record.extend(MEASURES.iter().map(|measure| number((measure.of)(trip))));
            let scaled = trip.latents.scaled;
            record.extend([
                number(trip.latents.kl_per_value),
                number(scaled.map(|scaled| scaled.mean)),
                number(scaled.map(|scaled| scaled.deviation)),
                trip.encode_seconds.to_string(),
                trip.decode_seconds.to_string(),
            ]);
            write(record);
        }
    }
    String::from_utf8(writer.into_inner().expect("memory takes all")).expect("what went in was text")
}

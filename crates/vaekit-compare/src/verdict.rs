//! What the numbers say, in plain words.

use serde::Serialize;
use vaekit::Scaling;

use crate::character::{Remark, character};
use crate::comparison::{CLOSE, Comparison, pairs};
use crate::latents::{KnownScaling, Suspicion};
use crate::measure::{MEASURES, Measure, PRIMARY};
use crate::statistics::{Paired, holm};

/// Chance of calling noise a lead, for each measure.
pub const ALPHA: f64 = 0.05;
/// Fewest pictures that can make a winner: two differences may be alike by chance.
const FEWEST: usize = 3;
/// Pictures from which on their latents are told without reserve.
const ENOUGH: usize = 5;

/// What the numbers say.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The first sentence or two of `text`: who comes closest, if anybody.
    pub headline: String,
    /// One paragraph.
    pub text: String,
    /// The variant that leads all others on the first measure by more than noise, if there is one.
    pub winner: Option<String>,
    /// How noise was told from differences.
    pub noise: String,
    /// What is wrong with a variant, most certain first.
    pub warnings: Vec<Warning>,
    /// Who is ahead on each measure.
    pub rankings: Vec<Ranking>,
    /// For each variant, what a person would say of its pictures; empty where nothing is notable.
    pub characters: Vec<Vec<Remark>>,
}

/// Something wrong with one or two variants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is about.
    pub kind: WarningKind,
    /// The variants.
    pub variants: Vec<String>,
    /// In words.
    pub text: String,
}

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningKind {
    /// The same weights give different pictures.
    SameWeightsDiffer,
    /// The same weights under different scalings.
    SameWeightsOtherScaling,
    /// The scaling looks like another VAE's.
    Scaling,
}

/// Who is ahead on one measure.
#[derive(Clone, Debug, Serialize)]
pub struct Ranking {
    /// [`Measure::key`].
    pub measure: &'static str,
    /// The variant with the best mean.
    pub best: usize,
    /// The best against each other variant.
    pub leads: Vec<Lead>,
}

/// The best variant against another.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Lead {
    /// The other.
    pub over: usize,
    /// How much better the best is, picture by picture.
    #[serde(flatten)]
    pub paired: Paired,
    /// The mean is large enough to matter.
    pub matters: bool,
    /// It matters, and is more than noise.
    pub holds: bool,
}

impl Ranking {
    /// `None` where no picture gives the number for every variant.
    pub fn new(comparison: &Comparison, measure: &Measure) -> Option<Self> {
        let n = comparison.variants.len();
        let mean = |a: usize, b: usize| Paired::new(&measure.paired(comparison, a, b)).mean;
        if (1..n).any(|variant| measure.paired(comparison, 0, variant).is_empty()) {
            return None;
        }
        let best = (0..n).max_by(|&a, &b| mean(a, 0).total_cmp(&mean(b, 0)).then(b.cmp(&a)))?;
        let others: Vec<usize> = (0..n).filter(|&variant| variant != best).collect();
        let paired: Vec<Paired> =
            others.iter().map(|&other| Paired::new(&measure.paired(comparison, best, other))).collect();
        let p: Vec<f64> = paired.iter().map(|paired| paired.p.unwrap_or(1.0)).collect();
        let certain = holm(&p, ALPHA);
        let leads = others.iter().zip(paired).zip(certain).map(|((&over, paired), certain)| {
            let matters = paired.mean >= measure.least;
            Lead { over, paired, matters, holds: matters && certain && paired.n >= FEWEST }
        });
        Some(Ranking { measure: measure.key, best, leads: leads.collect() })
    }

    /// Whether the best leads all others.
    pub fn has_winner(&self) -> bool {
        self.leads.iter().all(|lead| lead.holds)
    }
}

/// Says what the numbers say. `known` are the published scalings.
pub fn verdict(comparison: &Comparison, known: &[KnownScaling]) -> Verdict {
    let rankings: Vec<Ranking> = MEASURES.iter().filter_map(|measure| Ranking::new(comparison, measure)).collect();
    let teller = Teller { comparison, rankings: &rankings };
    let characters: Vec<Vec<Remark>> =
        (0..comparison.variants.len()).map(|variant| character(comparison, variant)).collect();
    let warnings = teller.warnings(known);
    let (headline, winner) = teller.outcome();
    let mut sentences = vec![headline.clone()];
    if warnings.iter().any(|warning| warning.kind == WarningKind::SameWeightsDiffer) {
        sentences.push("Something is broken: the same weights give different pictures, see the warning.".into());
    }
    sentences.extend(teller.dissent(winner));
    sentences.extend(teller.alike());
    sentences.extend(teller.character(&characters));
    sentences.extend(teller.cost(winner));
    if warnings.iter().any(|warning| warning.kind != WarningKind::SameWeightsDiffer) {
        sentences.push("The scaling of the latents needs a look, see the warning.".into());
    }
    Verdict {
        headline,
        text: sentences.join(" "),
        winner: winner.map(|winner| comparison.variants[winner].label.clone()),
        noise: noise(comparison.pictures.len()),
        warnings,
        rankings,
        characters,
    }
}

fn noise(pictures: usize) -> String {
    if pictures < 2 {
        return "One picture tells nothing about noise, so nobody wins here. With several, the difference between two VAEs is \
                taken on each picture, and has to be large against how much it varies from picture to picture."
            .into();
    }
    format!(
        "The difference between two VAEs was taken on each of the {pictures} pictures. A lead counts where the mean of these \
         differences is at least the measure's least difference, and further from zero than chance alone would bring it in {:.0} \
         of 100 such comparisons (Student's t test on the paired differences, corrected after Holm for the number of VAEs). The \
         pictures stand for others of their kind only.",
        (1.0 - ALPHA) * 100.0
    )
}

struct Teller<'a> {
    comparison: &'a Comparison,
    rankings: &'a [Ranking],
}

impl Teller<'_> {
    fn name(&self, variant: usize) -> String {
        format!("“{}”", self.comparison.variants[variant].label)
    }

    fn names(&self, variants: &[usize]) -> String {
        list(&variants.iter().map(|&variant| self.name(variant)).collect::<Vec<_>>())
    }

    fn shown(&self, measure: &Measure, variant: usize) -> String {
        measure.mean(self.comparison, variant).map_or_else(|| "unknown".into(), |value| measure.show(value))
    }

    fn ranking(&self, key: &str) -> Option<&Ranking> {
        self.rankings.iter().find(|ranking| ranking.measure == key)
    }

    /// Who comes closest to the originals, and the winner if that is more than noise.
    fn outcome(&self) -> (String, Option<usize>) {
        let (n, pictures) = (self.comparison.variants.len(), self.comparison.pictures.len());
        if n == 1 {
            let score = self.shown(PRIMARY, 0);
            return (
                format!(
                    "{} alone reaches {} {score}; name another VAE to compare it with.",
                    self.name(0),
                    PRIMARY.name
                ),
                None,
            );
        }
        let on = if pictures == 1 { "on this one picture".to_owned() } else { format!("on all {pictures} pictures") };
        let all = if n == 2 { "Both".to_owned() } else { format!("All {n}") };
        let agreements = || pairs(n).map(|(a, b)| (self.comparison.agreement(a, b), a, b));
        if agreements().all(|(agreement, ..)| agreement.largest_step == 0) {
            return (format!("{all} come out equal in every pixel {on}: choose by time and memory."), None);
        }
        if agreements().all(|(agreement, ..)| agreement.is_close()) {
            let psnr = agreements().filter_map(|(agreement, ..)| agreement.psnr).fold(f64::INFINITY, f64::min);
            let step = agreements().map(|(agreement, ..)| agreement.largest_step).max().unwrap_or(0);
            return (
                format!(
                    "{all} come out the same to the eye {on}: {psnr:.0} dB or more between them, at most {step} of 255 steps apart. \
                     Choose by time and memory."
                ),
                None,
            );
        }
        let Some(ranking) = self.ranking(PRIMARY.key) else { return ("Nothing could be measured.".into(), None) };
        let best = ranking.best;
        let score = |variant| self.shown(PRIMARY, variant);
        if pictures == 1 {
            let near: Vec<usize> = ranking.leads.iter().filter(|lead| !lead.matters).map(|lead| lead.over).collect();
            let first = if near.is_empty() {
                let against: Vec<String> = ranking
                    .leads
                    .iter()
                    .map(|lead| format!("{} of {}", score(lead.over), self.name(lead.over)))
                    .collect();
                let best_name = self.name(best);
                format!(
                    "On this one picture {best_name} comes closest to the original: {} {} against {}.",
                    PRIMARY.name,
                    score(best),
                    list(&against)
                )
            } else {
                let tied = [&[best], &near[..]].concat();
                format!(
                    "On this one picture {} come equally close to the original ({} {}).",
                    self.names(&tied),
                    PRIMARY.name,
                    score(best)
                )
            };
            let more = "One picture cannot tell whether that holds for others: compare five or more before you choose.";
            return (format!("{first} {more}"), None);
        }
        if ranking.has_winner() {
            return (self.won(ranking), Some(best));
        }
        (self.tied(ranking), None)
    }

    fn won(&self, ranking: &Ranking) -> String {
        let pictures = self.comparison.pictures.len();
        let against: Vec<String> = ranking
            .leads
            .iter()
            .map(|lead| {
                format!(
                    "{:.*} more than {}, and ahead on {} of {}",
                    PRIMARY.digits,
                    lead.paired.mean,
                    self.name(lead.over),
                    lead.paired.positive,
                    lead.paired.n
                )
            })
            .collect();
        format!(
            "{} comes closest to the originals on these {pictures} pictures: {} {} on average ({}).",
            self.name(ranking.best),
            PRIMARY.name,
            self.shown(PRIMARY, ranking.best),
            against.join("; ")
        )
    }

    fn tied(&self, ranking: &Ranking) -> String {
        let pictures = self.comparison.pictures.len();
        let (behind, near): (Vec<&Lead>, Vec<&Lead>) = ranking.leads.iter().partition(|lead| lead.holds);
        let tied: Vec<usize> = std::iter::once(ranking.best).chain(near.iter().map(|lead| lead.over)).collect();
        let scores: Vec<String> = tied.iter().map(|&variant| self.shown(PRIMARY, variant)).collect();
        let why = if near.iter().any(|lead| lead.matters) {
            let p = near.iter().filter(|lead| lead.matters).filter_map(|lead| lead.paired.p).fold(0.0, f64::max);
            format!("the differences vary from picture to picture as much as they amount to, p = {p:.2}")
        } else {
            format!("they differ by less than {}, too little to matter", PRIMARY.least)
        };
        let mut text = format!(
            "No winner on these {pictures} pictures: {} lie within noise of each other ({} {}; {why}).",
            self.names(&tied),
            PRIMARY.name,
            list(&scores)
        );
        if !behind.is_empty() {
            let behind: Vec<String> = behind
                .iter()
                .map(|lead| format!("{} ({})", self.name(lead.over), self.shown(PRIMARY, lead.over)))
                .collect();
            text += &format!(" {} is ahead of {}.", self.name(ranking.best), list(&behind));
        }
        text
    }

    /// Where another measure puts another variant first.
    fn dissent(&self, winner: Option<usize>) -> Vec<String> {
        const WORDS: [(&str, &str); 4] = [
            ("detail_kept", "keeps more of the fine detail"),
            ("delta_e_mean", "has the truer colours"),
            ("ms_ssim", "keeps large structures better"),
            ("psnr", "is nearer in plain squared error, which prefers soft to wrong"),
        ];
        let first = winner.or_else(|| Some(self.ranking(PRIMARY.key)?.best));
        let one_picture = self.comparison.pictures.len() == 1;
        let others = WORDS.iter().filter_map(|(key, words)| {
            let (measure, ranking) = (Measure::by_key(key), self.ranking(key)?);
            let ahead = ranking.leads.iter().all(|lead| lead.holds || one_picture && lead.matters);
            let first = first.filter(|&first| ahead && first != ranking.best)?;
            let (theirs, ours) = (self.shown(measure, ranking.best), self.shown(measure, first));
            let (name, first) = (self.name(ranking.best), self.name(first));
            Some(format!("{name} {words} ({} {theirs}, {ours} of {first}).", measure.name))
        });
        others.collect()
    }

    /// Variants that come out the same, where not all do.
    fn alike(&self) -> Option<String> {
        let close: Vec<(usize, usize)> = pairs(self.comparison.variants.len())
            .filter(|&(a, b)| self.comparison.agreement(a, b).is_close())
            .collect();
        let all = pairs(self.comparison.variants.len()).count() == close.len();
        let told: Vec<String> = close.iter().map(|&(a, b)| self.names(&[a, b])).collect();
        (!all && !told.is_empty())
            .then(|| format!("The same to the eye ({CLOSE:.0} dB or more between them) are {}.", told.join("; ")))
    }

    /// What a person would say, once for all variants of which it is the same.
    fn character(&self, characters: &[Vec<Remark>]) -> Vec<String> {
        let words = |remarks: &[Remark]| remarks.iter().map(|remark| remark.word.clone()).collect::<Vec<_>>();
        let mut told: Vec<(Vec<String>, Vec<usize>)> = Vec::new();
        for (variant, remarks) in characters.iter().enumerate().filter(|(_, remarks)| !remarks.is_empty()) {
            let words = words(remarks);
            match told.iter_mut().find(|(others, _)| *others == words) {
                Some((_, variants)) => variants.push(variant),
                None => told.push((words, vec![variant])),
            }
        }
        let sentence = |(words, variants): &(Vec<String>, Vec<usize>)| {
            format!("The pictures of {} are {}.", self.names(variants), list(words))
        };
        told.iter().map(sentence).collect()
    }

    /// Who is fast, and who is small.
    fn cost(&self, winner: Option<usize>) -> Vec<String> {
        let n = self.comparison.variants.len();
        let mut sentences = Vec::new();
        let seconds = |variant: usize| self.comparison.seconds_per_megapixel(variant);
        // One or two runs on a machine that does other things say little.
        let notable = if self.comparison.pictures.len() < FEWEST { 3.0 } else { 1.5 };
        let order = |a: &usize, b: &usize| seconds(*a).total_cmp(&seconds(*b));
        let (fast, slow) = ((0..n).min_by(order), winner.or_else(|| (0..n).max_by(order)));
        if let (Some(fast), Some(slow)) = (fast, slow)
            && seconds(slow) >= notable * seconds(fast)
        {
            sentences.push(format!(
                "{} is {} times as fast as {} ({} against {} a megapixel).",
                self.name(fast),
                two_digits(seconds(slow) / seconds(fast)),
                self.name(slow),
                duration(seconds(fast)),
                duration(seconds(slow))
            ));
        }
        let memory = |variant: usize| self.comparison.variants[variant].peak_memory_bytes;
        let known = || (0..n).filter_map(|variant| Some((memory(variant)?, variant)));
        if let (Some((least, small)), Some((most, large))) = (known().min(), known().max())
            && most as f64 >= 1.5 * least as f64
        {
            sentences.push(format!(
                "{} needs {}, {} {}.",
                self.name(small),
                megabytes(least),
                self.name(large),
                megabytes(most)
            ));
        }
        sentences
    }

    fn warnings(&self, known: &[KnownScaling]) -> Vec<Warning> {
        let variants = &self.comparison.variants;
        let label = |variant: usize| variants[variant].label.clone();
        let same_weights: Vec<(usize, usize)> = pairs(variants.len())
            .filter(|&(a, b)| {
                variants[a].weights_sha256.is_some() && variants[a].weights_sha256 == variants[b].weights_sha256
            })
            .collect();
        let differ = same_weights.iter().filter_map(|&(a, b)| {
            let agreement = self.comparison.agreement(a, b);
            let psnr = agreement.psnr.filter(|_| !agreement.is_close())?;
            Some(Warning {
                kind: WarningKind::SameWeightsDiffer,
                variants: vec![label(a), label(b)],
                text: format!(
                    "{} and {} hold the same weights and give different pictures: {psnr:.1} dB between them, up to {} of 255 steps. \
                     One of the two engines, conversions or precisions is at fault.",
                    self.name(a),
                    self.name(b),
                    agreement.largest_step
                ),
            })
        });
        let scalings = same_weights.iter().filter_map(|&(a, b)| {
            let (one, other) = (variants[a].latents.scaling.as_ref()?, variants[b].latents.scaling.as_ref()?);
            (one != other).then(|| Warning {
                kind: WarningKind::SameWeightsOtherScaling,
                variants: vec![label(a), label(b)],
                text: self.other_scaling(a, b, one, other, known),
            })
        });
        let suspicions = (0..variants.len()).filter_map(|variant| {
            let suspicion = self.comparison.suspicion(variant, known)?;
            Some(Warning {
                kind: WarningKind::Scaling,
                variants: vec![label(variant)],
                text: self.suspicious(variant, &suspicion),
            })
        });
        differ.chain(scalings).chain(suspicions).collect()
    }

    fn other_scaling(&self, a: usize, b: usize, one: &Scaling, other: &Scaling, known: &[KnownScaling]) -> String {
        let deviation = |variant| self.comparison.latents(variant).scaled.map(|scaled| scaled.deviation);
        let called = |scaling: &Scaling| {
            let known = known.iter().find(|known| known.scaling == *scaling);
            known.map_or_else(|| scaling.to_string(), |known| format!("{} of {}", known.scaling, known.name))
        };
        let mut text = format!(
            "Scale mix-up: {} and {} hold the same weights, scaled by {} and by {}. One of them is wrong. The pictures here are \
             the same, because a round trip undoes its own scaling; a diffusion model would meet latents it does not know.",
            self.name(a),
            self.name(b),
            called(one),
            called(other)
        );
        if let (Some(first), Some(second)) = (deviation(a), deviation(b)) {
            let right = if first.ln().abs() <= second.ln().abs() { a } else { b };
            text += &format!(
                " Scaled latents should deviate by about 1; these deviate by {first:.2} and {second:.2}, which speaks for {}.",
                self.name(right)
            );
        }
        text
    }

    fn suspicious(&self, variant: usize, suspicion: &Suspicion) -> String {
        let Suspicion { deviation, used, fits } = suspicion;
        let name = self.name(variant);
        let found =
            format!("the scaled latents of {name} deviate by {deviation:.2}, where a right scaling makes it about 1");
        let scaling =
            self.comparison.variants[variant].latents.scaling.as_ref().map_or_else(String::new, ToString::to_string);
        let consequence = if *deviation > 1.0 { "flat and washed out" } else { "harsh and burnt out" };
        let few = match deviation {
            _ if self.comparison.pictures.len() < ENOUGH => {
                " A few pictures may deviate so much by themselves: try more."
            }
            ..1.0 => " Drawings and plain grounds deviate less than photographs: try some.",
            _ => "",
        };
        match fits {
            Some(fit) => {
                let used = used.as_ref().map_or_else(|| scaling.clone(), |used| format!("that of {used} ({scaling})"));
                format!(
                    "Scale mix-up? {} With the scaling of {} ({}) it would be {:.2}: this looks like a VAE of {} under another \
                     one's scaling, {used}. A round trip does not show it, because it undoes its own scaling; pictures of a \
                     diffusion model would come out {consequence}.{few}",
                    capitalised(&format!("{found}.")),
                    fit.name,
                    fit.scaling,
                    fit.deviation,
                    fit.name
                )
            }
            None => format!(
                "{}, and no published scaling fits better{}.{few}",
                capitalised(&found),
                if scaling.is_empty() { String::new() } else { format!(" than {scaling}") }
            ),
        }
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

fn two_digits(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.1}") } else { format!("{ratio:.0}") }
}

/// `0.42 s`
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 0.01 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

/// `1600 MB`, `3.5 MB`
pub(crate) fn megabytes(bytes: u64) -> String {
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.*} MB", usize::from(megabytes < 10.0))
}

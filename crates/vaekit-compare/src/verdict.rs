//! What the numbers say, in plain words.

use serde::Serialize;
use vaekit::KnownScaling;

use crate::character::{Remark, character};
use crate::comparison::{CLOSE, Comparison, pairs};
use crate::measure::{MEASURES, Measure, PRIMARY};
use crate::ranking::{ALPHA, FEWEST, Lead, Ranking};
use crate::warnings::{Warning, WarningKind, warnings};
use crate::words::{capitalised, duration, list, megabytes, two_digits};

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

/// Says what the numbers say. `known` are the published scalings.
pub fn verdict(comparison: &Comparison, known: &[KnownScaling]) -> Verdict {
    let rankings: Vec<Ranking> = MEASURES.iter().filter_map(|measure| Ranking::new(comparison, measure)).collect();
    let warnings = warnings(comparison, known);
    let teller = Teller { comparison, rankings: &rankings, warnings: &warnings };
    let characters: Vec<Vec<Remark>> =
        (0..comparison.variants.len()).map(|variant| character(comparison, variant)).collect();
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
    if pictures < FEWEST {
        let few = if pictures == 1 { "One picture tells" } else { "So few pictures tell" };
        return format!(
            "{few} nothing about noise, so nobody wins here. With {FEWEST} or more, the difference between two VAEs is taken on \
             each picture, and has to be large against how much it varies from picture to picture."
        );
    }
    format!(
        "The difference between two VAEs was taken on each of the {pictures} pictures, of which {FEWEST} are the fewest that can \
         make a winner. A lead counts where the mean of these differences is at least the measure's least difference, and further \
         from zero than chance alone would bring it in {:.0} of 100 such comparisons (Student's t test on the paired differences, \
         corrected after Holm for the number of VAEs). The pictures stand for others of their kind only.",
        (1.0 - ALPHA) * 100.0
    )
}

struct Teller<'a> {
    comparison: &'a Comparison,
    rankings: &'a [Ranking],
    warnings: &'a [Warning],
}

impl Teller<'_> {
    fn names(&self, variants: &[usize]) -> String {
        list(&variants.iter().map(|&variant| self.comparison.quoted(variant)).collect::<Vec<_>>())
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
                    self.comparison.quoted(0),
                    PRIMARY.name
                ),
                None,
            );
        }
        let on = if pictures == 1 { "on this one picture".to_owned() } else { format!("on all {pictures} pictures") };
        let all = if n == 2 { "Both".to_owned() } else { format!("All {n}") };
        let is_mixed_up = self.warnings.iter().any(|warning| warning.kind == WarningKind::SameWeightsOtherScaling);
        let advice = if is_mixed_up { "see the warning before you choose" } else { "choose by time and memory" };
        let agreements = || pairs(n).map(|(a, b)| (self.comparison.agreement(a, b), a, b));
        if agreements().all(|(agreement, ..)| agreement.largest_step == 0) {
            return (format!("{all} come out equal in every pixel {on}: {advice}."), None);
        }
        if agreements().all(|(agreement, ..)| agreement.is_close()) {
            let psnr = agreements().filter_map(|(agreement, ..)| agreement.psnr).fold(f64::INFINITY, f64::min);
            let step = agreements().map(|(agreement, ..)| agreement.largest_step).max().unwrap_or(0);
            return (
                format!(
                    "{all} come out the same to the eye {on}: {psnr:.0} dB or more between them, at most {step} of 255 steps apart. \
                     {}.",
                    capitalised(advice)
                ),
                None,
            );
        }
        let Some(ranking) = self.ranking(PRIMARY.key) else { return ("Nothing could be measured.".into(), None) };
        if pictures < FEWEST {
            return (self.too_few(ranking), None);
        }
        if ranking.has_winner() {
            return (self.won(ranking), Some(ranking.best));
        }
        (self.tied(ranking), None)
    }

    /// Who is ahead on fewer pictures than can make a winner.
    fn too_few(&self, ranking: &Ranking) -> String {
        let pictures = self.comparison.pictures.len();
        let (on, originals, average, few) = match pictures {
            1 => ("On this one picture".to_owned(), "the original", "", "One picture"),
            _ => (format!("On these {pictures} pictures"), "the originals", " on average", "So few pictures"),
        };
        let score = |variant| self.shown(PRIMARY, variant);
        let best = score(ranking.best);
        let near: Vec<usize> = ranking.leads.iter().filter(|lead| !lead.matters).map(|lead| lead.over).collect();
        let first = if near.is_empty() {
            let of = |lead: &Lead| format!("{} of {}", score(lead.over), self.comparison.quoted(lead.over));
            let against = list(&ranking.leads.iter().map(of).collect::<Vec<_>>());
            let name = self.comparison.quoted(ranking.best);
            format!("{on} {name} comes closest to {originals}: {} {best}{average} against {against}.", PRIMARY.name)
        } else {
            let tied = self.names(&[&[ranking.best], &near[..]].concat());
            format!("{on} {tied} come equally close to {originals} ({} {best}{average}).", PRIMARY.name)
        };
        format!("{first} {few} cannot tell whether that holds for others: compare five or more before you choose.")
    }

    fn won(&self, ranking: &Ranking) -> String {
        let pictures = self.comparison.pictures.len();
        // Those that are the same to the eye are behind by as much.
        let mut behind: Vec<((String, usize, usize), Vec<usize>)> = Vec::new();
        for Lead { over, paired, .. } in &ranking.leads {
            let lead = (format!("{:.*}", PRIMARY.digits, paired.mean), paired.positive, paired.n);
            match behind.iter_mut().find(|(other, _)| *other == lead) {
                Some((_, variants)) => variants.push(*over),
                None => behind.push((lead, vec![*over])),
            }
        }
        let told = |((more, positive, n), variants): &((String, usize, usize), Vec<usize>)| {
            format!("{more} more than {}, and ahead on {positive} of {n}", self.names(variants))
        };
        let against: Vec<String> = behind.iter().map(told).collect();
        format!(
            "{} comes closest to the originals on these {pictures} pictures: {} {} on average ({}).",
            self.comparison.quoted(ranking.best),
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
                .map(|lead| format!("{} ({})", self.comparison.quoted(lead.over), self.shown(PRIMARY, lead.over)))
                .collect();
            text += &format!(" {} is ahead of {}.", self.comparison.quoted(ranking.best), list(&behind));
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
        let few = self.comparison.pictures.len() < FEWEST;
        let others = WORDS.iter().filter_map(|(key, words)| {
            let (measure, ranking) = (Measure::by_key(key), self.ranking(key)?);
            let ahead = ranking.leads.iter().all(|lead| lead.holds || few && lead.matters);
            let first = first.filter(|&first| ahead && first != ranking.best)?;
            let (theirs, ours) = (self.shown(measure, ranking.best), self.shown(measure, first));
            let (name, first) = (self.comparison.quoted(ranking.best), self.comparison.quoted(first));
            Some(format!("{name} {words} ({} {theirs}, {ours} of {first}).", measure.name))
        });
        others.collect()
    }

    /// Variants that come out the same, where not all do: each with the first group of which it is like every member.
    fn alike(&self) -> Option<String> {
        let n = self.comparison.variants.len();
        let is_close = |a: usize, b: usize| self.comparison.agreement(a, b).is_close();
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for variant in 0..n {
            match groups.iter_mut().find(|group| group.iter().all(|&other| is_close(other, variant))) {
                Some(group) => group.push(variant),
                None => groups.push(vec![variant]),
            }
        }
        groups.retain(|group| group.len() > 1 && group.len() < n);
        let told: Vec<String> = groups.iter().map(|group| self.names(group)).collect();
        (!told.is_empty())
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
                self.comparison.quoted(fast),
                two_digits(seconds(slow) / seconds(fast)),
                self.comparison.quoted(slow),
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
                self.comparison.quoted(small),
                megabytes(least),
                self.comparison.quoted(large),
                megabytes(most)
            ));
        }
        sentences
    }
}

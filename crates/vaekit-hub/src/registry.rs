//! The list of known VAEs: the one that vaekit carries, and a user's own.

use std::collections::HashMap;

use serde::Deserialize;

use crate::entry::{Entry, canonical};

/// The registry that vaekit carries, `models/registry.toml`.
const BUILTIN: &str = include_str!("../../../models/registry.toml");

/// Fewest digits that are taken for the beginning of a hash.
pub const MIN_HASH_DIGITS: usize = 6;

/// VAEs by name.
#[derive(Clone, Debug)]
pub struct Registry {
    entries: Vec<Entry>,
    user: usize,
    overridden: Vec<String>,
}

/// A registry's text that is none.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It is no TOML, or has other fields.
    #[error("line {line}: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// An entry contradicts itself.
    #[error("VAE `{name}`: {message}")]
    Entry {
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// Two entries go by one name.
    #[error("the name `{name}` is given to `{first}` and to `{second}`")]
    Ambiguous {
        /// The name.
        name: String,
        /// An entry.
        first: String,
        /// Another.
        second: String,
    },
}

/// A name that no entry has.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("no known VAE is called `{name}`; {}", did_you_mean(.similar).unwrap_or_else(|| "`vaekit vae list` shows all".into()))]
pub struct UnknownName {
    /// What was asked for.
    pub name: String,
    /// Names like it, the most similar first.
    pub similar: Vec<String>,
}

impl UnknownName {
    /// A name that looks like none that is known.
    pub fn of(name: &str) -> Self {
        UnknownName { name: name.into(), similar: Vec::new() }
    }

    /// `did you mean ...?`, if there are names like it.
    pub fn suggestion(&self) -> Option<String> {
        did_you_mean(&self.similar)
    }
}

fn did_you_mean(similar: &[String]) -> Option<String> {
    match similar {
        [] => None,
        [one] => Some(format!("did you mean `{one}`?")),
        [most @ .., last] => Some(format!("did you mean `{}` or `{last}`?", most.join("`, `"))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    vae: Vec<Entry>,
}

impl Registry {
    /// The VAEs that vaekit knows.
    ///
    /// # Panics
    /// Never: the text is part of the program and tests read it.
    pub fn builtin() -> Registry {
        Registry::parse(BUILTIN).expect("the built-in registry is valid")
    }

    /// Reads a registry's text.
    ///
    /// # Errors
    /// [`RegistryError`], with the line or the VAE.
    pub fn parse(text: &str) -> Result<Registry, RegistryError> {
        let document: Document = toml::from_str(text).map_err(|error| {
            let begin = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..begin].iter().filter(|&&byte| byte == b'\n').count() + 1;
            RegistryError::Syntax { line, message: error.message().replace('\n', " ") }
        })?;
        let mut owners: HashMap<String, &str> = HashMap::new();
        for entry in &document.vae {
            entry.check().map_err(|message| RegistryError::Entry { name: entry.name.clone(), message })?;
            for name in entry.names() {
                let owner = owners.insert(canonical(name), &entry.name);
                if let Some(first) = owner {
                    let (name, first, second) = (name.into(), first.into(), entry.name.clone());
                    return Err(RegistryError::Ambiguous { name, first, second });
                }
            }
        }
        Ok(Registry { entries: document.vae, user: 0, overridden: Vec::new() })
    }

    /// These VAEs with a user's own before them, which take the place of those of the same name.
    pub fn with_users(self, users: Registry) -> Registry {
        let mut entries = users.entries;
        let user = entries.len();
        let mut overridden = Vec::new();
        for entry in self.entries {
            if entries[..user].iter().any(|own| canonical(&own.name) == canonical(&entry.name)) {
                overridden.push(entry.name);
            } else {
                entries.push(entry);
            }
        }
        Registry { entries, user, overridden }
    }

    /// All VAEs, the user's own first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether an entry is the user's own.
    pub fn is_users(&self, entry: &Entry) -> bool {
        self.entries[..self.user].iter().any(|own| own.name == entry.name)
    }

    /// Names of vaekit's VAEs that the user has replaced.
    pub fn overridden(&self) -> &[String] {
        &self.overridden
    }

    /// The VAE of a name, an alias, a repository that holds one VAE only, or the first digits of a file's sha256,
    /// [`MIN_HASH_DIGITS`] at least, as long as they are one VAE's only. `NAME [HASH]`, as the web UI writes it, is the VAE of
    /// that name whose sha256 is known and begins so.
    ///
    /// # Errors
    /// [`UnknownName`], with names like it.
    pub fn find(&self, name: &str) -> Result<&Entry, UnknownName> {
        if let Some((bare, digits)) = split_hash(name) {
            let agrees = |entry: &&Entry| entry.weights_sha256().any(|hash| hash.as_str().starts_with(&digits));
            let found = self.find_name(bare);
            let unknown = |similar| UnknownName { name: name.into(), similar };
            return match found {
                Ok(entry) => Some(entry).filter(agrees).ok_or_else(|| unknown(vec![entry.name.clone()])),
                Err(UnknownName { similar, .. }) => Err(unknown(similar)),
            };
        }
        self.find_name(name)
    }

    fn find_name(&self, name: &str) -> Result<&Entry, UnknownName> {
        let wanted = canonical(name);
        let by = |matches: &dyn Fn(&Entry) -> bool| self.entries.iter().find(|entry| matches(entry));
        by(&|entry| canonical(&entry.name) == wanted)
            .or_else(|| by(&|entry| entry.names().any(|name| canonical(name) == wanted)))
            .or_else(|| self.of_repository(name))
            .or_else(|| self.of_content(name))
            .ok_or_else(|| UnknownName { name: name.into(), similar: self.similar(&wanted) })
    }

    /// The one VAE that has a file of weights whose sha256 begins with these digits, [`MIN_HASH_DIGITS`] at least.
    pub fn of_content(&self, digits: &str) -> Option<&Entry> {
        let digits = digits.to_ascii_lowercase();
        let is_it = |entry: &&Entry| entry.weights_sha256().any(|hash| hash.as_str().starts_with(&digits));
        only(self.entries.iter().filter(is_it)).filter(|_| digits.len() >= MIN_HASH_DIGITS)
    }

    fn of_repository(&self, name: &str) -> Option<&Entry> {
        only(self.entries.iter().filter(|entry| entry.repository.as_str().eq_ignore_ascii_case(name)))
    }

    /// At most three names that look like `wanted`, one for each VAE, the most alike first.
    fn similar(&self, wanted: &str) -> Vec<String> {
        let likeness = |name: &str| {
            let name = canonical(name);
            let likeness = strsim::jaro_winkler(&name, wanted);
            let is_part = wanted.len() >= 3 && name.contains(wanted) || name.len() >= 3 && wanted.contains(&name);
            if likeness > 0.85 || is_part { likeness } else { 0.0 }
        };
        let best = |entry: &Entry| entry.names().map(likeness).fold(0.0, f64::max);
        let mut ranked: Vec<(f64, &str)> = self
            .entries
            .iter()
            .map(|entry| (best(entry), entry.name.as_str()))
            .filter(|(best, _)| *best > 0.0)
            .collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        ranked.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
    }
}

/// `NAME [HASH]` in its two parts, if it is that.
fn split_hash(text: &str) -> Option<(&str, String)> {
    let (name, hash) = text.trim().strip_suffix(']')?.rsplit_once(" [")?;
    let is_hash = (MIN_HASH_DIGITS..=64).contains(&hash.len()) && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| (name.trim_end(), hash.to_ascii_lowercase()))
}

/// The item, if there is one and no other.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    items.next().filter(|_| items.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"
[[vae]]
name = "mine"
aliases = ["My VAE"]
summary = "good for nothing"
for = ["SD1"]
family = "AutoencoderKL"
latent_channels = 4
scaling_factor = 0.18215
licence = "MIT"
repository = "me/mine"
files = [{ path = "mine.safetensors" }]
"#;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let message = Registry::parse(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn the_built_in_registry_is_valid_and_says_what_it_must() {
        let registry = Registry::builtin();
        for name in [
            "vae-ft-mse-840000-ema-pruned",
            "vae-ft-ema-560000-ema-pruned",
            "kl-f8-anime",
            "kl-f8-anime2",
            "sd1",
            "sd2",
            "sdxl",
            "sdxl-fp16-fix",
            "sd3",
            "flux1",
            "flux2",
            "taesd",
            "taesdxl",
            "taesd3",
            "taef1",
            "taef2",
            "stabilityai/sdxl-vae",
            "qwen_image_vae",
            "SDXL_VAE.safetensors",
        ] {
            assert!(registry.find(name).is_ok(), "{name}");
        }
        for entry in registry.entries() {
            assert!(entry.summary.len() < 200 && !entry.summary.ends_with('.'), "{}", entry.name);
            let pages = entry.files.iter().any(|file| file.path.as_str().contains("://"));
            assert!(!pages, "{}", entry.name);
        }
    }

    #[test]
    fn a_users_entry_goes_before_and_replaces() {
        let users = Registry::parse(&ONE.replace("\"mine\"", "\"taesd\"")).unwrap();
        let registry = Registry::builtin().with_users(users);
        assert_eq!(registry.overridden(), ["taesd"]);
        let taesd = registry.find("TAESD").unwrap();
        assert_eq!(taesd.repository.as_str(), "me/mine");
        assert!(registry.is_users(taesd) && !registry.is_users(registry.find("taesdxl").unwrap()));
        assert_eq!(registry.entries().iter().filter(|entry| entry.name == "taesd").count(), 1);
    }

    #[test]
    fn names_are_found_as_people_write_them() {
        let registry = Registry::parse(ONE).unwrap();
        for name in ["mine", "MINE", "my vae", "my_vae.pt", "My-VAE", "me/mine"] {
            assert!(registry.find(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_hash_is_a_name_too() {
        let registry = Registry::builtin();
        let found = |digits: &str| registry.find(digits).map(|entry| entry.name.as_str());
        let mse = Ok("vae-ft-mse-840000-ema-pruned");
        // As the web UI shows it; of the .ckpt; in whole.
        assert_eq!(found("735E4C3A44"), mse);
        assert_eq!(found("c6a580b13a"), mse);
        assert_eq!(found("735e4c3a447a3255760d7f86845f09f937809baa529c17370d83e4c3758f3c75"), mse);
        assert!(found("735e4").is_err() && found("0000000000").is_err());
    }

    #[test]
    fn a_name_with_a_hash_is_the_vae_with_both() {
        let registry = Registry::builtin();
        let found = |text: &str| registry.find(text).map(|entry| entry.name.as_str()).map_err(|error| error.similar);
        let mse = "vae-ft-mse-840000-ema-pruned";
        assert_eq!(found("mse [735e4c3a44]"), Ok(mse));
        assert_eq!(found("vae-ft-mse-840000-ema-pruned.safetensors [735E4C3A44]"), Ok(mse));
        assert_eq!(found("vae-ft-mse-840000-ema-pruned.ckpt [c6a580b13a]"), Ok(mse));
        assert_eq!(found("mse [0123456789]"), Err(vec![mse.to_owned()]));
        // No hash of it is known.
        assert_eq!(found("orangemix [0123456789]"), Err(vec!["orangemix".to_owned()]));
        assert!(found("taesdlx [735e4c3a44]").is_err_and(|similar| similar[0] == "taesdxl"));
        assert!(found("mse [best]").is_err());
    }

    #[test]
    fn near_misses_are_suggested() {
        let registry = Registry::builtin();
        let similar = |name: &str| registry.find(name).unwrap_err().similar;
        assert!(similar("kl-f8-animee").contains(&"kl-f8-anime".to_owned()));
        assert_eq!(similar("taesdlx")[0], "taesdxl");
        assert_eq!(similar("qqqq"), Vec::<String>::new());
        let message = registry.find("taesdlx").unwrap_err().to_string();
        assert!(message.starts_with("no known VAE is called `taesdlx`; did you mean `taesdxl`"), "{message}");
    }

    #[test]
    fn what_is_wrong_is_said() {
        check("[[vae]]\nname = 3\n", "line 2: invalid type");
        check(&ONE.replace("licence", "license"), "unknown field `license`");
        check(&ONE.replace("me/mine", "../mine"), "`../mine` is no repository");
        check(&ONE.replace("mine.safetensors", "../../x"), "is no path in a repository");
        check(&ONE.replace("AutoencoderKL", "GAN"), "unknown variant `GAN`");
        check(&ONE.replace("latent_channels = 4", "latent_channels = 0"), "VAE `mine`: latent_channels");
        check(&ONE.replace("0.18215", "-1.0"), "scaling_factor is not positive");
        check(&ONE.replace("files = [{", "files = [{ sha256 = \"12\","), "`12` is no sha256");
        check(&ONE.replace("\"My VAE\"", "\"My VAE\", \"mine.pt\""), "the name `mine.pt` is given to `mine`");
        let copies = "copies = [{ repository = \"a/b\", path = \"c\" }]\nfiles";
        check(&ONE.replace("files", copies), "copies need a single file of known sha256");
        check(&ONE.replace("mine.safetensors", "mine.json"), "files hold one file of weights");
    }
}

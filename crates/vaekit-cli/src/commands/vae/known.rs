//! A known VAE: what the registry says of it, and whether it is here.

use std::fmt;
use std::path::PathBuf;

use indicatif::DecimalBytes;
use serde::Serialize;
use vaekit_hub::{Entry, Hub, Registry};

/// A VAE of the registry.
#[derive(Debug, Serialize)]
pub struct Known {
    /// What the registry says.
    #[serde(flatten)]
    pub entry: Entry,
    /// Whether vaekit converts and runs it.
    pub runs: bool,
    /// Whether it is from the user's own registry.
    pub users: bool,
    /// Its page.
    pub page: String,
    /// Its files in the hub's cache, if it was fetched.
    pub fetched: Option<Vec<PathBuf>>,
}

impl Known {
    /// Looks whether an entry was fetched.
    pub fn new(entry: &Entry, registry: &Registry, hub: &Hub) -> Self {
        Known {
            runs: entry.family.runs(),
            users: registry.is_users(entry),
            page: format!("{}/{}", hub.settings().endpoint, entry.repository),
            fetched: hub.locate(entry).map(|files| files.into_iter().map(|file| file.path).collect()),
            entry: entry.clone(),
        }
    }

    /// Whether these paths are among its fetched files.
    pub fn is_at(&self, paths: &[PathBuf]) -> bool {
        let fetched = self.fetched.as_deref().unwrap_or_default();
        !paths.is_empty() && paths.iter().all(|path| fetched.contains(path))
    }

    /// For a list: whether it is here, or what stands in the way.
    pub fn state(&self) -> &'static str {
        match (self.fetched.is_some(), self.runs, self.entry.gated) {
            (true, true, _) => "fetched",
            (true, false, _) => "fetched; vaekit cannot run it yet",
            (false, false, _) => "vaekit cannot run it yet",
            (false, true, true) => "gated: needs a login",
            (false, true, false) => "",
        }
    }

    /// For a list: how much there is to fetch.
    pub fn size(&self) -> String {
        // A config whose size is not known does not count.
        let sizes = self.entry.files.iter().filter(|file| file.is_weights()).map(|file| file.size);
        sizes.sum::<Option<u64>>().map_or_else(|| "?".into(), |size| DecimalBytes(size).to_string())
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { name, aliases, summary, models, family, latent_channels, licence, gated, files, copies, .. } =
            &self.entry;
        writeln!(f, "name        {name}{}", if self.users { ", from your own registry" } else { "" })?;
        if !aliases.is_empty() {
            writeln!(f, "also called {}", aliases.join(", "))?;
        }
        writeln!(f, "good for    {summary}")?;
        writeln!(f, "for         {}", models.join(", "))?;
        let cannot = if self.runs { "" } else { ", which vaekit cannot run yet" };
        writeln!(f, "family      {family}, {latent_channels} channels{cannot}")?;
        match (self.entry.scaling_factor, self.entry.shift_factor) {
            (Some(factor), Some(shift)) => writeln!(f, "scaling     {factor}, shift {shift}")?,
            (Some(factor), None) => writeln!(f, "scaling     {factor}")?,
            (None, _) => {}
        }
        writeln!(f, "licence     {licence}{}", if *gated { ", to be accepted on its page first" } else { "" })?;
        writeln!(f, "page        {}", self.page)?;
        for file in files {
            write!(f, "file        {}", file.path)?;
            if let Some(size) = file.size {
                write!(f, ", {}", DecimalBytes(size))?;
            }
            writeln!(f)?;
            if let Some(sha256) = &file.sha256 {
                writeln!(f, "            sha256 {sha256}")?;
            }
        }
        for copy in copies {
            writeln!(f, "same as     {}/{}", copy.repository, copy.path)?;
            if let Some(sha256) = &copy.sha256 {
                writeln!(f, "            sha256 {sha256}")?;
            }
        }
        match &self.fetched {
            Some(paths) => paths.iter().try_for_each(|path| writeln!(f, "fetched     {}", path.display())),
            None => writeln!(f, "fetched     no; `vaekit vae fetch {name}` fetches it"),
        }
    }
}

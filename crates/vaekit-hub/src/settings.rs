//! Which hub, which cache, which token: from the environment variables of Hugging Face's own programs.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How to reach a hub and where to keep what it gives.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The hub's address, without a slash at the end.
    pub endpoint: String,
    /// The folder of `models--OWNER--NAME` folders.
    pub cache: PathBuf,
    /// The token, if there is one. It is sent to the endpoint and to nobody else.
    pub token: Option<Token>,
    /// Whether the network is left alone.
    pub offline: bool,
    /// The proxy that connections go through, if there is one.
    pub proxy: Option<Proxy>,
    /// The file of hashes of what was fetched without a known one.
    pub trusted: PathBuf,
    /// How often and how long to wait for a hub that fails.
    pub patience: Patience,
}

/// A secret. Prints as stars.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A token, unless the text is blank.
    pub fn new(text: &str) -> Option<Token> {
        let text = text.trim();
        (!text.is_empty()).then(|| Token(text.to_owned()))
    }

    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// A proxy, and who is reached without it.
#[derive(Clone, Debug)]
pub struct Proxy(pub(crate) ureq::Proxy);

impl Proxy {
    /// A proxy (`http://`, `https://`, `socks4://`, `socks5://`, with user and password if it wants them), and the hosts that
    /// `NO_PROXY` lists: names that also mean the hosts under them, or `*`.
    ///
    /// # Errors
    /// [`SettingsError::Proxy`] if the address is none.
    pub fn new(address: &str, no_proxy: &str) -> Result<Proxy, SettingsError> {
        // The address may hold a password.
        let proxy = ureq::Proxy::new(address.trim()).map_err(|_| SettingsError::Proxy)?;
        let mut builder = ureq::Proxy::builder(proxy.protocol()).host(proxy.host()).port(proxy.port());
        if let Some(username) = proxy.username() {
            builder = builder.username(username);
        }
        if let Some(password) = proxy.password() {
            builder = builder.password(password);
        }
        for host in no_proxy.split(',').map(str::trim).filter(|host| !host.is_empty()) {
            builder = builder.no_proxy(host);
            if !host.starts_with(['.', '*']) {
                builder = builder.no_proxy(&format!(".{host}"));
            }
        }
        builder.build().map(Proxy).map_err(|_| SettingsError::Proxy)
    }
}

/// How failures that may pass are borne.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Attempts without a byte of progress before giving up.
    pub attempts: u32,
    /// The pause after the first failure; each later one is twice as long, up to a minute.
    pub first_pause: Duration,
    /// The longest pause that a hub's `Retry-After` gets; asked for more, the fetch ends with an error that says how long.
    pub longest_pause: Duration,
    /// How long a connection, an answer, or the next bytes may take.
    pub silence: Duration,
}

impl Default for Patience {
    /// Five attempts. Hugging Face's rate limits last for windows of five minutes.
    fn default() -> Self {
        Patience {
            attempts: 5,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(300),
            silence: Duration::from_secs(30),
        }
    }
}

/// A variable that cannot be meant, or a system without a home folder.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The endpoint is no address.
    #[error("HF_ENDPOINT is `{0}`, expected an address such as https://huggingface.co")]
    Endpoint(String),
    /// The proxy is no address.
    #[error(
        "the proxy of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY is no address, expected one such as http://proxy.example:8080"
    )]
    Proxy,
    /// Nothing tells where the cache is.
    #[error("this system has no home folder; set HF_HUB_CACHE to a folder for fetched files")]
    NoHome,
}

/// Hugging Face's hub.
const ENDPOINT: &str = "https://huggingface.co";

impl Settings {
    /// As the environment says; `trusted` is vaekit's own file.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn from_env(trusted: PathBuf) -> Result<Settings, SettingsError> {
        Settings::from_variables(&|name| std::env::var(name).ok(), std::env::home_dir().as_deref(), trusted)
    }

    /// As `variable` says, in huggingface_hub's order and with its defaults (its `constants.py` and `utils/_auth.py`).
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn from_variables(
        variable: &dyn Fn(&str) -> Option<String>,
        home: Option<&Path>,
        trusted: PathBuf,
    ) -> Result<Settings, SettingsError> {
        let text = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let first = |names: &[&str]| names.iter().find_map(|name| text(name));
        let is_true = |value: String| matches!(value.trim().to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
        let folder = |names: &[&str]| first(names).map(|value| expand(&value, home));

        let endpoint =
            first(&["HF_ENDPOINT"]).unwrap_or_else(|| ENDPOINT.into()).trim().trim_end_matches('/').to_owned();
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(SettingsError::Endpoint(endpoint));
        }
        let hf_home = folder(&["HF_HOME"])
            .or_else(|| folder(&["XDG_CACHE_HOME"]).map(|cache| cache.join("huggingface")))
            .or_else(|| home.map(|home| home.join(".cache").join("huggingface")));
        let cache = folder(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
            .or_else(|| hf_home.as_ref().map(|home| home.join("hub")))
            .ok_or(SettingsError::NoHome)?;
        let token_file = folder(&["HF_TOKEN_PATH"]).or_else(|| hf_home.map(|home| home.join("token")));
        let token = match first(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]) {
            Some(token) => Token::new(&token),
            None if text("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(is_true) => None,
            None => token_file.and_then(|path| fs::read_to_string(path).ok()).and_then(|token| Token::new(&token)),
        };
        let secure = endpoint.starts_with("https://");
        let own = if secure { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
        let proxy = first(&own).or_else(|| first(&["ALL_PROXY", "all_proxy"]));
        let no_proxy = first(&["NO_PROXY", "no_proxy"]).unwrap_or_default();
        let proxy = proxy.map(|address| Proxy::new(&address, &no_proxy)).transpose()?;
        let offline = first(&["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]).is_some_and(is_true);
        Ok(Settings { endpoint, cache, token, offline, proxy, trusted, patience: Patience::default() })
    }
}

/// `~/x` in the home folder (`~\x` on Windows), anything else as it is.
fn expand(value: &str, home: Option<&Path>) -> PathBuf {
    let in_home = value.strip_prefix('~').and_then(|rest| rest.strip_prefix(std::path::is_separator));
    match (in_home, home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn settings(variables: &[(&str, &str)]) -> Settings {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string());
        Settings::from_variables(&variable, Some(Path::new("/home/me")), PathBuf::new()).unwrap()
    }

    #[test]
    fn the_defaults_are_hugging_faces() {
        let settings = settings(&[]);
        assert_eq!(settings.endpoint, "https://huggingface.co");
        assert_eq!(settings.cache, Path::new("/home/me/.cache/huggingface/hub"));
        assert!(!settings.offline && settings.token.is_none());
    }

    #[test]
    fn the_cache_follows_the_nearest_variable() {
        let cache = |variables: &[(&str, &str)]| settings(variables).cache;
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/c")]), Path::new("/c/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/c"), ("HF_HOME", "~/hf")]), Path::new("/home/me/hf/hub"));
        assert_eq!(cache(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/models")]), Path::new("/models"));
        assert_eq!(cache(&[("HF_HOME", ""), ("HUGGINGFACE_HUB_CACHE", "/old")]), Path::new("/old"));
    }

    #[test]
    fn tokens_come_from_variables_or_the_file_and_do_not_print() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("token"), "hf_file\n").unwrap();
        let hf_home = home.path().to_str().unwrap();
        let token = |more: &[(&str, &str)]| {
            let variables = [&[("HF_HOME", hf_home)], more].concat();
            settings(&variables).token.map(|token| token.secret().to_owned())
        };
        assert_eq!(token(&[]).as_deref(), Some("hf_file"));
        assert_eq!(token(&[("HF_TOKEN", " hf_variable ")]).as_deref(), Some("hf_variable"));
        assert_eq!(token(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        assert_eq!(format!("{:?}", Token::new("hf_secret").unwrap()), "Token(***)");
    }

    #[test]
    fn a_proxy_is_the_endpoints_schemes_own() {
        let proxy = |variables: &[(&str, &str)]| {
            settings(variables)
                .proxy
                .map(|proxy| (proxy.0.host().to_owned(), proxy.0.is_no_proxy(&"http://a.b.c/".parse().unwrap())))
        };
        assert_eq!(proxy(&[("HTTP_PROXY", "http://other:1")]), None);
        assert_eq!(proxy(&[("https_proxy", "http://me:secret@mine:1")]), Some(("mine".into(), false)));
        assert_eq!(proxy(&[("ALL_PROXY", "socks5://mine:1"), ("NO_PROXY", "x, b.c")]), Some(("mine".into(), true)));
        let error = Proxy::new("ftp://x", "").unwrap_err().to_string();
        assert!(error.contains("HTTPS_PROXY"), "{error}");
    }

    #[test]
    fn offline_and_endpoint() {
        assert!(settings(&[("HF_HUB_OFFLINE", "True")]).offline);
        assert!(!settings(&[("HF_HUB_OFFLINE", "0")]).offline);
        assert_eq!(settings(&[("HF_ENDPOINT", "https://mirror.example/")]).endpoint, "https://mirror.example");
        let variable = |name: &str| (name == "HF_ENDPOINT").then(|| "mirror.example".to_owned());
        assert!(matches!(
            Settings::from_variables(&variable, None, PathBuf::new()),
            Err(SettingsError::Endpoint(endpoint)) if endpoint == "mirror.example"
        ));
    }
}

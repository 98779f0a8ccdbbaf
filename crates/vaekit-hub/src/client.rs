//! The hub's protocol: what a file is (HEAD), and its bytes from some position on (GET).
//!
//! Source: huggingface_hub's `file_download.py` (headers `X-Repo-Commit`, `X-Linked-Etag`, `X-Linked-Size`) and
//! `utils/_http.py` (`X-Error-Code`, `X-Error-Message`).

use std::io::Read;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::header::{self, HeaderMap, HeaderName};
use ureq::http::{Method, Request, Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::error::HubError;
use crate::hash::ContentHash;
use crate::place::{Commit, Etag, Place};
use crate::settings::{Settings, Token};

/// Redirections that are followed; a hub needs one or two.
const MAX_REDIRECTS: usize = 8;

/// What a URL's path may hold as it is (RFC 3986, unreserved characters and `/`).
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Why there is no answer.
pub(crate) enum Failure {
    /// Something that may pass, and the pause that the server asks for.
    Passing { reason: String, pause: Option<Duration> },
    /// The server cannot give the rest of a file.
    NoSuchPiece,
    /// Something that trying again does not change.
    Final(Box<HubError>),
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Failure::Final(Box::new(error))
    }
}

/// What a hub says of a file.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) commit: Commit,
    pub(crate) etag: Etag,
    pub(crate) size: Option<u64>,
}

impl Metadata {
    /// The content's sha256, which is the entity tag of a large file.
    pub(crate) fn sha256(&self) -> Option<ContentHash> {
        self.etag.as_str().parse().ok()
    }
}

/// Bytes on their way.
pub(crate) struct Content {
    /// The position of the first byte: the one that was asked for, or 0 if the server gives the whole file only.
    pub(crate) start: u64,
    /// The server's name for what it sends, to be sure that a later piece is of the same.
    pub(crate) validator: Option<String>,
    pub(crate) reader: Box<dyn Read>,
}

/// Bytes that are there already.
pub(crate) struct Resume {
    pub(crate) from: u64,
    /// [`Content::validator`] of the bytes that are there.
    pub(crate) validator: Option<String>,
}

/// A hub.
pub(crate) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<Token>,
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Self {
        let silence = Some(settings.patience.silence);
        // The system's certificates, so that a company's own are known.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("vaekit/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .proxy(settings.proxy.clone().map(|proxy| proxy.0))
            .timeout_connect(silence)
            .timeout_recv_response(silence)
            .timeout_per_read(silence)
            .build()
            .into();
        Client { agent, endpoint: settings.endpoint.clone(), token: settings.token.clone() }
    }

    /// Asks what a file is.
    pub(crate) fn metadata(&self, place: &Place) -> Result<Metadata, Failure> {
        let (url, response, seen) = self.follow(Method::HEAD, place, &|_| Vec::new(), true)?;
        let not_a_hub = |reason: String| HubError::NotAHub { url: url.to_string(), reason };
        let get = |name: &str| text(&seen, name);
        let missing = |name: &str| not_a_hub(format!("it sent no {name}"));
        let commit = get("x-repo-commit").ok_or_else(|| missing("X-Repo-Commit"))?;
        let commit = commit.parse().map_err(|error| not_a_hub(format!("X-Repo-Commit: {error}")))?;
        let linked = get("x-linked-etag");
        let etag = linked.or_else(|| get("etag")).ok_or_else(|| missing("ETag"))?;
        let etag = Etag::from_header(etag).map_err(|error| not_a_hub(format!("ETag: {error}")))?;
        // The length of a redirection's own body is nobody's business.
        let length = if response.status().is_success() { get("content-length") } else { None };
        let size = get("x-linked-size").or(length).and_then(|size| size.parse().ok());
        Ok(Metadata { commit, etag, size })
    }

    /// Asks for a file's bytes.
    pub(crate) fn content(&self, place: &Place, etag: &Etag, resume: &Resume) -> Result<Content, Failure> {
        let range = |url: &Uri| {
            if resume.from == 0 {
                return Vec::new();
            }
            let mut headers = vec![(header::RANGE, format!("bytes={}-", resume.from))];
            // The hub's own tag holds where the hub itself sends the bytes; elsewhere only what was seen there.
            let own = (origin(url) == origin_of(&self.endpoint) && !is_sha256(etag)).then(|| format!("\"{etag}\""));
            if let Some(validator) = resume.validator.clone().or(own) {
                headers.push((header::IF_RANGE, validator));
            }
            headers
        };
        let (url, response, _) = self.follow(Method::GET, place, &range, false)?;
        let headers = response.headers();
        if let Some(encoding) = text(headers, "content-encoding").filter(|encoding| *encoding != "identity") {
            let reason = format!("it sent {encoding} where plain bytes were asked for");
            return Err(HubError::NotAHub { url: url.to_string(), reason }.into());
        }
        let start = match response.status().as_u16() {
            206 => first_byte(headers).filter(|first| *first == resume.from).ok_or(Failure::NoSuchPiece)?,
            _ => 0,
        };
        // A weak tag promises nothing of bytes.
        let validator = text(headers, "etag").filter(|tag| !tag.starts_with("W/")).map(str::to_owned);
        Ok(Content { start, validator, reader: Box::new(response.into_body().into_reader()) })
    }

    /// Asks, follows redirections, and sorts out what is no answer. The token goes to the endpoint only. Gives the last
    /// address, the answer, and the headers of all answers, earlier ones first.
    ///
    /// With `stop_at_link`, a redirection that already tells what the file is counts as the answer.
    fn follow(
        &self,
        method: Method,
        place: &Place,
        headers: &dyn Fn(&Uri) -> Vec<(HeaderName, String)>,
        stop_at_link: bool,
    ) -> Result<(Uri, Response<Body>, HeaderMap), Failure> {
        let address = self.address(place);
        let mut url: Uri = address.parse().map_err(|_| self.bad_address(&address))?;
        let mut seen = HeaderMap::new();
        for _ in 0..MAX_REDIRECTS {
            let mut request = Request::builder().method(method.clone()).uri(&url);
            request = request.header(header::ACCEPT_ENCODING, "identity");
            for (name, value) in headers(&url) {
                request = request.header(name, value);
            }
            let token = self.token.as_ref().filter(|_| origin(&url) == origin_of(&self.endpoint));
            if let Some(token) = token {
                request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.secret()));
            }
            let request = request.body(()).map_err(|_| self.bad_address(&address))?;
            let response = self.agent.run(request).map_err(|error| passing(&url, error))?;
            for (name, value) in response.headers() {
                seen.insert(name, value.clone());
            }
            let status = response.status();
            let linked = stop_at_link && seen.contains_key("x-linked-etag") && seen.contains_key("x-repo-commit");
            if status.is_success() || (status.is_redirection() && linked) {
                return Ok((url, response, seen));
            }
            if !status.is_redirection() {
                return Err(self.refusal(place, &url, &response, token.is_some()));
            }
            let location = text(response.headers(), "location").and_then(|location| resolve(&url, location));
            url = location
                .filter(|next| url.scheme_str() != Some("https") || next.scheme_str() == Some("https"))
                .ok_or_else(|| HubError::NotAHub {
                    url: url.to_string(),
                    reason: "it points to an address that cannot be meant".into(),
                })?;
        }
        Err(HubError::NotAHub { url: address, reason: format!("more than {MAX_REDIRECTS} redirections") }.into())
    }

    fn address(&self, place: &Place) -> String {
        let encode = |text: &str| utf8_percent_encode(text, PATH).to_string();
        let revision = encode(place.revision.as_str()).replace('/', "%2F");
        format!("{}/{}/resolve/{revision}/{}", self.endpoint, place.repository, encode(place.path.as_str()))
    }

    fn bad_address(&self, address: &str) -> HubError {
        HubError::NotAHub { url: address.to_owned(), reason: "that is no address".into() }
    }

    /// What an answer other than success means.
    fn refusal(&self, place: &Place, url: &Uri, response: &Response<Body>, has_token: bool) -> Failure {
        let code = text(response.headers(), "x-error-code").unwrap_or_default();
        let message = text(response.headers(), "x-error-message");
        let (endpoint, repository) = (self.endpoint.clone(), place.repository.clone());
        let status = response.status().as_u16();
        let pause = text(response.headers(), "retry-after").and_then(|seconds| seconds.trim().parse().ok());
        let error = match (status, code) {
            (408 | 425 | 429 | 500..=599, _) => {
                let reason = format!("{} answered {status}", origin(url));
                return Failure::Passing { reason, pause: pause.map(Duration::from_secs) };
            }
            (416, _) => return Failure::NoSuchPiece,
            (401 | 403, "GatedRepo") => {
                let page = format!("{endpoint}/{repository}");
                HubError::Gated { repository, page, endpoint, has_token }
            }
            (401, _) if has_token && code != "RepoNotFound" => HubError::BadToken { endpoint },
            (403, _) if has_token => HubError::Forbidden { endpoint, repository },
            (404, "EntryNotFound" | "RevisionNotFound") => HubError::NoFile { endpoint, place: place.clone() },
            (401 | 403, _) | (404, "RepoNotFound") => HubError::NoRepository { endpoint, repository },
            (404, _) => HubError::NoFile { endpoint, place: place.clone() },
            _ => HubError::Status { url: url.to_string(), status, message: message.map(str::to_owned) },
        };
        error.into()
    }
}

/// A failure below HTTP: names, connections, TLS, silence.
fn passing(url: &Uri, error: ureq::Error) -> Failure {
    let reason = match error {
        ureq::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    };
    Failure::Passing { reason: format!("no connection to {} ({})", origin(url), reason.to_lowercase()), pause: None }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn is_sha256(etag: &Etag) -> bool {
    etag.as_str().parse::<ContentHash>().is_ok()
}

/// Scheme, host and port.
fn origin(url: &Uri) -> String {
    let port = url.port_u16().or(match url.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    });
    let host = url.host().unwrap_or_default().to_ascii_lowercase();
    format!("{}://{host}:{}", url.scheme_str().unwrap_or_default(), port.unwrap_or_default())
}

fn origin_of(endpoint: &str) -> String {
    endpoint.parse().map(|url: Uri| origin(&url)).unwrap_or_default()
}

/// The address that a `Location` means: a whole one, or a path on the same host.
fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    if location.starts_with("//") {
        format!("{}:{location}", base.scheme_str()?).parse().ok()
    } else if location.starts_with('/') {
        format!("{}://{}{location}", base.scheme_str()?, base.authority()?).parse().ok()
    } else {
        let whole: Uri = location.parse().ok()?;
        matches!(whole.scheme_str(), Some("http" | "https")).then_some(whole)
    }
}

/// The first position in `Content-Range: bytes FIRST-LAST/SIZE`.
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    text(headers, "content-range")?.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(location: &str, expected: Option<&str>) {
        let base: Uri = "https://hub.example:8443/a/b/resolve/main/c".parse().unwrap();
        assert_eq!(resolve(&base, location).map(|url| url.to_string()).as_deref(), expected);
    }

    #[test]
    fn locations() {
        check("https://cdn.example/x?y=1", Some("https://cdn.example/x?y=1"));
        check("/new/name", Some("https://hub.example:8443/new/name"));
        check("//cdn.example/x", Some("https://cdn.example/x"));
        check("file:///etc/passwd", None);
        check("relative", None);
    }

    #[test]
    fn another_port_is_another_place() {
        let origin = |url: &str| origin(&url.parse().unwrap());
        assert_eq!(origin("https://Hub.example/x"), origin("https://hub.example:443/y"));
        assert_ne!(origin("https://hub.example"), origin("http://hub.example"));
        assert_ne!(origin("http://127.0.0.1:1/"), origin("http://127.0.0.1:2/"));
    }
}

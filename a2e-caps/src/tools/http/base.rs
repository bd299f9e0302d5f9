//! Pages below one URL, with headers that no call sees: `get` for toolkits.

use std::collections::BTreeMap;
use std::sync::Arc;

use a2e_core::plugin::{BoxFuture, Run};
use a2e_core::{Error, Result};
use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::config::HttpGetConfig;
use super::tool::{Header, How, HttpProvider, Own, defined};
use super::url::Url;
use crate::tools::contract::{ToolCall, ToolDefinition, ToolOutput, ToolParameter, ToolProvider};

/// Longest value of a header, in bytes.
const MAX_VALUE: usize = 8192;

/// Most headers, and bytes of them in all: servers refuse more.
const MOST_HEADERS: usize = 64;
const MOST_HEADER_BYTES: usize = 32 << 10;

/// Headers that belong to the connection.
const REFUSED: [&str; 8] = [
    "accept-encoding",
    "connection",
    "content-length",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[derive(Deserialize)]
struct Arguments {
    path: String,
    #[serde(flatten)]
    how: How,
}

/// Fetches what is below one URL.
struct BaseProvider {
    http: HttpProvider,
    /// Its path ends with a slash.
    base: Url,
    headers: Vec<Header>,
    /// What the operator opened beside the base: redirects lead there, without the headers.
    within: Vec<String>,
}

/// The definition of `get` for a URL that is not known yet.
pub(crate) fn base_definitions() -> Vec<ToolDefinition> {
    let about = "Fetches a page below the base URL of the toolkit by GET or HEAD, with the headers of the \
                 toolkit. Follows up to 5 redirects below it or to what the operator opened; the headers of the \
                 toolkit are sent below the base URL only. A status of 400 and more is a result, too.";
    let path = "What comes behind the base URL, such as `items?page=2`.";
    let path = ToolParameter::required("path", "string", path);
    vec![defined(ToolDefinition::new("get", about).tagged(&["web", "read"]).input(path))]
}

/// `get` below a URL, with these headers; it uses `budget` bytes of a result. What the operator opened is `within`,
/// each a scheme (`https://`) or a URL: the base is below one of them, unless it is the operator's own, and
/// redirects may lead there.
///
/// # Errors
/// `runtime_error` with the field (`base_url`, `headers.<name>`) that is wrong, and never its value.
pub(crate) fn base_tools(
    base_url: &str,
    headers: &BTreeMap<String, String>,
    within: &[String],
    is_own: bool,
    settings: &HttpGetConfig,
    budget: usize,
) -> Result<Arc<dyn ToolProvider>> {
    let wrong = |why: String| Error::runtime(format!("base_url: it {why}"));
    let mut base = Url::parse(base_url).map_err(wrong)?;
    if base.path.contains('?') {
        return Err(wrong("has a query".to_owned()));
    }
    if !base.path.ends_with('/') {
        base.path.push('/');
    }
    if has_dots(&base.path) {
        return Err(wrong("has `.` or `..`".to_owned()));
    }
    if !is_own && !within.iter().any(|it| is_below(&base, it)) {
        let within = within.join(", ");
        return Err(wrong(format!("is not below what the operator opened: {within}")));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > MOST_HEADERS || bytes > MOST_HEADER_BYTES {
        let text = format!("headers: at most {MOST_HEADERS}, of {MOST_HEADER_BYTES} bytes in all");
        return Err(Error::runtime(text));
    }
    let headers = headers.iter().map(|(name, value)| header(name, value)).collect::<Result<_>>()?;
    let http = HttpProvider::new(settings, budget)?;
    Ok(Arc::new(BaseProvider { http, base, headers, within: within.to_vec() }))
}

/// Whether a URL is below another, or has its scheme.
fn is_below(base: &Url, opened: &str) -> bool {
    match opened {
        "http://" => !base.is_tls,
        "https://" => base.is_tls,
        _ => Url::parse(opened).is_ok_and(|it| it.is_of(base) && is_in(&base.path, &it.path)),
    }
}

/// Whether a path is a folder, or leads to something in it.
fn is_in(path: &str, folder: &str) -> bool {
    let folder = folder.strip_suffix('/').unwrap_or(folder);
    let rest = path.strip_prefix(folder);
    rest.is_some_and(|it| it.is_empty() || it.starts_with(['/', '?'])) && !has_dots(path)
}

fn header(name: &str, value: &str) -> Result<Header> {
    let shown: String = name.chars().take(64).collect();
    let wrong = |why: &str| Error::runtime(format!("headers.{shown}: {why}"));
    let lower = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes())
        .map_err(|_| wrong("is no name of a header"))?;
    if REFUSED.contains(&lower.as_str()) {
        return Err(wrong("belongs to the connection"));
    }
    if value.len() > MAX_VALUE {
        return Err(wrong("is too long"));
    }
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| wrong("has characters that no header may have"))?;
    value.set_sensitive(true);
    Ok((lower, value))
}

/// Whether a part of a path leads elsewhere than down, as any server may read it: decoded, decoded again, or without
/// the parameters of a part (`..;x`).
fn has_dots(path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut path = path.to_ascii_lowercase();
    while path.contains("%25") {
        path = path.replace("%25", "%");
    }
    for (code, plain) in [("%2e", "."), ("%2f", "/"), ("%5c", "/"), ("\\", "/"), ("%3b", ";")] {
        path = path.replace(code, plain);
    }
    path.split('/').any(|part| matches!(part.split(';').next(), Some("." | "..")))
}

impl BaseProvider {
    async fn get(&self, call: &ToolCall) -> Result<ToolOutput> {
        let Arguments { path, how } = call.decode()?;
        let wrong = |why: String| Error::schema("arguments.path", why);
        if has_dots(&path) {
            return Err(wrong("has `.` or `..`; it leads down from the base URL only".to_owned()));
        }
        let scheme = if self.base.is_tls { "https" } else { "http" };
        let below = path.trim_start_matches('/');
        let url = format!("{scheme}://{}{}{below}", self.base.authority(), self.base.path);
        let url = Url::parse(&url).map_err(wrong)?;
        self.http.fetch(call, url, &how, self).await
    }

    fn holds(&self, url: &Url) -> bool {
        self.base.is_of(url) && is_in(&url.path, &self.base.path)
    }
}

impl Own for BaseProvider {
    fn headers(&self, url: &Url) -> &[Header] {
        if self.holds(url) { &self.headers } else { &[] }
    }

    /// A redirect that is not encrypted is followed where the operator opened such URLs.
    fn check(&self, _from: &Url, next: &Url) -> Result<(), String> {
        if self.holds(next) || self.within.iter().any(|it| is_below(next, it)) {
            return Ok(());
        }
        Err("is not below the base URL or what the operator opened".to_owned())
    }
}

impl ToolProvider for BaseProvider {
    fn tools(&self) -> Vec<ToolDefinition> {
        base_definitions()
    }

    fn run(&self, _tool: &str) -> Run {
        Run::Future
    }

    fn call_async(self: Arc<Self>, call: ToolCall) -> BoxFuture<Result<ToolOutput>> {
        Box::pin(async move { self.get(&call).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_below_the_base_or_to_what_is_opened_and_headers_only_below_it() {
        let url = |text: &str| Url::parse(text).unwrap();
        let provider = |within: &[&str]| BaseProvider {
            http: HttpProvider::new(&HttpGetConfig::default(), 1024).unwrap(),
            base: url("https://a.example/v1/"),
            headers: vec![header("Authorization", "x").unwrap()],
            within: within.iter().map(|it| (*it).to_owned()).collect(),
        };
        let (strict, open) = (provider(&[]), provider(&["https://", "http://a.example/v1"]));
        for (next, by_strict, by_open, is_sent) in [
            ("https://a.example/v1/x?y=..%2fz", true, true, true),
            ("https://a.example/v1", true, true, true),
            ("https://a.example/v1?x", true, true, true),
            ("https://a.example/v", false, true, false),
            ("https://a.example/v10/x", false, true, false),
            ("https://a.example/v1/..%2fadmin", false, true, false),
            ("https://a.example:444/v1/x", false, true, false),
            ("https://b.example/v1/x", false, true, false),
            ("http://a.example/v1/x", false, true, false),
            ("http://a.example/v2/x", false, false, false),
            ("http://10.0.0.1/v1/x", false, false, false),
        ] {
            let next = url(next);
            assert_eq!(strict.check(&strict.base, &next).is_ok(), by_strict, "{next}");
            assert_eq!(open.check(&open.base, &next).is_ok(), by_open, "{next}");
            assert_eq!(!open.headers(&next).is_empty(), is_sent, "{next}");
        }
    }

    #[test]
    fn what_is_below_a_url() {
        for (base, opened, expected) in [
            ("https://a.example/v1/", "https://", true),
            ("http://a.example/", "https://", false),
            ("https://a.example/v1/", "https://a.example", true),
            ("https://a.example/v1/", "https://a.example/v1", true),
            ("https://a.example/v10/", "https://a.example/v1", false),
            ("https://a.example/v1/../x/", "https://a.example/v1", false),
            ("https://a.example/v1/%2E%2e/x/", "https://a.example/v1", false),
            ("https://a.example/v1/..%2fx/", "https://a.example/v1", false),
            ("https://a.example/v1/x%5C..%5Cx/", "https://a.example/v1", false),
            ("https://a.example/v1/%252e%252e/x/", "https://a.example/v1", false),
            ("https://a.example/v1/..;y/x/", "https://a.example/v1", false),
            ("https://a.example/v1/a%2Fb/..c/", "https://a.example/v1", true),
            ("https://a.example.evil.example/", "https://a.example", false),
            ("https://a.example:444/", "https://a.example", false),
            ("https://a.example/", "nonsense", false),
        ] {
            assert_eq!(is_below(&Url::parse(base).unwrap(), opened), expected, "{base} {opened}");
        }
    }
}

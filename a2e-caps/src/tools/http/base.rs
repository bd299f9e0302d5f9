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
}

/// The definition of `get` for a URL that is not known yet.
pub(crate) fn base_definitions() -> Vec<ToolDefinition> {
    let about = "Fetches a page below the base URL of the toolkit by GET or HEAD, with the headers of the \
                 toolkit. Follows up to 5 redirects; the headers of the toolkit are sent to its own host only. \
                 A status of 400 and more is a result, too.";
    let path = "What comes behind the base URL, such as `items?page=2`.";
    let path = ToolParameter::required("path", "string", path);
    vec![defined(ToolDefinition::new("get", about).tagged(&["web", "read"]).input(path))]
}

/// `get` below a URL, with these headers; it uses `budget` bytes of a result. The base begins with one of
/// `within`, each a scheme (`https://`) or a URL.
///
/// # Errors
/// `runtime_error` with the field (`base_url`, `headers.<name>`) that is wrong, and never its value.
pub(crate) fn base_tools(
    base_url: &str,
    headers: &BTreeMap<String, String>,
    within: Option<&[String]>,
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
    if within.is_some_and(|within| !within.iter().any(|it| is_below(&base, it))) {
        let within = within.unwrap_or_default().join(", ");
        return Err(wrong(format!("is not below what the operator opened: {within}")));
    }
    let headers = headers.iter().map(|(name, value)| header(name, value)).collect::<Result<_>>()?;
    let http = HttpProvider::new(settings, budget)?;
    Ok(Arc::new(BaseProvider { http, base, headers }))
}

/// Whether a URL is below another, or has its scheme.
fn is_below(base: &Url, opened: &str) -> bool {
    match opened {
        "http://" => !base.is_tls,
        "https://" => base.is_tls,
        _ => Url::parse(opened).is_ok_and(|it| {
            let folder =
                if it.path.ends_with('/') { it.path.clone() } else { format!("{}/", it.path) };
            it.is_of(base) && base.path.starts_with(&folder) && !has_dots(&base.path)
        }),
    }
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

/// Whether a part of a path leads elsewhere than down.
fn has_dots(path: &str) -> bool {
    path.split(['?', '#']).next().unwrap_or_default().split('/').any(|part| {
        let part = part.to_ascii_lowercase().replace("%2e", ".");
        part == "." || part == ".."
    })
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
        let own = Own { server: Some(&self.base), headers: &self.headers };
        self.http.fetch(call, url, &how, own).await
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
    fn what_is_below_a_url() {
        for (base, opened, expected) in [
            ("https://a.example/v1/", "https://", true),
            ("http://a.example/", "https://", false),
            ("https://a.example/v1/", "https://a.example", true),
            ("https://a.example/v1/", "https://a.example/v1", true),
            ("https://a.example/v10/", "https://a.example/v1", false),
            ("https://a.example/v1/../x/", "https://a.example/v1", false),
            ("https://a.example/v1/%2E%2e/x/", "https://a.example/v1", false),
            ("https://a.example.evil.example/", "https://a.example", false),
            ("https://a.example:444/", "https://a.example", false),
            ("https://a.example/", "nonsense", false),
        ] {
            assert_eq!(is_below(&Url::parse(base).unwrap(), opened), expected, "{base} {opened}");
        }
    }
}

//! `http_get` as a tool: its arguments, its redirects, its result.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::plugin::{BoxFuture, Run};
use a2e_core::protocol::ErrorCode;
use a2e_core::protocol::number::optional_integer;
use a2e_core::{Error, Result};
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use serde::{Deserialize, Serialize};

use super::config::HttpGetConfig;
use super::exchange::{Fetched, fetch};
use super::network::{Network, unreached};
use super::url::{MAX_URL, Url, cleaned};
use crate::tools::base64::encoded;
use crate::tools::contract::{ToolCall, ToolDefinition, ToolOutput, ToolParameter, ToolProvider};

/// Most redirects of one call.
const MAX_REDIRECTS: usize = 5;

/// Most bytes of a body, unless set, and at most.
const DEFAULT_BYTES: u64 = 1 << 20;
const MOST_BYTES: u64 = 64 << 20;

/// Seconds of one call, unless set, and at most.
const DEFAULT_SECONDS: f64 = 20.0;
const MOST_SECONDS: f64 = 600.0;

/// Longest value of a header that is sent or told, in bytes.
const MAX_VALUE: usize = 1024;

/// Request headers that a call may set: none carries credentials or changes the way.
const SENT: [&str; 6] =
    ["accept", "accept-language", "if-modified-since", "if-none-match", "range", "user-agent"];

/// Response headers that are told.
const TOLD: [&str; 12] = [
    "accept-ranges",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-range",
    "date",
    "etag",
    "last-modified",
    "location",
    "retry-after",
];

/// A header of a request.
pub(super) type Header = (HeaderName, HeaderValue);

#[derive(Deserialize)]
struct Arguments {
    url: String,
    #[serde(default)]
    allow_downgrade: bool,
    #[serde(flatten)]
    how: How,
}

/// How a page is fetched.
#[derive(Deserialize)]
pub(super) struct How {
    #[serde(default)]
    method: Wanted,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "optional_integer")]
    max_bytes: Option<u64>,
}

/// What a call cannot choose: headers that it does not see, and where redirects may lead.
pub(super) trait Own: Send + Sync {
    /// The headers for this URL.
    fn headers(&self, url: &Url) -> &[Header];

    /// Whether a redirect may lead here.
    ///
    /// # Errors
    /// Why not, for people.
    fn check(&self, from: &Url, next: &Url) -> Result<(), String>;
}

/// A call that chooses all by itself.
struct Free {
    allow_downgrade: bool,
}

impl Own for Free {
    fn headers(&self, _url: &Url) -> &[Header] {
        &[]
    }

    fn check(&self, from: &Url, next: &Url) -> Result<(), String> {
        if from.is_tls && !next.is_tls && !self.allow_downgrade {
            return Err("is not encrypted; `allow_downgrade: true` follows it".to_owned());
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Wanted {
    #[default]
    Get,
    Head,
}

#[derive(Serialize)]
struct Page {
    url: String,
    status: u16,
    content_type: String,
    headers: BTreeMap<&'static str, String>,
    body: String,
    encoding: &'static str,
    bytes: usize,
    truncated: bool,
    redirects: Vec<String>,
}

/// Offers `http_get`.
pub(in crate::tools) struct HttpProvider {
    network: Network,
    max_bytes: u64,
    limit: Duration,
    /// Most bytes of a body in a result, as written to the wire.
    budget: usize,
}

impl HttpProvider {
    /// A provider with these settings.
    ///
    /// # Errors
    /// When a setting is out of its range, or the file of certificates cannot be read.
    pub(in crate::tools) fn new(settings: &HttpGetConfig, budget: usize) -> Result<Self> {
        let max_bytes = settings.max_bytes.unwrap_or(DEFAULT_BYTES);
        if !(1..=MOST_BYTES).contains(&max_bytes) {
            let text = format!("`http_get.max_bytes`: expected 1 to {MOST_BYTES}");
            return Err(Error::runtime(text));
        }
        let seconds = settings.timeout_s.unwrap_or(DEFAULT_SECONDS);
        if !(0.1..=MOST_SECONDS).contains(&seconds) {
            let text = format!("`http_get.timeout_s`: expected 0.1 to {MOST_SECONDS}");
            return Err(Error::runtime(text));
        }
        let network = Network::new(settings.allow_private.clone(), settings.ca_file.as_deref())?;
        Ok(Self { network, max_bytes, limit: Duration::from_secs_f64(seconds), budget })
    }

    async fn run(&self, call: &ToolCall) -> Result<ToolOutput> {
        let arguments: Arguments = call.decode()?;
        let wrong = |error: String| Error::schema("arguments.url", error);
        let url = Url::parse(&arguments.url).map_err(wrong)?;
        let free = Free { allow_downgrade: arguments.allow_downgrade };
        self.fetch(call, url, &arguments.how, &free).await
    }

    /// Fetches a page with the headers of the call, and its own ones where they belong.
    pub(super) async fn fetch(
        &self,
        call: &ToolCall,
        url: Url,
        how: &How,
        own: &dyn Own,
    ) -> Result<ToolOutput> {
        call.request().note_subject("arguments.url", || url.to_string());
        let headers = headers(&how.headers)?;
        let limit = call.remaining().map_or(self.limit, |left| left.min(self.limit));
        let fetched = self.follow(url.clone(), how, &headers, own);
        tokio::time::timeout(limit, fetched).await.unwrap_or_else(|_| {
            let text = format!("not done within {} s", limit.as_secs_f64());
            Err(unreached(&url, &text).with_detail("setting", "http_get.timeout_s"))
        })
    }

    async fn follow(
        &self,
        mut url: Url,
        how: &How,
        headers: &[Header],
        own: &dyn Own,
    ) -> Result<ToolOutput> {
        let method = match how.method {
            Wanted::Get => Method::GET,
            Wanted::Head => Method::HEAD,
        };
        let wanted = how.max_bytes.map_or(self.max_bytes, |it| it.min(self.max_bytes));
        let max_bytes = usize::try_from(wanted).unwrap_or(usize::MAX).min(self.budget);
        let mut passed = Vec::new();
        loop {
            let sent = [headers, own.headers(&url)].concat();
            let fetched = fetch(&self.network, &url, &method, &sent, max_bytes).await?;
            let Some(next) = redirect(&url, &fetched)? else {
                return self.page(&url, fetched, passed);
            };
            if let Err(why) = own.check(&url, &next) {
                let text = format!("`{url}` redirects to `{next}`, which {why}");
                let error = Error::new(ErrorCode::ToolDenied, text);
                return Err(error.with_detail("url", next.to_string()));
            }
            if passed.len() == MAX_REDIRECTS {
                let text = format!("it redirects more than {MAX_REDIRECTS} times");
                return Err(unreached(&url, &text).with_retryable(false));
            }
            passed.push(std::mem::replace(&mut url, next).to_string());
        }
    }

    fn page(&self, url: &Url, fetched: Fetched, redirects: Vec<String>) -> Result<ToolOutput> {
        let Fetched { status, headers, body, is_cut } = fetched;
        let whole = body.len();
        let (body, encoding, used) = encoded(body, self.budget, is_cut);
        let is_truncated = is_cut || used < whole;
        let told = TOLD.iter().filter_map(|name| Some((*name, value(&headers, name)?)));
        let page = Page {
            url: url.to_string(),
            status: status.as_u16(),
            content_type: value(&headers, CONTENT_TYPE.as_str()).unwrap_or_default(),
            headers: told.collect(),
            body,
            encoding,
            bytes: used,
            truncated: is_truncated,
            redirects,
        };
        Ok(ToolOutput::of(&page)?.truncated(is_truncated))
    }
}

impl ToolProvider for HttpProvider {
    fn tools(&self) -> Vec<ToolDefinition> {
        vec![definition()]
    }

    fn run(&self, _tool: &str) -> Run {
        Run::Future
    }

    fn call_async(self: Arc<Self>, call: ToolCall) -> BoxFuture<Result<ToolOutput>> {
        Box::pin(async move { HttpProvider::run(&self, &call).await })
    }
}

fn definition() -> ToolDefinition {
    let required = ToolParameter::required;
    let about = "Fetches a page by GET or HEAD, http or https, from public addresses. UTF-8 text \
                 comes as it is, other content as base64. Follows up to 5 redirects. A status of 400 \
                 and more is a result, too.";
    let url = required("url", "string", "The full URL, without credentials.");
    let tool = ToolDefinition::new("http_get", about).tagged(&["web", "read"]).input(url);
    defined(tool).input(ToolParameter::optional(
        "allow_downgrade",
        "boolean",
        "Also follows a redirect from https to http; false by default.",
    ))
}

/// Adds what every tool that fetches has.
pub(super) fn defined(tool: ToolDefinition) -> ToolDefinition {
    let (required, optional) = (ToolParameter::required, ToolParameter::optional);
    let sent = format!("Request headers, of these: {}.", SENT.join(", "));
    let tool = tool
        .input(optional("method", "string", "GET by default.").one_of(&["GET", "HEAD"]))
        .input(optional("headers", "object", &sent))
        .input(optional("max_bytes", "integer", "Most bytes of the body; the rest is left out."))
        .output(required("url", "string", "Where it came from, after redirects."))
        .output(required("status", "integer", "The HTTP status."))
        .output(required("content_type", "string", "As the server says; may be empty."))
        .output(required("headers", "object", "Some of the response headers."))
        .output(required("body", "string", "The text, or base64."))
        .output(required("encoding", "string", "How to read it.").one_of(&["utf-8", "base64"]))
        .output(required("bytes", "integer", "Bytes of the body that came."))
        .output(required("truncated", "boolean", "Whether the body goes on."))
        .output(required("redirects", "array", "The URLs before, in order."));
    ToolDefinition { idempotent: true, ..tool }
}

/// Where the answer sends us; `None` when it is the page itself.
fn redirect(url: &Url, fetched: &Fetched) -> Result<Option<Url>> {
    let follows = matches!(fetched.status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = fetched.headers.get(LOCATION).filter(|_| follows) else {
        return Ok(None);
    };
    let target = cleaned(location.as_bytes());
    if target.is_empty() {
        return Ok(None);
    }
    url.join(&target).map(Some).map_err(|why| {
        let shown = whole(location);
        unreached(url, &format!("it redirects to `{shown}`, which {why}")).with_retryable(false)
    })
}

/// The headers of a call, if they may be sent.
fn headers(wanted: &BTreeMap<String, String>) -> Result<Vec<Header>> {
    let check = |(name, value): (&String, &String)| {
        let loc = format!("arguments.headers.{}", name.chars().take(64).collect::<String>());
        let lower = name.to_ascii_lowercase();
        if !SENT.contains(&lower.as_str()) {
            let msg = format!("is not sent; these are: {}", SENT.join(", "));
            return Err(Error::schema(loc, msg));
        }
        let wrong = |_| Error::schema(&loc, "has characters that no header may have");
        if value.len() > MAX_VALUE {
            return Err(Error::schema(loc, format!("is longer than {MAX_VALUE} bytes")));
        }
        let value = HeaderValue::from_str(value).map_err(wrong)?;
        let name = HeaderName::from_bytes(lower.as_bytes())
            .map_err(|error| Error::schema(loc, error.to_string()))?;
        Ok((name, value))
    };
    wanted.iter().map(check).collect()
}

/// A header of the answer as text, cut to a sensible length; a `Location` is whole.
fn value(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    if name == LOCATION.as_str() {
        return Some(whole(value));
    }
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    Some(text.get(..text.floor_char_boundary(MAX_VALUE)).unwrap_or_default().to_owned())
}

/// A `Location` as it came; one that is no UTF-8 with its bytes percent-encoded.
fn whole(location: &HeaderValue) -> String {
    let text = String::from_utf8(location.as_bytes().to_vec());
    let text = text.unwrap_or_else(|_| cleaned(location.as_bytes()));
    text.get(..text.floor_char_boundary(MAX_URL)).unwrap_or_default().to_owned()
}

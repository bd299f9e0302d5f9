//! One request over one connection, and as much of the answer as is wanted.

use std::pin::pin;

use a2e_core::Result;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT_ENCODING, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::network::{Network, Stream, unreached};
use super::url::Url;

/// Most bytes of the head of an answer.
const MAX_HEAD: usize = 64 * 1024;

/// Most headers of an answer.
const MAX_HEADERS: usize = 128;

/// What came back.
pub(super) struct Fetched {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Whether the body goes on.
    pub(super) is_cut: bool,
}

/// Sends a request; reads `max_bytes` of the body, and none of a redirect's. The connection is closed
/// behind it. Dropping the future ends everything.
///
/// # Errors
/// As [`Network::connect`]; `tool_error` when what comes back is no HTTP, or not all of it.
pub(super) async fn fetch(
    network: &Network,
    url: &Url,
    method: &Method,
    headers: &[(HeaderName, HeaderValue)],
    max_bytes: usize,
) -> Result<Fetched> {
    let stream = network.connect(url).await?;
    let fetched = exchange(stream, url, method, headers, max_bytes).await;
    fetched.map_err(|error| unreached(url, &error))
}

async fn exchange(
    stream: Box<dyn Stream>,
    url: &Url,
    method: &Method,
    headers: &[(HeaderName, HeaderValue)],
    max_bytes: usize,
) -> Result<Fetched, String> {
    let request = request(url, method, headers)?;
    let mut http = http1::Builder::new();
    http.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(told)?;
    let mut work = pin!(async move {
        let response = sender.send_request(request).await.map_err(told)?;
        read(response, max_bytes).await
    });
    let mut connection = pin!(connection);
    let mut is_over = false;
    loop {
        tokio::select! {
            fetched = &mut work => return fetched,
            // What it has received is still to be read.
            _ = &mut connection, if !is_over => is_over = true,
        }
    }
}

fn request(
    url: &Url,
    method: &Method,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<Request<Empty<Bytes>>, String> {
    let authority = url.authority();
    let mut request = Request::builder()
        .method(method)
        .uri(&url.path)
        .header(HOST, authority)
        .header(CONNECTION, "close")
        // A body that is packed could grow without end when unpacked.
        .header(ACCEPT_ENCODING, "identity")
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let agent = concat!("a2e/", env!("CARGO_PKG_VERSION"));
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
    for (name, value) in headers {
        request.headers_mut().insert(name.clone(), value.clone());
    }
    Ok(request)
}

async fn read(response: Response<Incoming>, max_bytes: usize) -> Result<Fetched, String> {
    let (head, mut incoming) = response.into_parts();
    let (status, headers) = (head.status, head.headers);
    let (mut body, mut is_cut) = (Vec::new(), false);
    if !status.is_redirection() {
        while let Some(frame) = incoming.frame().await {
            let Ok(data) = frame.map_err(told)?.into_data() else { continue };
            let room = max_bytes - body.len();
            body.extend_from_slice(data.get(..room).unwrap_or(&data));
            if data.len() > room {
                is_cut = true;
                break;
            }
        }
    }
    Ok(Fetched { status, headers, body, is_cut })
}

/// An error with its cause: hyper's own text is short.
fn told(error: hyper::Error) -> String {
    match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

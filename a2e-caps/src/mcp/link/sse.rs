//! The older way over HTTP: one stream of events brings messages, each POST takes one away.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::service::RoleClient;
use rmcp::transport::Transport;
use sse_stream::{Sse, SseStream};

use super::stdio::MAX_MESSAGE;
use super::{Fate, Http, gone};

/// How long the POST of one message may take.
const POST: Duration = Duration::from_secs(30);

/// A message that was not sent.
#[derive(Debug)]
pub(in crate::mcp) struct NotSent(String);

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotSent {}

/// An open stream of events.
pub(in crate::mcp) struct SseTransport {
    http: Http,
    post_to: Url,
    events: BoxStream<'static, Result<Sse, String>>,
    fate: Arc<Fate>,
}

impl Http {
    /// Opens the stream and learns where messages are posted.
    ///
    /// # Errors
    /// When the server refuses, or its first event says no address of its own.
    pub(in crate::mcp) async fn events(self, fate: Arc<Fate>) -> Result<SseTransport> {
        let url = Url::parse(&self.url).map_err(|error| Error::runtime(error.to_string()))?;
        let request = || self.client.get(url.clone()).header(ACCEPT, "text/event-stream");
        let response = self.sent(request).await?;
        let mut left = MAX_MESSAGE;
        let bytes = response.bytes_stream().map(move |part| {
            let part = part.map_err(|error| std::io::Error::other(error.to_string()))?;
            // An event ends with an empty line; what comes without one is no event.
            let ends = part.windows(2).any(|pair| pair == b"\n\n" || pair == b"\r\n");
            left = if ends { MAX_MESSAGE } else { left.saturating_sub(part.len()) };
            if left == 0 {
                let text = format!("an event of more than {MAX_MESSAGE} bytes");
                return Err(std::io::Error::other(text));
            }
            Ok(part)
        });
        let events = SseStream::from_bytes_stream(bytes).map(|it| it.map_err(|e| e.to_string()));
        let mut events = events.boxed();
        let first = events.next().await;
        let Some(Ok(Sse { event: Some(event), data: Some(place), .. })) = first else {
            return Err(super::protocol("the stream does not begin with an event `endpoint`"));
        };
        let post_to = url.join(place.trim()).map_err(|error| super::protocol(error.to_string()))?;
        if event != "endpoint" || post_to.origin() != url.origin() {
            let text = format!("it wants messages posted to `{place}`, which is not its own");
            return Err(super::protocol(text));
        }
        Ok(SseTransport { http: self, post_to, events, fate })
    }

    /// Sends a request with headers and token; with another token once more when it is refused.
    async fn sent(&self, request: impl Fn() -> RequestBuilder) -> Result<Response> {
        let headers: HeaderMap =
            self.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        for attempt in 0..2 {
            let token = self.token.get().await?;
            let request = request().headers(headers.clone());
            let request = match &token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let response = request.send().await.map_err(|error| {
                Error::new(ErrorCode::McpTransportError, super::chain(&error)).with_retryable(true)
            })?;
            match response.status() {
                StatusCode::UNAUTHORIZED => {
                    if !self.token.refused(token.as_deref()) || attempt > 0 {
                        break;
                    }
                }
                status if status.is_success() => return Ok(response),
                status => {
                    let text = format!("it answered with status {status}");
                    return Err(Error::new(ErrorCode::McpTransportError, text));
                }
            }
        }
        Err(super::unauthorized(None))
    }
}

impl Transport<RoleClient> for SseTransport {
    type Error = NotSent;

    fn send(
        &mut self,
        item: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), NotSent>> + Send + 'static {
        let (http, post_to) = (self.http.clone(), self.post_to.clone());
        async move {
            let body = serde_json::to_vec(&item).map_err(|error| NotSent(error.to_string()))?;
            let request = || {
                http.client
                    .post(post_to.clone())
                    .timeout(POST)
                    .header(CONTENT_TYPE, "application/json")
                    .body(body.clone())
            };
            http.sent(request).await.map_err(|error| NotSent(error.message().to_owned()))?;
            Ok(())
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            match self.events.next().await {
                Some(Ok(event)) => {
                    let Some(data) = event.data.filter(|_| event.event.as_deref() != Some("ping"))
                    else {
                        continue;
                    };
                    match serde_json::from_str(&data) {
                        Ok(message) => return Some(message),
                        Err(_) => self.fate.stray(data.as_bytes()),
                    }
                }
                Some(Err(why)) => {
                    self.fate.end(gone(format!("its stream of events broke: {why}")));
                    return None;
                }
                None => {
                    self.fate.end(gone("its stream of events ended"));
                    return None;
                }
            }
        }
    }

    async fn close(&mut self) -> Result<(), NotSent> {
        Ok(())
    }
}

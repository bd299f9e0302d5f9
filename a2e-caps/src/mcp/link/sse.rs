//! The older way over HTTP: one stream of events brings messages, each POST takes one away.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
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
        let bytes = response.bytes_stream();
        let mut events =
            bounded(bytes.map(|part| part.map_err(|it| std::io::Error::other(super::chain(&it)))));
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

/// The events in these bytes, each of `MAX_MESSAGE` at most: the parser keeps what has not ended.
fn bounded<S, B>(bytes: S) -> BoxStream<'static, Result<Sse, String>>
where
    S: Stream<Item = std::io::Result<B>> + Send + 'static,
    B: AsRef<[u8]> + Send + 'static,
{
    let since = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&since);
    let bytes = bytes.map(move |part| {
        let part = part?;
        let more = part.as_ref().len();
        if counted.fetch_add(more, Ordering::Relaxed).saturating_add(more) > MAX_MESSAGE {
            let text = format!("an event of more than {MAX_MESSAGE} bytes");
            return Err(std::io::Error::other(text));
        }
        Ok(std::io::Cursor::new(part))
    });
    let events = SseStream::from_bytes_stream(bytes);
    let events = events.map(move |event| {
        since.store(0, Ordering::Relaxed);
        event.map_err(|error| error.to_string())
    });
    events.boxed()
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

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    /// How many events come of these parts, and how the stream ends.
    async fn heard(parts: impl Iterator<Item = &'static [u8]> + Send + 'static) -> (usize, String) {
        let mut events = bounded(stream::iter(parts.map(Ok)));
        let mut count = 0;
        loop {
            match events.next().await {
                Some(Ok(_)) => count += 1,
                Some(Err(why)) => return (count, why),
                None => return (count, String::new()),
            }
        }
    }

    #[tokio::test]
    async fn an_event_is_bounded_and_a_stream_is_not() {
        const LINE: &[u8] = &{
            let mut line = [b'x'; 1 << 16];
            (line[0], line[1], line[2], line[3], line[4]) = (b'd', b'a', b't', b'a', b':');
            (line[(1 << 16) - 2], line[(1 << 16) - 1]) = (b'\r', b'\n');
            line
        };
        let lines = MAX_MESSAGE / LINE.len();
        let (count, why) = heard(std::iter::repeat_n(LINE, 2 * lines)).await;
        assert!(count == 0 && why.contains("an event of more than"), "{count} {why}");
        // The end of each event comes in a part of its own.
        let event = [LINE, b"\n"];
        let healthy = std::iter::repeat_n(event, 2 * lines).flatten();
        assert_eq!(heard(healthy).await, (2 * lines, String::new()));
    }
}

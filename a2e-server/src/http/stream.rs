//! `GET /stream`: what a session sends, as server-sent events.
//!
//! Each message is an event whose `id` is its number, so that a client that comes back with
//! `Last-Event-ID` gets what it missed. One without goes on where the last stream stopped: what was on its
//! way when that broke is lost to it, as nobody knows how far it came.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::transport::ByteSink;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream::unfold;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Shared;
use super::admit::Caller;
use super::reply::Refused;
use super::sessions::HttpSession;
use crate::batch_sink::BatchSink;

/// The number of the last message that a client has.
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// A silent stream sends a comment this often, so that proxies and peers know that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn stream(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let session = shared.sessions.find(&headers, &caller)?;
    let received = last_event(&headers)?.unwrap_or_else(|| session.delivered());
    let (sink, batches) = BatchSink::pair();
    let sink: Arc<dyn ByteSink> = Arc::new(sink);
    let Some(lost) = session.front.attach(Arc::clone(&sink), received) else {
        let sent = session.front.sent();
        let text = format!("Last-Event-ID is {received}, and {sent} messages were sent");
        return Err(Refused::new(StatusCode::BAD_REQUEST, text));
    };
    let events = Events { session, sink, batches, number: received + lost, lost, has_begun: false };
    let body = unfold(events, |mut events| async move {
        let next = events.next().await?;
        Some((Ok::<_, Infallible>(next), events))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx would hold events back.
    let proxy = HeaderName::from_static("x-accel-buffering");
    headers.insert(proxy, HeaderValue::from_static("no"));
    Ok(response)
}

fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Refused> {
    let Some(value) = headers.get(LAST_EVENT) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let wrong = || Refused::new(StatusCode::BAD_REQUEST, "Last-Event-ID is no number");
    number.map(Some).ok_or_else(wrong)
}

/// The body of one stream.
struct Events {
    session: Arc<HttpSession>,
    sink: Arc<dyn ByteSink>,
    batches: mpsc::Receiver<Bytes>,
    /// Of the message given out last.
    number: u64,
    /// Messages that the client missed and nobody has any more.
    lost: u64,
    has_begun: bool,
}

impl Events {
    /// The next part of the body; `None` when the session or the turn of this stream is over.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.has_begun {
            self.has_begun = true;
            // The head leaves with the first part.
            return Some(self.first());
        }
        match timeout(KEEP_ALIVE, self.batches.recv()).await {
            Ok(batch) => batch.map(|batch| self.events(&batch)),
            Err(_) => Some(Bytes::from_static(b":\n\n")),
        }
    }

    fn first(&self) -> Bytes {
        if self.lost == 0 {
            return Bytes::from_static(b":\n\n");
        }
        let gap = self.session.front.gap_line(self.lost);
        let mut text = format!("id: {}\ndata: ", self.number).into_bytes();
        text.extend_from_slice(&gap);
        text.extend_from_slice(b"\n\n");
        text.into()
    }

    /// A batch of lines as events.
    fn events(&mut self, batch: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(batch.len() + batch.len() / 4);
        for line in batch.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.number += 1;
            out.extend_from_slice(b"id: ");
            out.extend_from_slice(self.number.to_string().as_bytes());
            out.extend_from_slice(b"\ndata: ");
            out.extend_from_slice(line);
            out.extend_from_slice(b"\n\n");
        }
        self.session.note_delivered(self.number);
        out.into()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // The client went, or another stream has taken the place of this one.
        self.session.front.leave(&self.sink);
    }
}

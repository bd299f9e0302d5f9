//! One stream of server-sent events.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use tokio::time::timeout;

use super::exchange::{request, stream, text};

/// A host sends a comment every 15 s; a stream that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(45);

/// The longest event: a line of the protocol and its fields.
const MOST: usize = 64 << 20;

/// The type of a message that tells what is lost.
const GAP: &[u8] = br#"{"type":"session/gap/push""#;

/// One message of the session.
pub(super) struct Event {
    /// Its number, where it has one.
    pub(super) number: Option<u64>,
    /// The message with its newline.
    pub(super) line: Vec<u8>,
    pub(super) is_gap: bool,
}

pub(super) struct Events {
    body: Incoming,
    /// Without it the connection is closed.
    _sender: SendRequest<Full<Bytes>>,
    /// What came and is no whole event yet.
    waiting: Vec<u8>,
}

impl Events {
    /// Opens the stream behind the message of this number; `None` when there is no such session.
    pub(super) async fn open(
        authority: &str,
        session: &str,
        last: u64,
    ) -> io::Result<Option<Self>> {
        let mut asked = request(authority, &Method::GET, "/stream", Some(session), Bytes::new())?;
        asked.headers_mut().insert("Last-Event-ID", HeaderValue::from(last));
        let (response, sender) = stream(authority, asked).await?;
        match response.status() {
            StatusCode::OK => {
                let body = response.into_body();
                Ok(Some(Self { body, _sender: sender, waiting: Vec::new() }))
            }
            status if status.is_client_error() => {
                let body = response.into_body().collect().await.map_err(io::Error::other)?;
                tracing::debug!(%status, why = text(&body.to_bytes()), "stream refused");
                Ok(None)
            }
            status => Err(io::Error::other(format!("stream: {status}"))),
        }
    }

    /// The next message; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            if let Some(end) = self.waiting.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.waiting.drain(..end + 2).collect();
                match parse(&event) {
                    Some(event) => return Ok(Some(event)),
                    None => continue,
                }
            }
            if self.waiting.len() > MOST {
                return Err(io::Error::other("an event is too long"));
            }
            let frame = timeout(SILENCE, self.body.frame()).await?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(io::Error::other)?;
            if let Some(data) = frame.data_ref() {
                self.waiting.extend_from_slice(data);
            }
        }
    }
}

/// An event as a message; a comment is none.
fn parse(event: &[u8]) -> Option<Event> {
    let lines = || event.split(|byte| *byte == b'\n');
    let mut line = lines().find_map(|line| line.strip_prefix(b"data: "))?.to_vec();
    let number = lines().find_map(|line| line.strip_prefix(b"id: "));
    let number = number.and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
    let is_gap = line.starts_with(GAP);
    line.push(b'\n');
    Some(Event { number, line, is_gap })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_and_comments_are_not() {
        let event = parse(b"id: 7\ndata: {\"type\":\"pong\"}\n\n").unwrap();
        assert_eq!((event.number, event.is_gap), (Some(7), false));
        assert_eq!(event.line, b"{\"type\":\"pong\"}\n");
        let gap = parse(b"id: 9\ndata: {\"type\":\"session/gap/push\",\"lost\":2}\n\n").unwrap();
        assert!(gap.is_gap);
        assert!(parse(b":\n\n").is_none() && parse(b"id: 3\n\n").is_none());
        assert_eq!(parse(b"id: x\ndata: {}\n\n").unwrap().number, None);
    }
}

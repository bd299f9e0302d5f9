//! A session over HTTP as a connection: lines go out by POST and come in as server-sent events.
//!
//! The session outlives its connections: a stream that breaks is opened again behind the last message that
//! came, a post that failed is sent again (a host runs no request twice). Only when the host has no such
//! session any more, or cannot be reached for [`PATIENCE`], has the connection ended.

mod events;
mod exchange;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::transport::{ByteSink, ByteSource, Connection, Peer, memory_pair};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use tokio::io::AsyncReadExt;

use events::Events;
use exchange::{Exchange, text};

/// For so long a host that cannot be reached is tried.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The pause before another attempt, doubled up to the second one.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A body is cut at the first line that ends beyond this.
const BODY: usize = 256 * 1024;

#[derive(Deserialize)]
struct Opened {
    session_id: String,
}

/// Opens a session at `http://host:port`, given as `host:port`.
pub(crate) async fn open(authority: &str) -> io::Result<Connection> {
    let mut exchange = Exchange::new(authority);
    let reply = exchange.ask(Method::POST, "/session", None, Bytes::new()).await?;
    if reply.status != StatusCode::OK {
        let why = format!("no session: {} {}", reply.status, text(&reply.body));
        return Err(io::Error::other(why));
    }
    let opened: Opened = serde_json::from_slice(&reply.body).map_err(io::Error::other)?;
    let session: Arc<str> = opened.session_id.into();
    let (client, inner) = memory_pair();
    let Connection { source, sink, .. } = inner;
    let coming = tokio::spawn(receive(authority.to_owned(), Arc::clone(&session), sink));
    tokio::spawn(async move {
        send(&mut exchange, &session, source).await;
        // The client is gone, or the session. Nobody else will end it.
        let _ended = exchange.ask(Method::DELETE, "/session", Some(&session), Bytes::new()).await;
        coming.abort();
    });
    let peer = Peer::named(format!("http {authority}"));
    Ok(Connection { peer, ..client })
}

/// Posts what the client writes, in whole lines, until it ends or the session has.
async fn send(exchange: &mut Exchange, session: &str, mut source: ByteSource) {
    let mut waiting = Vec::new();
    loop {
        match source.read_buf(&mut waiting).await {
            Ok(read) if read > 0 => {}
            _ => return,
        }
        while let Some(length) = whole_lines(&waiting) {
            let body = Bytes::from(waiting.drain(..length).collect::<Vec<u8>>());
            if !post(exchange, session, body).await {
                return;
            }
        }
    }
}

/// The length of the whole lines at the front, as many as fit into a body; at least one.
fn whole_lines(bytes: &[u8]) -> Option<usize> {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let mut length = None;
    for end in ends {
        if length.is_some() && end > BODY {
            break;
        }
        length = Some(end);
    }
    length
}

/// Posts one body; false when the session is over or the host cannot be reached.
async fn post(exchange: &mut Exchange, session: &str, body: Bytes) -> bool {
    let mut tries = Tries::default();
    loop {
        let reply = exchange.ask(Method::POST, "/send", Some(session), body.clone()).await;
        match reply {
            Ok(reply) if reply.status == StatusCode::OK => return true,
            Ok(reply) if reply.status == StatusCode::SERVICE_UNAVAILABLE => {
                tracing::debug!(why = text(&reply.body), "the host is full; the post is repeated");
            }
            Ok(reply) => {
                tracing::debug!(status = %reply.status, why = text(&reply.body), "post refused");
                return false;
            }
            Err(error) => tracing::debug!(%error, "post failed"),
        }
        if !tries.again().await {
            return false;
        }
    }
}

/// Takes what the session sends, over as many streams as it needs, until the session ends.
async fn receive(authority: String, session: Arc<str>, sink: Arc<dyn ByteSink>) {
    let mut last = 0;
    let mut tries = Tries::default();
    loop {
        let before = last;
        match Events::open(&authority, &session, last).await {
            Ok(Some(mut events)) => {
                tries.reached();
                while let Ok(Some(event)) = events.next().await {
                    last = event.number.unwrap_or(last);
                    if super::write_all(&*sink, &event.line).await.is_err() {
                        return;
                    }
                    if event.is_gap {
                        // Answers may be among what is lost: the calls that wait must not go on waiting.
                        tracing::warn!("the host has lost messages of this session");
                        return sink.close();
                    }
                }
            }
            Ok(None) => return sink.close(),
            Err(error) => tracing::debug!(%error, "no stream"),
        }
        if last > before {
            tries = Tries::default();
        }
        if !tries.again().await {
            return sink.close();
        }
    }
}

/// Attempts after one that failed.
struct Tries {
    pause: Duration,
    waited: Duration,
}

impl Default for Tries {
    fn default() -> Self {
        Self { pause: BACK_OFF.0, waited: Duration::ZERO }
    }
}

impl Tries {
    /// The host is there, and has the session: it has all its time again. One whose streams break at once is
    /// asked no more often.
    fn reached(&mut self) {
        self.waited = Duration::ZERO;
    }

    /// Waits before the next attempt; false when there were enough.
    async fn again(&mut self) -> bool {
        let Some(pause) = self.pause() else { return false };
        tokio::time::sleep(pause).await;
        true
    }

    /// The pause before the next attempt; `None` when there were enough.
    fn pause(&mut self) -> Option<Duration> {
        if self.waited >= PATIENCE {
            return None;
        }
        let pause = self.pause;
        self.waited += pause;
        self.pause = (pause * 2).min(BACK_OFF.1);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_whole_lines() {
        let long = [vec![b'x'; BODY], b"\n".to_vec()].concat();
        let two = [long.clone(), b"{}\n".to_vec()].concat();
        let many = b"{}\n".repeat(BODY / 3 + 10);
        let rows: [(&[u8], Option<usize>); 6] = [
            (b"", None),
            (b"{}", None),
            (b"{}\n{}", Some(3)),
            (b"{}\n{}\n", Some(6)),
            (&two, Some(long.len())),
            (&many, Some(BODY / 3 * 3)),
        ];
        for (bytes, expected) in rows {
            assert_eq!(whole_lines(bytes), expected, "{} bytes", bytes.len());
        }
    }

    #[test]
    fn a_host_that_is_reached_has_all_its_time_again_and_is_asked_no_more_often() {
        let of = |tries: &mut Tries| std::iter::from_fn(|| tries.pause()).collect::<Vec<_>>();
        let mut tries = Tries::default();
        let first = of(&mut tries);
        assert_eq!(first.get(..3), Some(&[50, 100, 200].map(Duration::from_millis)[..]));
        assert_eq!(first.last(), Some(&BACK_OFF.1));
        assert!(first.iter().sum::<Duration>() >= PATIENCE, "{first:?}");
        assert_eq!(tries.pause(), None, "it is given up");
        // More than twice the patience, with a stream now and then.
        for _ in 0..50 {
            tries.reached();
            assert_eq!(tries.pause(), Some(BACK_OFF.1));
        }
        let rest: Duration = of(&mut tries).iter().sum();
        assert!(rest + BACK_OFF.1 >= PATIENCE, "{rest:?}");
    }
}

//! The seams to which fronts, plugins of other languages and tenants attach, each used as its future
//! user would.

mod approvals;
mod asks;
mod front;
mod grown;
mod guest;
mod identity;
mod offers;
mod principals;
mod repeats;
mod sink;
mod tenants;

use std::sync::Arc;
use std::time::Duration;

use a2e_core::Front;
use a2e_core::testing::TestHost;
use a2e_core::transport::{Identity, Peer};
use serde_json::{Value, json};

use self::sink::Collector;
use crate::support::PATIENCE;

/// A fake HTTP front with one session: messages come in request bodies, answers leave on streams.
struct Http {
    front: Arc<Front>,
}

impl Http {
    fn open(host: &TestHost, keep: Duration) -> Self {
        let peer = Peer::named("http 127.0.0.1:4711");
        let front = host.executor().open(peer, Identity::of("token:web"), keep);
        Self { front: front.expect("a session") }
    }

    /// The body of one request with one message; the session must stand.
    async fn post(&self, wire_type: &str, id: &str, body: Value) {
        assert!(self.front.feed(&line(wire_type, id, body)).await, "the session stands");
    }

    /// A stream of what was sent after the first `received` lines.
    fn stream(&self, received: u64) -> Arc<Collector> {
        let sink = Collector::open();
        assert_eq!(self.front.attach(sink.clone(), received), Some(0), "nothing is lost");
        sink
    }

    /// Waits until more than `received` lines were sent, and reads them: a long poll.
    async fn poll(&self, received: u64) -> Vec<Value> {
        let sent = tokio::time::timeout(PATIENCE, self.front.sent_beyond(received)).await;
        assert!(sent.expect("something is sent in time"), "the session stands");
        let (lost, bytes) = self.front.read_after(received).await.expect("as many were sent");
        assert_eq!(lost, 0);
        sink::messages(&bytes)
    }

    /// Waits until the session has ended.
    async fn ended(&self) {
        let ended = async {
            while self.front.is_open() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("the session ends");
    }
}

/// One message as a line without its newline.
fn line(wire_type: &str, id: &str, mut body: Value) -> Vec<u8> {
    body["type"] = json!(wire_type);
    body["id"] = json!(id);
    body.to_string().into_bytes()
}

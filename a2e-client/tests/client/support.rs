//! What the tests share: hosts, fake hosts, and what must hold after each of them.

use std::time::{Duration, Instant};

use a2e_client::{Client, Options};
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::testing::{TestHost, TestSession};
use a2e_core::transport::memory_pair;
use serde_json::{Value, json};

pub(crate) use crate::probe::*;

pub(crate) fn config() -> HostConfig {
    HostConfig::new().plugin(PluginConfig::new("probe", "test", "test.Probe"))
}

/// A host with the probe plugin, and a client of it.
pub(crate) async fn host() -> (TestHost, Client) {
    let host = TestHost::start(config()).await;
    let client = Client::connect(host.executor().connect(), Options::new("test")).await.unwrap();
    (host, client)
}

/// A client whose host is the test itself.
pub(crate) async fn fake(options: Options) -> (Client, TestSession) {
    let (ours, theirs) = memory_pair();
    let client = Client::connect(ours, options.without_handshake()).await.unwrap();
    (client, TestSession::over(theirs))
}

/// The next message of the client and its id.
pub(crate) async fn heard(peer: &mut TestSession) -> (Value, String) {
    let message = peer.next().await.expect("the client sends");
    let id = message["id"].as_str().expect("a client's message has an id").to_owned();
    (message, id)
}

/// Answers an echo.
pub(crate) async fn answer(peer: &mut TestSession, req_id: &str, text: &str) {
    let reply = json!({ "type": "test/echo/resp", "req_id": req_id, "text": text });
    peer.send_line(&reply.to_string()).await;
}

pub(crate) fn echo(text: &str) -> Echo {
    Echo { text: text.into() }
}

/// How soon a loss must be felt; figures of the reliability rules are for release builds, and tests
/// share the machine.
pub(crate) const AT_ONCE: Duration =
    Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 100 });

/// Waits until something holds.
pub(crate) async fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..4000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not come true");
}

/// No entry outlives its call.
pub(crate) fn nothing_is_left(client: &Client) {
    assert_eq!(client.stats().pending, 0, "{:?}", client.stats());
}

#[allow(clippy::disallowed_methods, reason = "the test measures how long something took")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

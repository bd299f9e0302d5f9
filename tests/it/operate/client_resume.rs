//! The client library and a host that loses each other: the session goes on with its state, every call
//! is answered once or fails, every push comes once.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use a2e_client::{Client, ConnectionState, Reconnect, SessionStart};
use a2e_core::Executor;
use a2e_core::testing::TestHost;
use a2e_core::transport::from_unix;
use serde_json::{Map, Value, json};

use crate::support::{end, plugin, tuned, with};

/// A host, and the connection that a client has to it now.
struct Line {
    host: TestHost,
    ours: Arc<Mutex<Option<UnixStream>>>,
}

impl Line {
    async fn start() -> Self {
        let tally = tuned(plugin("tally", "Tally"), |it| {
            it.scope = Some(a2e_core::plugin::PluginScope::Session);
        });
        let builder = Executor::builder(with([tally, plugin("echo", "Echo")]));
        Self { host: TestHost::build(builder).await.unwrap(), ours: Arc::default() }
    }

    async fn client(self: &Arc<Self>) -> Client {
        let line = Arc::clone(self);
        let delays = (Duration::from_millis(1), Duration::from_millis(20));
        Client::builder()
            .name("resumer")
            .capabilities(["test"])
            .reconnect(Reconnect::new().delays(delays.0, delays.1))
            .connect_by(move || {
                let line = Arc::clone(&line);
                async move { line.open() }
            })
            .await
            .unwrap()
    }

    fn open(&self) -> std::io::Result<a2e_core::transport::Connection> {
        let (client, server) = UnixStream::pair()?;
        client.set_nonblocking(true)?;
        server.set_nonblocking(true)?;
        *self.ours.lock().unwrap() = Some(client.try_clone()?);
        self.host.executor().spawn(from_unix(tokio::net::UnixStream::from_std(server)?));
        Ok(from_unix(tokio::net::UnixStream::from_std(client)?))
    }

    fn cut(&self) {
        if let Some(stream) = self.ours.lock().unwrap().take() {
            // Both ends see the end at once.
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

/// Ends the host when the client's last task has let go of the line.
async fn over(mut line: Arc<Line>) {
    loop {
        match Arc::try_unwrap(line) {
            Ok(line) => return end(line.host).await,
            Err(held) => line = held,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn call(client: &Client, kind: &str, body: Value) -> Result<Value, a2e_client::ClientError> {
    let body: Map<String, Value> = serde_json::from_value(body).unwrap();
    let options = a2e_client::CallOptions::within(Duration::from_secs(10));
    client.call_raw(kind, &body, options).await?.reply().await?.decode()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_over_twenty_losses() {
    let line = Arc::new(Line::start().await);
    let client = line.client().await;
    let resumed = Arc::new(AtomicU64::new(0));
    let mut expected = 0;
    for _ in 0..20 {
        let reply = call(&client, "tally/add/req", json!({ "add": 1 })).await.unwrap();
        expected += 1;
        assert_eq!(reply["total"], expected, "the state of the session goes on");
        let mut states = client.states();
        line.cut();
        loop {
            match states.next().await.unwrap() {
                ConnectionState::Connected(SessionStart::Resumed { gap }) => {
                    assert_eq!(gap, Some(0));
                    resumed.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                ConnectionState::Connected(SessionStart::New) => panic!("the session was lost"),
                _ => {}
            }
        }
    }
    assert_eq!(resumed.load(Ordering::Relaxed), 20);
    assert_eq!(line.host.executor().status().counters["resumes"], 20);
    client.close().await;
    drop(client);
    over(line).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r43_calls_under_losses_are_answered_once_or_fail_and_repeatable_ones_are_answered() {
    let line = Arc::new(Line::start().await);
    let client = Arc::new(line.client().await);
    let cutter = {
        let line = Arc::clone(&line);
        tokio::spawn(async move {
            for _ in 0..30 {
                tokio::time::sleep(Duration::from_millis(7)).await;
                line.cut();
            }
        })
    };
    let (mut answered, mut failed) = (0, 0);
    while !cutter.is_finished() {
        let text = format!("{}", answered + failed);
        let reply = call(&client, "echo/future/req", json!({ "text": text })).await;
        match reply {
            Ok(reply) => {
                assert_eq!(reply["text"], text, "each answer is its own call's");
                answered += 1;
            }
            Err(_) => failed += 1,
        }
        let body: Map<String, Value> = serde_json::from_value(json!({ "text": "again" })).unwrap();
        let options = a2e_client::CallOptions::within(Duration::from_secs(10)).repeatable();
        let calling = client.call_raw("echo/pool/req", &body, options).await.unwrap();
        // Three repetitions are tried; a call that meets a fourth loss may fail.
        if let Ok(reply) = calling.reply().await {
            assert_eq!(reply.decode::<Value>().unwrap()["text"], "again");
        }
    }
    cutter.await.unwrap();
    assert!(answered > 0, "{answered} answered, {failed} failed");
    client.close().await;
    drop(client);
    over(line).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_pushes_come_once_and_in_order_over_losses() {
    let line = Arc::new(Line::start().await);
    let client = line.client().await;
    let seen: Arc<Mutex<Vec<u64>>> = Arc::default();
    let notes = Arc::clone(&seen);
    let guard = client.on_push("tally/push", move |message| {
        let body: Value = message.decode().unwrap();
        notes.lock().unwrap().push(body["number"].as_u64().unwrap());
    });
    for _ in 0..10 {
        let said = call(&client, "tally/say/req", json!({ "count": 20 })).await;
        line.cut();
        said.unwrap();
        call(&client, "tally/add/req", json!({})).await.ok();
    }
    // What was sent before the last answer has come by then.
    call(&client, "tally/add/req", json!({})).await.ok();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let seen = seen.lock().unwrap().clone();
    for number in 0..20 {
        let times = seen.iter().filter(|it| **it == number).count();
        assert_eq!(times, 10, "push {number} of ten rounds: {seen:?}");
    }
    let in_order = seen.chunks(20).all(<[u64]>::is_sorted);
    assert!(in_order && seen.len() == 200, "{seen:?}");
    client.close().await;
    drop((client, guard));
    over(line).await;
}

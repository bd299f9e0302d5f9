//! Calls and their ends: replies, errors, time-outs, drops.

use std::time::Duration;

use a2e_client::{CallOptions, ClientError, Options};
use a2e_core::protocol::{ErrorCode, Ping};
use futures_util::future::join_all;
use serde_json::json;

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r41_two_hundred_replies_that_overtake_reach_their_callers() {
    let (host, client) = host().await;
    let calls = (0..200_u64).map(|number| {
        let client = client.clone();
        tokio::spawn(async move {
            let ms = (199 - number) / 4;
            if number % 2 == 0 {
                assert_eq!(client.rpc(&Sleep { ms }).await.unwrap().ms, ms);
            } else {
                let text = number.to_string();
                assert_eq!(client.rpc(&echo(&text)).await.unwrap().text, text);
            }
        })
    });
    for done in join_all(calls).await {
        done.unwrap();
    }
    let stats = client.stats();
    assert_eq!((stats.calls, stats.answered, stats.late_replies), (201, 201, 0));
    nothing_is_left(&client);
    client.close().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_host_keeps_its_fields() {
    let (host, client) = host().await;
    let error = client.rpc(&Fail {}).await.unwrap_err();
    let body = error.remote().unwrap();
    assert_eq!(body.code, ErrorCode::RuntimeError);
    assert_eq!(body.detail["hint"], "é");
    assert_eq!(body.capability_name, "test");
    assert!(!error.is_retryable());
    assert_eq!(error.to_string(), "runtime_error: it failed, as it was asked to");

    let raw = client.rpc_raw("test/none/req", &json!({}), CallOptions::default()).await;
    assert_eq!(raw.unwrap_err().code(), Some(&ErrorCode::UnknownType));
    let raw = client.rpc_raw("test/echo/req", &json!({ "text": 5 }), CallOptions::default()).await;
    assert_eq!(raw.unwrap_err().code(), Some(&ErrorCode::SchemaViolation));
    let raw =
        client.rpc_raw("test/echo/req", &json!({ "text": "x" }), CallOptions::default()).await;
    let raw = raw.unwrap();
    assert_eq!(raw.wire_type(), "test/echo/resp");
    assert_eq!(raw.decode::<Echoed>().unwrap().text, "x");
    nothing_is_left(&client);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_and_odd_texts_come_back_as_they_were() {
    let (host, client) = host().await;
    let big = "é\u{2028}x".repeat(200_000);
    for text in ["", "\"\\\n\r\t\u{1}", "日本語 🦀 \u{85}", big.as_str()] {
        assert_eq!(client.rpc(&echo(text)).await.unwrap().text, text);
    }
    nothing_is_left(&client);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r43_a_deadline_cancels_the_call_at_the_host() {
    let (host, client) = host().await;
    let started = now();
    let options = CallOptions::within(Duration::from_millis(50));
    let error = client.rpc_with(&Sleep { ms: 20_000 }, options).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Timeout { wire_type, .. } if &**wire_type == "test/sleep/req")
    );
    assert!(error.is_retryable());
    assert!(started.elapsed() < Duration::from_secs(2));
    nothing_is_left(&client);
    // The plugin saw it, and what the host answers to it is late.
    cut_short(&client, 1).await;
    let counted = client.clone();
    until("the late answer", || counted.stats().late_replies == 1).await;
    assert_eq!((client.stats().timeouts, client.stats().cancels), (1, 1));
    assert_eq!(host.executor().status().counters.get("unknown_cancels"), Some(&0));
    host.stop().await;
}

/// Waits until the plugin has seen `count` sleeps cut short.
async fn cut_short(client: &a2e_client::Client, count: usize) {
    for _ in 0..2000 {
        if client.rpc(&Cut {}).await.unwrap().count == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the plugin does not see that its calls were cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_call_is_cancelled_at_the_host() {
    let (host, client) = host().await;
    let sleep = Sleep { ms: 20_000 };
    let rpc = client.rpc(&sleep);
    assert!(tokio::time::timeout(Duration::from_millis(50), rpc).await.is_err());
    nothing_is_left(&client);
    let calling = client.call(&sleep).await.unwrap();
    // What is cancelled before it runs leaves no trace in the plugin.
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(calling);
    nothing_is_left(&client);
    cut_short(&client, 2).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_can_be_cancelled_by_its_id() {
    let (host, client) = host().await;
    let calling = client.call(&Sleep { ms: 20_000 }).await.unwrap();
    client.cancel(calling.id()).await.unwrap();
    assert_eq!(calling.reply().await.unwrap_err().code(), Some(&ErrorCode::Cancelled));
    nothing_is_left(&client);
    host.stop().await;
}

#[tokio::test]
async fn r20_calls_beyond_the_bound_wait_for_their_turn() {
    let (client, mut peer) = fake(Options::default().max_pending(2)).await;
    let calls: Vec<_> = (0..5)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.rpc(&echo(&number.to_string())).await })
        })
        .collect();
    for _ in 0..2 {
        heard(&mut peer).await;
    }
    assert_eq!(client.stats().pending, 2);
    // A ping needs no turn, and a call that waits for its turn keeps to the deadline.
    let pinged = tokio::spawn({
        let client = client.clone();
        async move { client.ping().await }
    });
    let (ping, id) = heard(&mut peer).await;
    assert_eq!(ping["type"], "ping");
    peer.send_line(&json!({ "type": "pong", "req_id": id, "uptime_seconds": 1 }).to_string()).await;
    assert!(pinged.await.unwrap().is_ok());
    let options = CallOptions::within(Duration::from_millis(20));
    let late = client.rpc_with(&echo("late"), options).await.unwrap_err();
    assert!(matches!(late, ClientError::Timeout { .. }));
    assert_eq!(client.stats().cancels, 0, "what was not sent is not cancelled");
    for call in calls {
        call.abort();
        drop(call.await);
    }
    nothing_is_left(&client);
}

#[tokio::test]
async fn r20_a_host_that_does_not_read_holds_callers_back() {
    let (client, mut peer) = fake(Options::default().max_unsent_bytes(64 * 1024)).await;
    let text = "x".repeat(100_000);
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let (client, text) = (client.clone(), text.clone());
            tokio::spawn(async move { client.rpc(&echo(&text)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stats = client.stats();
    assert!(stats.unsent_bytes < 64 * 1024 + 110_000, "{stats:?}");
    assert!(stats.calls < 10, "{stats:?}");
    for _ in 0..50 {
        let (_, id) = heard(&mut peer).await;
        answer(&mut peer, &id, "ok").await;
    }
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().text, "ok");
    }
    nothing_is_left(&client);
}

#[tokio::test]
async fn what_cannot_be_sent_fails_before_it_is_sent() {
    let (client, _peer) = fake(Options::default().max_line_bytes(1000)).await;
    let long = client.rpc(&echo(&"x".repeat(1000))).await.unwrap_err();
    assert!(matches!(long, ClientError::TooLong { limit: 1000, .. }), "{long}");
    for body in [json!({ "id": "mine" }), json!(5), json!({ "req_id": "x" })] {
        let error = client.rpc_raw("x/req", &body, CallOptions::default()).await.unwrap_err();
        assert!(matches!(error, ClientError::Encode(_)), "{body}: {error}");
    }
    let nan = client.rpc_raw("x/req", &json_nan(), CallOptions::default()).await.unwrap_err();
    assert!(matches!(nan, ClientError::Encode(_)), "{nan}");
    assert_eq!((client.stats().calls, client.stats().pending), (0, 0));
}

fn json_nan() -> std::collections::BTreeMap<&'static str, f64> {
    [("x", f64::NAN)].into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_the_host_finds_too_long_fails_at_once() {
    let mut config = config();
    config.limits.max_line_bytes = 4096;
    let host = a2e_core::testing::TestHost::start(config).await;
    let client = a2e_client::Client::memory(host.executor().connect()).await.unwrap();
    let other = client.call(&Sleep { ms: 100 }).await.unwrap();
    let error = client.rpc(&echo(&"x".repeat(5000))).await.unwrap_err();
    assert_eq!(error.code(), Some(&ErrorCode::LineTooLong));
    assert_eq!(other.reply().await.unwrap().ms, 100, "others are not meant");
    client.rpc(&Ping {}).await.unwrap();
    nothing_is_left(&client);
    host.stop().await;
}

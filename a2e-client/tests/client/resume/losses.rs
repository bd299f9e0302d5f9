//! Losses at every moment: within a call, within a handshake, again and again.

use std::time::Duration;

use a2e_client::{Client, ClientError, Closed, ConnectionState, Options};
use futures_util::future::join_all;
use serde_json::json;

use super::host::*;
use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r43_calls_that_wait_fail_at_once_and_say_why() {
    let place = Place::unix();
    let mut ring = Ring::new("s1");
    let slow = brisk().delays(Duration::from_secs(3), Duration::from_secs(3));
    let (client, mut peer) = place.meet(agent().reconnect(slow), &mut ring).await;
    let request = echo("x");
    let calls: Vec<_> = (0..50).map(|_| client.call(&request)).collect();
    let calls: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    for _ in 0..50 {
        peer.expect("test/echo/req").await;
    }
    let lost = now();
    drop(peer);
    for mut call in calls {
        assert!(call.next_event().await.is_none());
        let error = call.reply().await.unwrap_err();
        assert!(matches!(error, ClientError::Interrupted(Closed::Ended)), "{error}");
        assert!(error.to_string().starts_with("no answer came before the connection was lost"));
        assert!(error.is_retryable());
    }
    assert!(lost.elapsed() < AT_ONCE, "{:?}", lost.elapsed());
    nothing_is_left(&client);
    until("the count", || client.stats().interrupted == 50).await;
    let state = client.state();
    assert!(matches!(&state, ConnectionState::Reconnecting { attempt: 1, .. }), "{state}");
    assert_eq!(state.to_string(), "reconnecting, attempt 1: the host closed the connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r43_a_late_answer_from_the_ring_is_counted_and_dropped() {
    let place = Place::unix();
    let mut ring = Ring::new("s1");
    let (client, mut peer) = place.meet(agent(), &mut ring).await;
    let calling = client.call(&echo("x")).await.unwrap();
    let request = peer.expect("test/echo/req").await;
    drop(peer);
    assert!(matches!(calling.reply().await, Err(ClientError::Interrupted(_))));
    ring.push(&echoed(&request));
    place.accept().await.greet(&mut ring).await;
    until("the late answer", || client.stats().late_replies == 1).await;
    assert_eq!(client.stats().unclaimed, 0);
    nothing_is_left(&client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_fails_is_tried_again() {
    let place = Place::unix();
    let (mut ring, seen) = (Ring::new("s1"), Seen::default());
    let agent = agent().handshake_timeout(Duration::from_millis(100));
    let (client, mut peer) = place.meet(seen.by(agent), &mut ring).await;
    peer.send(&mut ring, notice(0)).await;
    seen.heard(1).await;
    drop(peer);
    for answer in [
        // Cut at once, cut within the answer, silence, another's answer, refusals that may pass,
        // nonsense, a session that was not asked for, lines that belong to nothing.
        "",
        r#"{"type":"handshake/re"#,
        "silence",
        r#"{"type":"pong","req_id":"ID"}"#,
        r#"{"type":"handshake/resp","req_id":"ID","ok":false,"reason":"server_error"}"#,
        r#"{"type":"error","req_id":"ID","code":"shutting_down","message":"ending"}"#,
        r#"{"type":"handshake/resp","req_id":"ID","session_id":5}"#,
        r#"{"type":"handshake/resp","req_id":"ID","session_id":"s9","resumed":true,"gap":0}"#,
        r#"{"type":"test/notice/push","number":7,"version":"9.0"}"#,
    ] {
        let mut peer = place.accept().await;
        let request = peer.expect("handshake/req").await;
        let resume = json!({ "session_id": "s1", "last_seq": 1 });
        assert_eq!(request["resume"], resume, "before {answer}");
        if answer == "silence" {
            assert!(peer.next().await.is_none(), "it is left in time");
        }
        let answer = answer.replace("ID", request["id"].as_str().unwrap());
        peer.bytes(format!("{answer}\n").as_bytes()).await;
    }
    let mut peer = place.accept().await;
    peer.greet(&mut ring).await;
    peer.send(&mut ring, notice(1)).await;
    seen.heard(2).await;
    assert_eq!(seen.notices(), [0, 1]);
    let states = seen.states();
    assert_eq!(states.len(), 1 + 10 + 1, "{states:?}");
    assert_eq!(states[10..], ["attempt 10", "reconnected, nothing was lost"]);
    assert_eq!(client.stats().reconnects, 1);
    nothing_is_left(&client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_loss_has_its_return() {
    let place = Place::unix();
    let (mut ring, seen) = (Ring::new("s1"), Seen::default());
    let (client, mut peer) = place.meet(seen.by(agent()), &mut ring).await;
    for round in 0..20 {
        // Sent, and perhaps read before the cut.
        peer.send(&mut ring, notice(round)).await;
        drop(peer);
        peer = place.accept().await;
        peer.greet(&mut ring).await;
    }
    seen.heard(20).await;
    back(&client, 20).await;
    assert!(seen.notices().into_iter().eq(0..20), "{:?}", seen.notices());
    let calling = client.call(&echo("x")).await.unwrap();
    let request = peer.expect("test/echo/req").await;
    peer.answer(&mut ring, &request).await;
    assert!(calling.reply().await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writing_that_fails_is_a_loss() {
    let place = Place::unix();
    let mut ring = Ring::new("s1");
    let (client, peer) = place.meet(agent(), &mut ring).await;
    // More than the socket takes: the call is within its line when the host goes.
    let (caller, big) = (client.clone(), "x".repeat(8 << 20));
    let call = tokio::spawn(async move { caller.rpc(&echo(&big)).await });
    until("a call", || client.stats().pending == 1).await;
    drop(peer);
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Interrupted(_)), "{error}");
    let mut peer = place.accept().await;
    peer.greet(&mut ring).await;
    let calling = client.call(&echo("small")).await.unwrap();
    let request = peer.expect("test/echo/req").await;
    assert_eq!(request["text"], "small", "nothing of the old line is left");
    peer.answer(&mut ring, &request).await;
    assert!(calling.reply().await.is_ok());
    nothing_is_left(&client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_policy_nothing_comes_back() {
    let place = Place::unix();
    let address = place.address.clone();
    for number in 0..3 {
        let address = address.clone();
        let connecting = tokio::spawn(async move {
            match number {
                0 => Client::connect_to(&address, Options::new("test")).await,
                1 => agent().without_reconnect().connect_to(&address).await,
                _ => {
                    let stream = tokio::net::UnixStream::connect(&address[7..]).await.unwrap();
                    agent().connect(a2e_core::transport::from_unix(stream)).await
                }
            }
        });
        let mut peer = place.accept().await;
        let request = peer.expect("handshake/req").await;
        assert!(request.get("resume").is_none(), "{request}");
        let answer = json!({ "type": "handshake/resp", "req_id": request["id"] });
        peer.bytes(format!("{answer}\n").as_bytes()).await;
        let client = connecting.await.unwrap().unwrap();
        let calling = client.call(&echo("x")).await.unwrap();
        drop(peer);
        let error = calling.reply().await.unwrap_err();
        assert!(matches!(error, ClientError::Closed(Closed::Ended | Closed::Lost(_))), "{error}");
        assert!(matches!(client.closed().await, Closed::Ended | Closed::Lost(_)));
        assert!(place.is_left_alone().await);
    }
}

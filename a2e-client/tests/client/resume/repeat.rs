//! Calls that may be made again: once more for each loss, and only where they need be.

use std::time::Duration;

use a2e_client::{CallOptions, Client, ClientError, Closed, Options};
use serde_json::json;

use super::host::*;
use crate::support::*;

fn repeatable() -> CallOptions {
    CallOptions::default().repeatable()
}

/// The host answers `ping`, which goes ahead of calls that are sent again.
async fn pong(peer: &mut Peer, ring: &mut Ring) {
    let ping = peer.expect("ping").await;
    peer.send(ring, json!({ "type": "pong", "req_id": ping["id"], "uptime_seconds": 1.0 })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r43_a_repeatable_call_is_sent_once_more_and_answered_once() {
    let place = Place::unix();
    let mut ring = Ring::new("s1");
    let (client, mut peer) = place.meet(agent(), &mut ring).await;
    let calling = client.call_with(&echo("again"), repeatable()).await.unwrap();
    let first = peer.next_line().await.unwrap();
    drop(peer);
    let mut peer = place.accept().await;
    peer.greet(&mut ring).await;
    pong(&mut peer, &mut ring).await;
    let second = peer.next_line().await.unwrap();
    assert_eq!(first, second, "the same bytes under the same id");
    let request: serde_json::Value = serde_json::from_str(&second).unwrap();
    peer.answer(&mut ring, &request).await;
    assert_eq!(calling.reply().await.unwrap().text, "again");
    // A second answer finds nobody.
    peer.answer(&mut ring, &request).await;
    until("the second answer", || client.stats().late_replies == 1).await;
    let stats = client.stats();
    assert_eq!((stats.repeated, stats.interrupted, stats.pending), (1, 0, 0));
    client.close().await;
    assert!(peer.next().await.is_none(), "and nothing more was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_on_its_way_spares_the_repetition() {
    let place = Place::unix();
    let mut ring = Ring::new("s1");
    let (client, mut peer) = place.meet(agent(), &mut ring).await;
    let call = |text: &str| {
        let (client, request) = (client.clone(), echo(text));
        tokio::spawn(async move { client.rpc_with(&request, repeatable()).await.unwrap() })
    };
    let answered = call("answered");
    let request = peer.expect("test/echo/req").await;
    let lost = call("lost");
    peer.expect("test/echo/req").await;
    drop(peer);
    ring.push(&echoed(&request));
    let mut peer = place.accept().await;
    peer.greet(&mut ring).await;
    assert_eq!(answered.await.unwrap().text, "answered");
    pong(&mut peer, &mut ring).await;
    let request = peer.expect("test/echo/req").await;
    assert_eq!(request["text"], "lost");
    peer.answer(&mut ring, &request).await;
    assert_eq!(lost.await.unwrap().text, "lost");
    assert_eq!(client.stats().repeated, 1);
    nothing_is_left(&client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r42_that_the_host_cancelled_it_at_the_loss_is_no_answer() {
    let place = Place::unix();
    let mut ring = Ring::new("s1");
    let (client, mut peer) = place.meet(agent(), &mut ring).await;
    let calling = client.call_with(&echo("x"), repeatable()).await.unwrap();
    let request = peer.expect("test/echo/req").await;
    drop(peer);
    let cancelled = |message: &str| {
        let id = &request["id"];
        json!({ "type": "error", "req_id": id, "code": "cancelled", "message": message })
    };
    ring.push(&cancelled("the client is gone"));
    let mut peer = place.accept().await;
    peer.greet(&mut ring).await;
    pong(&mut peer, &mut ring).await;
    peer.expect("test/echo/req").await;
    // What comes after the repetition is an answer.
    peer.send(&mut ring, cancelled("by an operator")).await;
    let error = calling.reply().await.unwrap_err();
    assert_eq!(error.to_string(), "cancelled: by an operator");
    assert_eq!(client.stats().late_replies, 1);
    nothing_is_left(&client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_session_gets_it_without_a_ping_and_in_order() {
    let place = Place::unix();
    let (client, mut peer) = place.meet(agent(), &mut Ring::new("s1")).await;
    let mut calls = Vec::new();
    for number in 0..50_u32 {
        let text = number.to_string();
        calls.push(client.call_with(&echo(&text), repeatable()).await.unwrap());
        peer.expect("test/echo/req").await;
    }
    drop(peer);
    let mut ring = Ring::new("s2");
    let mut peer = place.accept().await;
    peer.greet(&mut ring).await;
    for number in 0..50_u32 {
        let request = peer.expect("test/echo/req").await;
        assert_eq!(request["text"], number.to_string());
        peer.answer(&mut ring, &request).await;
    }
    for (number, calling) in calls.into_iter().enumerate() {
        assert_eq!(calling.reply().await.unwrap().text, number.to_string());
    }
    assert_eq!(client.stats().repeated, 50);
    nothing_is_left(&client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_wait_any_more_is_not_repeated() {
    let place = Place::unix();
    let policy = brisk().delays(Duration::from_millis(300), Duration::from_millis(300));
    let (client, mut peer) = place.meet(agent().reconnect(policy), &mut Ring::new("s1")).await;
    let limit = CallOptions::within(Duration::from_millis(50)).repeatable();
    let late = client.call_with(&echo("late"), limit).await.unwrap();
    let dropped = client.call_with(&echo("dropped"), repeatable()).await.unwrap();
    for _ in 0..2 {
        peer.expect("test/echo/req").await;
    }
    drop(peer);
    away(&client).await;
    drop(dropped);
    let error = late.reply().await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    let mut ring = Ring::new("s2");
    let mut peer = place.accept().await;
    peer.greet(&mut ring).await;
    let calling = client.call(&echo("next")).await.unwrap();
    assert_eq!(peer.expect("test/echo/req").await["text"], "next");
    assert_eq!(client.stats().repeated, 0);
    drop(calling);
    nothing_is_left(&client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_ends_the_host_each_time_is_repeated_three_times() {
    let place = Place::unix();
    let (client, mut peer) = place.meet(agent(), &mut Ring::new("s0")).await;
    let calling = client.call_with(&echo("poison"), repeatable()).await.unwrap();
    for round in 1..=3 {
        peer.expect("test/echo/req").await;
        drop(peer);
        peer = place.accept().await;
        peer.greet(&mut Ring::new(&format!("s{round}"))).await;
    }
    peer.expect("test/echo/req").await;
    drop(peer);
    let error = calling.reply().await.unwrap_err();
    assert!(matches!(error, ClientError::Interrupted(Closed::Ended)), "{error}");
    assert_eq!(client.stats().repeated, 3);
    until("the count", || client.stats().interrupted == 1).await;
    nothing_is_left(&client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_bounded() {
    let place = Place::unix();
    let policy = brisk().max_kept_bytes(1000);
    let (client, mut peer) = place.meet(agent().reconnect(policy), &mut Ring::new("s1")).await;
    let long = "x".repeat(600);
    let mut calls = Vec::new();
    for _ in 0..2 {
        calls.push(client.call_with(&echo(&long), repeatable()).await.unwrap());
        peer.expect("test/echo/req").await;
    }
    drop(peer);
    let error = calls.pop().unwrap().reply().await.unwrap_err();
    assert!(matches!(error, ClientError::Interrupted(_)), "{error}");
    let mut ring = Ring::new("s2");
    let mut peer = place.accept().await;
    peer.greet(&mut ring).await;
    let request = peer.expect("test/echo/req").await;
    peer.answer(&mut ring, &request).await;
    assert!(calls.pop().unwrap().reply().await.is_ok());
    // What is not kept any more makes room.
    let calling = client.call_with(&echo(&long), repeatable()).await.unwrap();
    peer.expect("test/echo/req").await;
    drop(peer);
    let mut ring = Ring::new("s3");
    let mut peer = place.accept().await;
    peer.greet(&mut ring).await;
    let request = peer.expect("test/echo/req").await;
    peer.answer(&mut ring, &request).await;
    assert!(calling.reply().await.is_ok());
    nothing_is_left(&client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_reconnecting_it_is_a_call_as_others() {
    let place = Place::unix();
    let address = place.address.clone();
    let connecting =
        tokio::spawn(async move { Client::connect_to(&address, Options::new("test")).await });
    let mut peer = place.accept().await;
    peer.greet(&mut Ring::new("s1")).await;
    let client = connecting.await.unwrap().unwrap();
    let calling = client.call_with(&echo("x"), repeatable()).await.unwrap();
    peer.expect("test/echo/req").await;
    drop(peer);
    assert!(matches!(calling.reply().await, Err(ClientError::Closed(Closed::Ended))));
    nothing_is_left(&client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_events_come_again_with_it() {
    let place = Place::unix();
    let (client, mut peer) = place.meet(agent(), &mut Ring::new("s1")).await;
    let mut calling = client.call_with(&echo("x"), repeatable()).await.unwrap();
    let mut ring = Ring::new("s2");
    for round in 0..2 {
        let request = peer.expect("test/echo/req").await;
        let event = json!({
            "type": "test/story/event", "req_id": request["id"], "kind": "artifact", "seq": 0,
            "data": { "round": round }
        });
        peer.send(&mut ring, event).await;
        let event = calling.next_event().await.unwrap();
        assert_eq!(event.data().get(), format!(r#"{{"round":{round}}}"#));
        if round == 1 {
            peer.answer(&mut ring, &request).await;
            break;
        }
        drop(peer);
        peer = place.accept().await;
        peer.greet(&mut Ring::new("s2")).await;
    }
    assert!(calling.next_event().await.is_none());
    assert!(calling.reply().await.is_ok());
}

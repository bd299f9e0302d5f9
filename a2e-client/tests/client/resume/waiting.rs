//! New calls while the connection is away.

use std::time::Duration;

use a2e_client::{CallOptions, ClientError, WhileAway};
use futures_util::future::join_all;

use super::host::*;
use crate::support::*;

/// Away for good, and still trying.
fn patient() -> a2e_client::Reconnect {
    brisk().delays(Duration::from_mins(5), Duration::from_mins(5))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_wait_for_the_connection() {
    let place = Place::unix();
    let mut ring = Ring::new("s1");
    let policy = brisk().delays(Duration::from_millis(200), Duration::from_millis(200));
    let (client, peer) = place.meet(agent().reconnect(policy), &mut ring).await;
    drop(peer);
    away(&client).await;
    let calls: Vec<_> = (0..20_u32)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                let text = number.to_string();
                assert_eq!(client.rpc(&echo(&text)).await.unwrap().text, text);
            })
        })
        .collect();
    let telling = tokio::spawn({
        let client = client.clone();
        async move { client.send(&Notice { number: 5 }).await }
    });
    let mut peer = place.accept().await;
    peer.greet(&mut ring).await;
    let mut others = 0;
    for _ in 0..21 {
        let request = peer.next().await.unwrap();
        match request["type"].as_str().unwrap() {
            "test/echo/req" => peer.answer(&mut ring, &request).await,
            _ => others += 1,
        }
    }
    for call in join_all(calls).await {
        call.unwrap();
    }
    telling.await.unwrap().unwrap();
    assert_eq!(others, 1);
    nothing_is_left(&client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_wait_within_their_time_limit() {
    let place = Place::unix();
    let policy = patient();
    let limit = Duration::from_millis(60);
    let agent = agent().reconnect(policy).call_timeout(limit);
    let (client, peer) = place.meet(agent, &mut Ring::new("s1")).await;
    drop(peer);
    away(&client).await;
    let started = now();
    let error = client.rpc(&echo("x")).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { after, .. } if after == limit), "{error}");
    let error = client.rpc_with(&echo("x"), CallOptions::within(limit / 2)).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    let error = client.send(&Notice { number: 1 }).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    nothing_is_left(&client);
    assert_eq!(client.stats().cancels, 0, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_fail_at_once_where_that_is_wanted() {
    let place = Place::unix();
    let policy = patient().while_away(WhileAway::Fail);
    let (client, peer) = place.meet(agent().reconnect(policy), &mut Ring::new("s1")).await;
    drop(peer);
    away(&client).await;
    let started = now();
    let errors = [
        client.rpc(&echo("x")).await.map(drop),
        client.rpc_with(&echo("x"), CallOptions::default().repeatable()).await.map(drop),
        client.send(&Notice { number: 1 }).await,
        client.ping().await.map(drop),
        client.cancel("x").await,
    ];
    for error in errors.map(Result::unwrap_err) {
        assert!(matches!(error, ClientError::Reconnecting { attempt: 1, .. }), "{error}");
        let text = "attempt 1 to reconnect is under way, because: the host closed the connection";
        assert!(error.to_string().contains(text), "{error}");
    }
    assert!(started.elapsed() < AT_ONCE);
    nothing_is_left(&client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_may_wait_and_no_more() {
    let place = Place::unix();
    let policy = patient().max_waiting(2);
    let (client, peer) = place.meet(agent().reconnect(policy), &mut Ring::new("s1")).await;
    drop(peer);
    away(&client).await;
    let wait = || {
        let client = client.clone();
        tokio::spawn(async move { client.rpc(&echo("x")).await })
    };
    let (first, _second) = (wait(), wait());
    until("two waiting calls", || client.stats().waiting == 2).await;
    let refused = async || {
        let short = CallOptions::within(Duration::from_millis(5));
        let error = client.rpc_with(&echo("x"), short).await.unwrap_err();
        matches!(error, ClientError::TooManyWaiting { waiting: 2 })
    };
    assert!(refused().await);
    // A call that goes makes room.
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert!(!refused().await);
}

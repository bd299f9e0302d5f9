//! The end of trying: given up by count, by time, by refusal, by this side.

use std::time::Duration;

use a2e_client::{CallOptions, Client, ClientError, Closed, ConnectionState, Reconnect};
use serde_json::json;

use super::host::*;
use crate::support::*;

/// A connected client whose host is gone for good.
async fn abandoned(policy: Reconnect, seen: &Seen) -> Client {
    let place = Place::unix();
    let (client, _) = place.meet(seen.by(agent().reconnect(policy)), &mut Ring::new("s1")).await;
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_gives_up_after_so_many_attempts() {
    for most in [0, 1, 3] {
        let seen = Seen::default();
        let client = abandoned(brisk().attempts(Some(most)), &seen).await;
        let waits = CallOptions::without_deadline();
        let waiting = client.rpc_with(&echo("x"), waits).await.unwrap_err();
        let closed = client.closed().await;
        let Closed::GaveUp { attempts, last, .. } = &closed else { panic!("{closed}") };
        assert_eq!(*attempts, most);
        assert_eq!(matches!(**last, ClientError::Connect { .. }), most > 0, "{last}");
        assert!(matches!(waiting, ClientError::Closed(_) | ClientError::Interrupted(_)));
        let expected = format!("given up after {most} attempts to reconnect");
        assert!(closed.to_string().contains(&expected), "{closed}");
        let mut states: Vec<String> = vec!["connected".into()];
        states.extend((1..=most).map(|number| format!("attempt {number}")));
        states.push("closed".into());
        until("the last state", || seen.states().len() == states.len()).await;
        assert_eq!(seen.states(), states);
        // And from now on at once.
        let error = client.rpc(&echo("x")).await.unwrap_err();
        assert!(matches!(error, ClientError::Closed(Closed::GaveUp { .. })), "{error}");
        assert!(matches!(client.state(), ConnectionState::Closed(_)));
        assert!(client.pushes("test/notice/push").next().await.is_none());
        client.close().await;
        nothing_is_left(&client);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_gives_up_when_the_time_is_over() {
    let limit = Duration::from_millis(100);
    let started = now();
    let client = abandoned(brisk().within(Some(limit)), &Seen::default()).await;
    let closed = client.closed().await;
    assert!(matches!(closed, Closed::GaveUp { attempts: 1.., .. }), "{closed}");
    assert!(started.elapsed() >= limit);
    // A wait that is longer than what is left is cut.
    let slow = brisk().delays(Duration::from_mins(5), Duration::from_mins(5));
    let client = abandoned(slow.within(Some(limit)), &Seen::default()).await;
    assert!(matches!(client.closed().await, Closed::GaveUp { attempts: 1, .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_for_good_ends_it() {
    for (reason, is_final) in
        [("auth_failed", true), ("version_mismatch", true), ("server_error", false)]
    {
        let place = Place::unix();
        let policy = brisk().attempts(Some(3));
        let (client, peer) = place.meet(agent().reconnect(policy), &mut Ring::new("s1")).await;
        drop(peer);
        for _ in 0..if is_final { 1 } else { 3 } {
            let mut peer = place.accept().await;
            let request = peer.expect("handshake/req").await;
            let answer = json!({
                "type": "handshake/resp", "req_id": request["id"], "ok": false, "reason": reason
            });
            peer.bytes(format!("{answer}\n").as_bytes()).await;
        }
        let closed = client.closed().await;
        assert!(closed.to_string().ends_with(&format!("the handshake: {reason}")), "{closed}");
        let expected = if is_final { 1 } else { 3 };
        let Closed::GaveUp { attempts, .. } = closed else { panic!("{closed}") };
        assert_eq!(attempts, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_falls_over_at_each_greeting_is_left() {
    let place = Place::unix();
    let (mut ring, seen) = (Ring::new("s1"), Seen::default());
    let policy = brisk().attempts(Some(4));
    let (client, peer) = place.meet(seen.by(agent().reconnect(policy)), &mut ring).await;
    drop(peer);
    for _ in 0..4 {
        place.accept().await.greet(&mut ring).await;
    }
    assert!(matches!(client.closed().await, Closed::GaveUp { attempts: 4, .. }));
    assert!(place.is_left_alone().await);
    assert_eq!(client.stats().reconnects, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_ends_the_waiting_at_once() {
    let long = Duration::from_mins(5);
    let place = Place::unix();
    for is_greeting in [false, true] {
        let policy = if is_greeting { brisk() } else { brisk().delays(long, long) };
        let seen = Seen::default();
        let agent = seen.by(agent().reconnect(policy));
        let (client, peer) = place.meet(agent, &mut Ring::new("s1")).await;
        drop(peer);
        // The host is mute: it takes the connection and does not answer.
        let mut mute = None;
        if is_greeting {
            let mut peer = place.accept().await;
            peer.expect("handshake/req").await;
            mute = Some(peer);
        } else {
            until("the loss", || seen.states().len() == 2).await;
        }
        let calling = {
            let client = client.clone();
            tokio::spawn(async move { client.rpc(&echo("x")).await })
        };
        let started = now();
        client.close().await;
        assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
        assert!(matches!(client.closed().await, Closed::ByUs));
        let error = calling.await.unwrap().unwrap_err();
        assert!(matches!(error, ClientError::Closed(Closed::ByUs)), "{error}");
        assert_eq!(seen.states().last().unwrap(), "closed");
        if let Some(mut peer) = mute {
            assert!(peer.next().await.is_none(), "it is let go of");
        }
        assert!(place.is_left_alone().await);
        nothing_is_left(&client);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_clone_ends_the_trying() {
    let place = Place::unix();
    let policy = brisk().delays(Duration::from_millis(100), Duration::from_millis(100));
    let (client, peer) = place.meet(agent().reconnect(policy), &mut Ring::new("s1")).await;
    let mut states = client.states();
    drop(peer);
    assert!(matches!(states.next().await, Some(ConnectionState::Reconnecting { .. })));
    drop(client);
    assert!(matches!(states.next().await, Some(ConnectionState::Closed(Closed::ByUs))));
    assert!(states.next().await.is_none());
    assert!(matches!(states.now(), ConnectionState::Closed(_)));
    assert!(place.is_left_alone().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_is_no_loss() {
    let place = Place::unix();
    let (client, mut peer) = place.meet(agent(), &mut Ring::new("s1")).await;
    let ending = tokio::spawn({
        let client = client.clone();
        async move { client.shutdown(Duration::ZERO).await }
    });
    peer.expect("shutdown").await;
    drop(peer);
    ending.await.unwrap().unwrap();
    assert!(matches!(client.closed().await, Closed::ByUs));
    assert!(place.is_left_alone().await);
}

#[tokio::test]
async fn the_first_connection_is_tried_once() {
    let error = agent().connect_to("unix:///no/such/a2e.sock").await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    let error = agent().connect_to("carrier-pigeon").await.unwrap_err();
    assert!(error.to_string().contains("expected unix:///path"), "{error}");
    let failing = || async { Err(std::io::Error::other("no host yet")) };
    let error = agent().connect_by(failing).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot reach the host: no host yet");
    let place = Place::unix();
    let address = place.address.clone();
    let connecting = tokio::spawn(async move { agent().connect_to(&address).await });
    drop(place.accept().await);
    let error = connecting.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Closed(_)), "{error}");
    assert!(place.is_left_alone().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_handler_that_panics_is_counted() {
    let place = Place::unix();
    let mut ring = Ring::new("s1");
    let agent = agent().on_state(|_| panic!("the handler of the test"));
    let (client, peer) = place.meet(agent, &mut ring).await;
    drop(peer);
    let _peer = {
        let mut peer = place.accept().await;
        peer.greet(&mut ring).await;
        peer
    };
    back(&client, 1).await;
    until("three panics", || client.stats().handler_panics == 3).await;
}

//! The end of a connection: every call that waits fails at once, and with the reason.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use a2e_client::{CallOptions, Client, ClientError, Closed, Options};
use a2e_core::transport::{ByteSink, Connection, memory_pair};
use futures_util::future::join_all;

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r43_a_lost_connection_fails_every_call_at_once() {
    let (client, mut peer) = fake(Options::default()).await;
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let error = client.rpc(&echo("x")).await.unwrap_err();
                (error, now())
            })
        })
        .collect();
    for _ in 0..100 {
        heard(&mut peer).await;
    }
    let mut streaming = client.call(&echo("events")).await.unwrap();
    heard(&mut peer).await;
    let lost = now();
    drop(peer);
    for call in join_all(calls).await {
        let (error, at) = call.unwrap();
        assert!(matches!(error, ClientError::Closed(Closed::Ended)), "{error}");
        assert!(at.duration_since(lost) < AT_ONCE, "{:?}", at - lost);
    }
    assert!(streaming.next_event().await.is_none());
    assert!(streaming.reply().await.is_err());
    nothing_is_left(&client);
    // And from now on at once.
    assert!(matches!(client.rpc(&echo("x")).await, Err(ClientError::Closed(Closed::Ended))));
    assert!(client.send(&Notice { number: 1 }).await.is_err());
    assert!(client.cancel("x").await.is_err());
    assert!(client.ping().await.is_err());
    assert!(client.shutdown(Duration::ZERO).await.is_err());
    client.close().await;
    assert!(matches!(client.closed().await, Closed::Ended), "the first reason stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r43_calls_that_wait_for_their_turn_fail_too() {
    let options = Options::default().max_pending(1).max_unsent_bytes(1);
    let (client, mut peer) = fake(options).await;
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                client.rpc_with(&echo("x"), CallOptions::without_deadline()).await
            })
        })
        .collect();
    heard(&mut peer).await;
    drop(peer);
    for call in join_all(calls).await {
        assert!(matches!(call.unwrap(), Err(ClientError::Closed(_))));
    }
    nothing_is_left(&client);
}

/// Takes a number of bytes and then fails.
#[derive(Debug)]
struct Breaking(std::sync::atomic::AtomicUsize);

impl ByteSink for Breaking {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        use std::sync::atomic::Ordering::SeqCst;
        let left = self.0.load(SeqCst);
        if left == 0 {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the test broke it"));
        }
        let taken = left.min(bytes.len());
        self.0.store(left - taken, SeqCst);
        Ok(taken)
    }

    fn ready(&self) -> a2e_core::transport::Readiness<'_> {
        Box::pin(async { Ok(()) })
    }

    fn peer_is_gone(&self) -> a2e_core::transport::Gone<'_> {
        Box::pin(async { false })
    }

    fn close(&self) {}
}

#[tokio::test]
async fn r43_a_failed_send_fails_the_call_at_once() {
    for bytes in [0, 10, 150, 400] {
        // The other direction stays open: only writing fails.
        let (ours, _theirs) = memory_pair();
        let connection = Connection { sink: Arc::new(Breaking(bytes.into())), ..ours };
        let client =
            Client::connect(connection, Options::default().without_handshake()).await.unwrap();
        let started = now();
        let calls = (0..5).map(|_| async { client.rpc(&echo("x")).await.unwrap_err() });
        for error in join_all(calls).await {
            assert!(error.to_string().contains("the test broke it"), "{bytes}: {error}");
        }
        assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
        nothing_is_left(&client);
    }
}

#[tokio::test]
async fn what_the_host_said_last_is_heard() {
    let (client, mut peer) = fake(Options::default()).await;
    let calling = client.call(&echo("x")).await.unwrap();
    let (_, id) = heard(&mut peer).await;
    // Without a newline, as a host writes that is cut off.
    let line = format!(r#"{{"type":"test/echo/resp","req_id":"{id}","text":"bye"}}"#);
    peer.send_bytes(line.as_bytes()).await;
    drop(peer);
    assert_eq!(calling.reply().await.unwrap().text, "bye");
    client.closed().await;
    nothing_is_left(&client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_lets_calls_that_wait_be_answered() {
    let (host, client) = host().await;
    let calls: Vec<_> = (0..20).map(|_| client.call(&Sleep { ms: 100 })).collect();
    let calls: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let closing = client.close();
    let (slept, ()) =
        futures_util::join!(join_all(calls.into_iter().map(a2e_client::Calling::reply)), closing);
    assert!(slept.iter().all(Result::is_ok), "{slept:?}");
    let refused = client.rpc(&echo("x")).await.unwrap_err();
    assert!(matches!(refused, ClientError::Closed(Closed::ByUs)), "{refused}");
    client.close().await;
    host.until("the session's end", |status| status.sessions == 0).await;
    nothing_is_left(&client);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_does_not_end_is_left() {
    let (client, _peer) = fake(Options::default()).await;
    let calling = client.call(&echo("x")).await.unwrap();
    let started = now();
    client.close().await;
    assert!((3..6).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    assert!(matches!(calling.reply().await, Err(ClientError::Closed(Closed::ByUs))));
    nothing_is_left(&client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_drains_the_session() {
    let (host, client) = host().await;
    let calling = client.call(&Sleep { ms: 200 }).await.unwrap();
    let ending = client.shutdown(Duration::from_millis(1500));
    let (slept, ended) = futures_util::join!(calling.reply(), ending);
    assert_eq!(slept.unwrap().ms, 200);
    ended.unwrap();
    assert!(matches!(client.closed().await, Closed::ByUs));
    nothing_is_left(&client);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_clone_ends_the_connection() {
    let (host, client) = host().await;
    let calling = client.call(&Sleep { ms: 100 }).await.unwrap();
    let stream = client.pushes("test/notice/push");
    drop(client.clone());
    drop(client);
    assert_eq!(calling.reply().await.unwrap().ms, 100, "a call keeps it open");
    host.until("the session's end", |status| status.sessions == 0).await;
    let mut stream = stream;
    assert!(stream.next().await.is_none());
    host.stop().await;
}

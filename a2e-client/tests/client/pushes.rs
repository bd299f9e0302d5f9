//! What comes unasked: handlers, streams, and the order in which a message finds its taker.

use std::sync::{Arc, Mutex};

use a2e_client::{Bound, EventMessage, Options};
use futures_util::StreamExt;
use serde_json::json;

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_before_and_after_the_reply_reach_their_handlers() {
    let (host, client) = host().await;
    let mut notices = client.pushes("test/notice/push");
    // As `proc/read/event`: it carries the id of a request that has been answered.
    let late = Arc::new(Mutex::new(Vec::new()));
    let _guard = client.on_push("test/late/event", {
        let late = Arc::clone(&late);
        move |message| {
            let event = EventMessage::try_from(message.clone()).unwrap();
            late.lock().unwrap().push((message.req_id(), event.seq().unwrap()));
        }
    });
    let mut calling = client.call(&Push { before: 50, after: 50 }).await.unwrap();
    let id = calling.id().to_owned();
    assert!(calling.next_event().await.is_none(), "none of it belongs to the call");
    calling.reply().await.unwrap();
    for number in 0..100 {
        assert_eq!(notices.next().await.unwrap().decode::<Notice>().unwrap().number, number);
    }
    until("all late events", || late.lock().unwrap().len() == 50).await;
    let expected: Vec<_> = (50..100).map(|seq| (id.clone(), seq)).collect();
    assert_eq!(*late.lock().unwrap(), expected);
    assert_eq!((notices.dropped(), client.stats().unclaimed), (0, 0));
    nothing_is_left(&client);
    host.stop().await;
}

#[tokio::test]
async fn a_call_comes_before_handlers_of_the_type() {
    let (client, mut peer) = fake(Options::default()).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let _guards: Vec<_> = ["x/event", "test/echo/resp", "error", "mcp/sample/req"]
        .into_iter()
        .map(|wire_type| {
            let seen = Arc::clone(&seen);
            client.on_push(wire_type, move |message| {
                assert_eq!(message.wire_type(), wire_type);
                seen.lock().unwrap().push(format!("{wire_type} {}", message.req_id()));
            })
        })
        .collect();
    let mut with_events = client.call(&echo("1")).await.unwrap();
    let (_, first) = heard(&mut peer).await;
    let replied = tokio::spawn({
        let client = client.clone();
        async move { client.rpc(&echo("2")).await }
    });
    let (_, second) = heard(&mut peer).await;
    for req_id in [first.as_str(), second.as_str(), "else", ""] {
        peer.send_line(&json!({ "type": "x/event", "req_id": req_id }).to_string()).await;
    }
    peer.send_line(r#"{"type":"error","req_id":"","code":"parse_error"}"#).await;
    peer.send_line(r#"{"type":"mcp/sample/req","id":"h1"}"#).await;
    answer(&mut peer, &first, "1").await;
    answer(&mut peer, &second, "2").await;
    // After the end of the calls: an event goes to a handler, a second answer is dropped.
    peer.send_line(&json!({ "type": "x/event", "req_id": first }).to_string()).await;
    answer(&mut peer, &first, "again").await;
    assert!(with_events.next_event().await.is_some());
    assert!(with_events.next_event().await.is_none());
    assert_eq!(with_events.reply().await.unwrap().text, "1");
    assert_eq!(replied.await.unwrap().unwrap().text, "2");
    until("the second answer", || client.stats().late_replies == 1).await;
    let expected = [
        format!("x/event {second}"),
        "x/event else".into(),
        "x/event ".into(),
        "error ".into(),
        "mcp/sample/req ".into(),
        format!("x/event {first}"),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
    client.send_raw("mcp/sample/resp", Some("h1"), &json!({ "text": "yes" })).await.unwrap();
    let (sampled, _) = heard(&mut peer).await;
    assert_eq!((&sampled["req_id"], &sampled["text"]), (&json!("h1"), &json!("yes")));
    nothing_is_left(&client);
}

#[tokio::test]
async fn handlers_come_go_and_may_panic() {
    let (client, mut peer) = fake(Options::default()).await;
    let mut stream = client.pushes("a/push");
    let count = Arc::new(Mutex::new(0));
    let counting = || {
        let count = Arc::clone(&count);
        move |_: &a2e_client::Received| *count.lock().unwrap() += 1
    };
    let bad = client.on_push("a/push", |_| panic!("a handler of the test"));
    let first = client.on_push("a/push", counting());
    let second = client.on_push("a/push", counting());
    assert_eq!(second.wire_type(), "a/push");
    for (expected, guard) in [(2, first), (3, second), (3, bad)] {
        peer.send_line(r#"{"type":"a/push"}"#).await;
        stream.next().await.unwrap();
        until("the handlers", || *count.lock().unwrap() == expected).await;
        drop(guard);
    }
    drop(stream);
    peer.send_line(r#"{"type":"a/push"}"#).await;
    until("a push for nobody", || client.stats().unclaimed == 1).await;
    assert_eq!(client.stats().handler_panics, 3);
}

#[tokio::test]
async fn handlers_may_own_guards_and_clients() {
    let (client, mut peer) = fake(Options::default()).await;
    // Dropping the outer handler unsubscribes the inner one.
    let inner = client.on_push("a/push", |_| {});
    let outer = client.on_push("a/push", move |_| assert_eq!(inner.wire_type(), "a/push"));
    drop(outer);
    peer.send_line(r#"{"type":"a/push"}"#).await;
    until("a push for nobody", || client.stats().unclaimed == 1).await;
    // A handler that owns the client goes at the end, and the client with it.
    let owned = Arc::new(());
    let witness = Arc::downgrade(&owned);
    let clone = client.clone();
    let guard = client.on_push("b/push", move |_| {
        assert!(clone.session().is_none() && Arc::strong_count(&owned) == 1);
    });
    drop(peer);
    client.closed().await;
    until("the end of the handler", || witness.upgrade().is_none()).await;
    drop(guard);
}

#[tokio::test]
async fn r20_a_stream_that_is_not_read_keeps_the_newest() {
    let bound = Bound { messages: 3, bytes: 1 << 20 };
    let (client, mut peer) = fake(Options::default().push_bound(bound)).await;
    let stream = client.pushes("test/notice/push");
    for number in 0..10 {
        peer.send_line(&json!({ "type": "test/notice/push", "number": number }).to_string()).await;
    }
    until("all of them", || client.stats().pushes_dropped == 7).await;
    assert_eq!(stream.dropped(), 7);
    drop(peer);
    client.closed().await;
    // It is a stream for combinators too, and ends with the connection.
    let rest: Vec<u64> =
        stream.map(|message| message.decode::<Notice>().unwrap().number).collect().await;
    assert_eq!(rest, [7, 8, 9]);
    assert!(client.pushes("test/notice/push").next().await.is_none(), "none after the end");
}

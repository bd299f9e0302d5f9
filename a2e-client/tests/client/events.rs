//! Events of a call: order, gaps, and what happens when nobody takes them.

use std::time::Duration;

use a2e_client::{Bound, CallOptions, ClientError, Options};
use a2e_core::protocol::EventKind;
use serde_json::json;

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r41_events_come_in_order_before_the_reply() {
    let (host, client) = host().await;
    let mut seen = Vec::new();
    let told = client
        .rpc_with_events(&Story { events: 500 }, |event| {
            assert_eq!(event.wire_type(), "test/story/event");
            let is_artifact = *event.kind() == EventKind::Artifact;
            assert_eq!(is_artifact, event.seq().unwrap() % 10 == 9);
            seen.push(event.seq().unwrap());
        })
        .await
        .unwrap();
    assert_eq!(told.events, 500);
    assert_eq!(seen, (0..500).collect::<Vec<_>>());

    let mut calling = client.call(&Story { events: 2 }).await.unwrap();
    for number in 0..2 {
        let event = calling.next_event().await.unwrap();
        assert_eq!(event.data().get(), format!("{{\"message\":\"chapter {number}\"}}"));
    }
    assert!(calling.next_event().await.is_none());
    assert!(calling.next_event().await.is_none(), "asking again is fine");
    assert_eq!(calling.reply().await.unwrap().events, 2);
    nothing_is_left(&client);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_get_their_own_events() {
    let (host, client) = host().await;
    let calls = (1..40_u64).map(|events| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut next = 0;
            let count = |event: a2e_client::EventMessage| {
                assert_eq!(event.seq(), Some(next));
                next += 1;
            };
            client.rpc_with_events(&Story { events }, count).await.unwrap();
            assert_eq!(next, events);
        })
    });
    for done in futures_util::future::join_all(calls).await {
        done.unwrap();
    }
    nothing_is_left(&client);
    host.stop().await;
}

fn event(req_id: &str, kind: &str, seq: u64) -> String {
    json!({ "type": "x/event", "req_id": req_id, "kind": kind, "seq": seq, "data": {} }).to_string()
}

#[tokio::test]
async fn r20_events_that_may_be_dropped_give_way_and_show_a_gap() {
    let bound = Bound { messages: 4, bytes: 1 << 20 };
    let (client, mut peer) = fake(Options::default().event_bound(bound)).await;
    let mut calling = client.call(&echo("x")).await.unwrap();
    let (_, id) = heard(&mut peer).await;
    // Nobody takes any of them: four fit, the next progress is dropped, artifacts push the others out.
    for (seq, kind) in
        [(0, "status"), (1, "artifact"), (2, "log"), (3, "artifact"), (4, "progress"), (5, "own")]
    {
        peer.send_line(&event(&id, kind, seq)).await;
    }
    answer(&mut peer, &id, "done").await;
    let mut seen = Vec::new();
    while let Some(event) = calling.next_event().await {
        seen.push((event.seq().unwrap(), event.kind().as_str().to_owned()));
    }
    let expected = [(1, "artifact"), (3, "artifact"), (5, "own")];
    assert_eq!(seen, expected.map(|(seq, kind)| (seq, kind.to_owned())));
    assert_eq!((calling.events_dropped(), client.stats().events_dropped), (3, 3));
    assert_eq!(calling.reply().await.unwrap().text, "done");
    nothing_is_left(&client);
}

#[tokio::test]
async fn r20_events_that_must_not_be_dropped_end_a_call_that_does_not_take_them() {
    for bound in [Bound { messages: 3, bytes: 1 << 20 }, Bound { messages: 99, bytes: 400 }] {
        let (client, mut peer) = fake(Options::default().event_bound(bound)).await;
        let lazy = client.call(&echo("lazy")).await.unwrap();
        let (_, id) = heard(&mut peer).await;
        let other = client.call(&echo("other")).await.unwrap();
        let (_, other_id) = heard(&mut peer).await;
        for seq in 0..10 {
            peer.send_line(&event(&id, "artifact", seq)).await;
        }
        answer(&mut peer, &other_id, "not held up").await;
        assert_eq!(other.reply().await.unwrap().text, "not held up");
        let error = lazy.reply().await.unwrap_err();
        assert!(matches!(error, ClientError::EventsNotTaken { held } if held >= 2), "{error}");
        let (cancel, _) = heard(&mut peer).await;
        assert_eq!((&cancel["type"], &cancel["req_id"]), (&json!("cancel"), &json!(id)));
        nothing_is_left(&client);
    }
}

#[tokio::test]
async fn bad_events_are_counted_and_left_out() {
    let (client, mut peer) = fake(Options::default()).await;
    let mut calling = client.call(&echo("x")).await.unwrap();
    let (_, id) = heard(&mut peer).await;
    for fields in [
        r#""data":"{}""#,
        r#""data":[1]"#,
        r#""kind":7"#,
        r#""seq":"1""#,
        r#""seq":-1"#,
        r#""seq":1.5"#,
    ] {
        peer.send_line(&format!(r#"{{"type":"x/event","req_id":"{id}",{fields}}}"#)).await;
    }
    // All fields have defaults.
    peer.send_line(&format!(r#"{{"type":"x/event","req_id":"{id}","seq":7.0}}"#)).await;
    peer.send_line(&format!(r#"{{"type":"x/event","req_id":"{id}"}}"#)).await;
    answer(&mut peer, &id, "done").await;
    let event = calling.next_event().await.unwrap();
    assert_eq!(
        (event.seq(), event.kind(), event.data().get()),
        (Some(7), &EventKind::Status, "{}")
    );
    assert_eq!(calling.next_event().await.unwrap().seq(), None);
    assert!(calling.next_event().await.is_none());
    assert_eq!(client.stats().bad_events, 6);
    assert!(calling.reply().await.is_ok());
}

#[tokio::test]
async fn a_deadline_ends_the_events_too() {
    let (client, mut peer) = fake(Options::default()).await;
    let options = CallOptions::within(Duration::from_millis(30));
    let mut calling = client.call_with(&echo("x"), options).await.unwrap();
    heard(&mut peer).await;
    assert!(calling.next_event().await.is_none());
    assert!(matches!(calling.reply().await, Err(ClientError::Timeout { .. })));
    assert_eq!(heard(&mut peer).await.0["type"], "cancel");
    nothing_is_left(&client);
}

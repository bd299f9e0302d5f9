//! Events: numbered, before the answer, bounded (R38, R41).

use a2e_core::testing::TestHost;
use serde_json::{Value, json};

use crate::probe::Switch;
use crate::support::{counter, end, next, plugin, serves, with};

async fn host() -> TestHost {
    let mut config = with([plugin("emitter", "Emitter")]);
    config.limits.max_outbound_bytes = 16 * 1024;
    TestHost::start(config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_events_are_numbered_from_zero_and_precede_the_answer() {
    let host = host().await;
    let mut session = host.session();
    for kind in ["progress", "artifact", "log", "status", "acme.started"] {
        let body = json!({ "count": 20, "kind": kind, "waits": true });
        let id = session.send("emit/flood/req", body).await;
        for seq in 0..20 {
            let event = next(&mut session).await;
            assert_eq!(event["type"], "invoke/event", "{kind}: {event}");
            assert_eq!((&event["seq"], &event["req_id"]), (&json!(seq), &json!(id)), "{kind}");
            assert_eq!(event["kind"], kind);
            assert!(event["data"].is_object());
        }
        let reply = next(&mut session).await;
        assert_eq!((&reply["queued"], &reply["req_id"]), (&json!(20), &json!(id)), "{kind}");
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_each_request_numbers_its_own_events() {
    let host = host().await;
    let mut session = host.session();
    let count = 8;
    for _ in 0..count {
        session.send("emit/flood/req", json!({ "count": 25, "waits": true })).await;
    }
    let mut due = std::collections::BTreeMap::<String, u64>::new();
    let mut answered = 0;
    while answered < count {
        let message = next(&mut session).await;
        let seen = due.entry(message["req_id"].as_str().unwrap().to_owned()).or_default();
        if message["type"] == "emit/resp" {
            assert_eq!(*seen, 25);
            *seen = u64::MAX;
            answered += 1;
        } else {
            assert_eq!(message["seq"], *seen, "dense, and never after the answer");
            *seen += 1;
        }
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r38_r41_a_slow_reader_misses_what_may_be_dropped_and_sees_the_gap() {
    let host = host().await;
    let switch = Switch::new();
    let mut session = host.session();
    let count = 1000;
    let body = json!({ "count": count, "kind": "progress", "size": 1000, "probe": switch.key() });
    let id = session.send("emit/flood/req", body).await;
    switch.entered(1).await;
    let dropped = counter(&host, "dropped_events");
    assert!(dropped > 100, "{dropped}");
    let unsent = host.executor().status().unsent_bytes;
    assert!(unsent < 20 * 1024, "{unsent}");
    switch.open();
    let reply = session.reply_to(&id).await;
    assert_eq!(reply["dropped"], dropped);
    assert_eq!(reply["queued"].as_u64().unwrap() + dropped, count);
    let seqs: Vec<u64> = session.others().iter().map(|it| it["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs.len() as u64, count - dropped, "what was taken came");
    assert!(seqs.is_sorted_by(|a, b| a < b), "in order, with a gap: {seqs:?}");
    serves(&mut session).await;
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_what_may_not_be_dropped_is_refused_or_waits() {
    for kind in ["artifact", "acme.started"] {
        let host = host().await;
        let switch = Switch::new();
        let mut session = host.session();
        let body = json!({ "count": 1000, "kind": kind, "size": 1000, "probe": switch.key() });
        let id = session.send("emit/flood/req", body).await;
        switch.entered(1).await;
        assert_eq!(counter(&host, "dropped_events"), 0);
        switch.open();
        let reply = session.reply_to(&id).await;
        assert!(reply["full"].as_u64().unwrap() > 100, "the plugin was told: {reply}");
        let events = session.others();
        assert_eq!(events.len() as u64, reply["queued"].as_u64().unwrap(), "{kind}");
        dense(&events);

        let body = json!({ "count": 1000, "kind": kind, "size": 1000, "waits": true });
        let id = session.send("emit/flood/req", body).await;
        let reply = session.reply_to(&id).await;
        assert_eq!(reply["queued"], 1000);
        let events = session.others();
        assert_eq!(events.len(), 1000, "{kind}: with patience all of them come");
        dense(&events);
        session.finish().await;
        end(host).await;
    }
}

fn dense(events: &[Value]) {
    for (seq, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], seq, "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_an_event_after_the_answer_is_refused_and_counted() {
    let host = host().await;
    let switch = Switch::new();
    let mut session = host.session();
    let id = session.send("emit/late/req", json!({ "probe": switch.key() })).await;
    let reply = next(&mut session).await;
    assert_eq!((&reply["type"], &reply["req_id"]), (&json!("emit/resp"), &json!(id)));
    // A push may name the finished request; it comes after the answer.
    let push = next(&mut session).await;
    assert_eq!((&push["type"], &push["req_id"]), (&json!("emit/late/push"), &json!(id)));
    switch.noted("push Ok").await;
    assert_eq!(switch.journal(), ["hook true", "emit Err(Ended)", "push Ok(())"]);
    assert_eq!(counter(&host, "late_events"), 1);
    serves(&mut session).await;
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_muted_events_are_neither_sent_nor_counted() {
    let host = host().await;
    let mut session = host.session();
    let id = session.send("emit/flood/req", json!({ "count": 5, "mute": true })).await;
    let reply = next(&mut session).await;
    assert_eq!((&reply["muted"], &reply["req_id"]), (&json!(5), &json!(id)));
    assert_eq!(counter(&host, "dropped_events") + counter(&host, "late_events"), 0);
    session.finish().await;
    end(host).await;
}

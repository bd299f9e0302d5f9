//! Deadlines and cancellation.

use std::time::Duration;

use a2e_core::testing::TestHost;
use serde_json::json;

use crate::plugins::script::SOON;
use crate::probe::Switch;
use crate::support::{clocked, counter, end, next, of, script, settled, silent, tuned, with};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_at_the_deadline_of_its_type() {
    let s = Duration::from_secs;
    for (kind, timeout, limit) in [
        ("script/all/req", json!(null), Some(s(30))),
        ("script/soon/req", json!(null), Some(SOON)),
        // Not this type's field.
        ("script/soon/req", json!(9), Some(SOON)),
        ("script/timed/req", json!(null), Some(s(30))),
        ("script/timed/req", json!(2), Some(s(2))),
        ("script/timed/req", json!(1.5), Some(Duration::from_millis(1500))),
        ("script/timed/req", json!(0), Some(s(30))),
        ("script/timed/req", json!(-5), Some(s(30))),
        ("script/timed/req", json!("5"), Some(s(30))),
        ("script/timed/req", json!(1e300), Some(s(600))),
        ("script/never/req", json!(5), None),
    ] {
        let (host, clock) = clocked(with([script("a", "future", "hang")])).await;
        let switch = Switch::new();
        let mut session = host.session();
        let body = json!({ "probe": switch.key(), "timeout": timeout });
        let id = session.send(kind, body).await;
        switch.entered(1).await;
        clock.advance(limit.unwrap_or(s(100_000)).saturating_sub(Duration::from_millis(1)));
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(host.executor().status().in_flight, 1, "{kind} {timeout}: not yet");
        if limit.is_some() {
            clock.advance(Duration::from_millis(1));
            assert_eq!(session.reply_to(&id).await["code"], "timeout", "{kind} {timeout}");
        } else {
            switch.open();
            assert_eq!(session.reply_to(&id).await["by"], "a");
        }
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_in_the_queue_counts() {
    let single = tuned(script("a", "pool", "hang"), |it| it.permits = Some(1));
    let (host, clock) = clocked(with([single])).await;
    let switch = Switch::new();
    let mut session = host.session();
    let body = json!({ "probe": switch.key() });
    session.send("script/never/req", body.clone()).await;
    switch.entered(1).await;
    let waiting = session.send("script/soon/req", body).await;
    host.until("one in the queue", |it| it.waiting == 1).await;
    clock.advance(SOON);
    assert_eq!(session.reply_to(&waiting).await["code"], "timeout");
    host.until("a free queue", |it| it.waiting == 0 && of(it, "a").queued == 0).await;
    switch.open();
    assert_eq!(next(&mut session).await["by"], "a");
    assert_eq!(switch.count(), 1, "what timed out in the queue was never started");
    settled(&host).await;
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_with_a_deadline_of_its_own_is_given_up_then() {
    let own = Duration::from_millis(100);
    let limited = |name, run| tuned(script(name, run, "hang"), |it| it.deadline = Some(own));
    for run in ["pool", "blocking", "future"] {
        // Alone: a time-out. With another behind it, `First` and `All` go on.
        for (fold, others, expected) in [
            ("first", 0, "timeout"),
            ("first", 1, "next"),
            ("all", 1, "next"),
            ("merge", 1, "next"),
        ] {
            let mut plugins = vec![limited("slow", run)];
            plugins.extend((0..others).map(|_| script("next", "pool", "reply")));
            let (host, clock) = clocked(with(plugins)).await;
            let switch = Switch::new();
            let mut session = host.session();
            let body = json!({ "probe": switch.key() });
            let id = session.send(&format!("script/{fold}/req"), body).await;
            switch.entered(1).await;
            clock.advance(own + Duration::from_millis(1));
            let answer = session.reply_to(&id).await;
            let got = if answer["type"] == "error" { &answer["code"] } else { &answer["by"] };
            assert_eq!(got, expected, "{run} {fold}: {answer}");
            if expected == "timeout" {
                assert!(answer["message"].as_str().unwrap().contains("slow"), "{answer}");
            }
            switch.open();
            settled(&host).await;
            assert_eq!(of(&host.executor().status(), "slow").stuck, 0);
            silent(&mut session).await;
            session.finish().await;
            end(host).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_cancelled_wherever_it_is() {
    for (run, act, noted) in [
        ("future", "hang", "future dropped"),
        ("pool", "watch", "cancelled"),
        ("blocking", "watch", "cancelled"),
        ("inline", "future hang", "future dropped"),
        ("inline", "pool watch", "cancelled"),
        ("inline", "blocking watch", "cancelled"),
    ] {
        let host = TestHost::start(with([script("a", run, act)])).await;
        let switch = Switch::new();
        let mut session = host.session();
        let id = session.send("script/all/req", json!({ "probe": switch.key() })).await;
        if noted == "cancelled" {
            switch.noted("watching").await;
        } else {
            switch.entered(1).await;
        }
        session.send("cancel", json!({ "req_id": id })).await;
        let answer = session.reply_to(&id).await;
        assert_eq!((&answer["code"], &answer["retryable"]), (&json!("cancelled"), &json!(false)));
        switch.noted(noted).await;
        settled(&host).await;
        silent(&mut session).await;
        assert_eq!(counter(&host, "unknown_cancels"), 0, "{run} {act}");
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_of_what_is_not_in_flight_is_counted_and_not_answered() {
    let host = TestHost::start(with([script("a", "inline", "reply")])).await;
    let mut session = host.session();
    let id = session.send("script/all/req", json!({})).await;
    session.reply_to(&id).await;
    for (count, unknown) in [&*id, "", "nope"].into_iter().enumerate() {
        session.send("cancel", json!({ "req_id": unknown })).await;
        silent(&mut session).await;
        assert_eq!(counter(&host, "unknown_cancels"), count as u64 + 1, "{unknown}");
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_frees_its_place_in_the_queue() {
    let single = tuned(script("a", "pool", "hang"), |it| it.permits = Some(1));
    let mut config = with([single]);
    config.limits.max_queue = 2;
    let host = TestHost::start(config).await;
    let switch = Switch::new();
    let mut session = host.session();
    let body = json!({ "probe": switch.key() });
    let first = session.send("script/never/req", body.clone()).await;
    switch.entered(1).await;
    for round in 0..5 {
        let waiting = [
            session.send("script/never/req", body.clone()).await,
            session.send("script/never/req", body.clone()).await,
        ];
        assert_eq!(session.call_error("script/never/req", body.clone()).await, "overloaded");
        for id in waiting {
            session.send("cancel", json!({ "req_id": id })).await;
            assert_eq!(session.reply_to(&id).await["code"], "cancelled", "{round}");
        }
        host.until("a free queue", |it| it.waiting == 0 && of(it, "a").queued == 0).await;
    }
    switch.open();
    assert_eq!(session.reply_to(&first).await["by"], "a");
    assert_eq!(switch.count(), 1);
    session.finish().await;
    end(host).await;
}

/// A request behind an inline one that goes on after its own time has all of its time.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_behind_a_late_inline_one_has_its_whole_time() {
    let (host, clock) = clocked(with([script("a", "inline", "reply")])).await;
    let (late, next) = (Switch::new(), Switch::new());
    let mut session = host.session();
    let line = |id: &str, act: &str, probe: &str| {
        let acts = json!({ "a": act });
        json!({ "type": "script/soon/req", "id": id, "acts": acts, "probe": probe }).to_string()
            + "\n"
    };
    let batch = line("late", "hang", late.key()) + &line("next", "future hang", next.key());
    session.send_bytes(batch.as_bytes()).await;
    late.entered(1).await;
    clock.advance(SOON);
    assert_eq!(session.reply_to("late").await["code"], "timeout");
    // Less than what counts as a hang, which would cut the session.
    clock.advance(SOON * 3);
    late.open();
    next.entered(1).await;
    // Several looks of the watchdog, which goes by real time.
    tokio::time::sleep(Duration::from_millis(150)).await;
    next.open();
    assert_eq!(session.reply_to("next").await["by"], "a");
    session.finish().await;
    end(host).await;
}

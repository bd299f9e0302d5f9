//! How sessions and hosts end: end of input, `shutdown`, the host's own end (R17, R44).

use std::time::Duration;

use a2e_core::Executor;
use a2e_core::testing::TestHost;
use serde_json::{Value, json};

use crate::probe::Switch;
use crate::support::{
    Carrier, audited, end, next, now, plugin, records, script, silent, stop, with,
};

async fn host(drain_ms: u64) -> TestHost {
    let config = with([plugin("echo", "Echo"), script("script", "future", "hang")]);
    let builder = Executor::builder(config).drain(Duration::from_millis(drain_ms));
    TestHost::build(builder).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_at_the_end_of_input_accepted_requests_are_answered() {
    for carrier in Carrier::ALL {
        let host = host(5000).await;
        let switch = Switch::new();
        let mut session = carrier.open(&host).await;
        let id = session.send("script/all/req", json!({ "probe": switch.key() })).await;
        switch.entered(1).await;
        let rest = tokio::spawn(session.finish());
        switch.open();
        let rest = rest.await.unwrap();
        assert_eq!(rest.len(), 1, "{carrier:?}: {rest:?}");
        assert_eq!((&rest[0]["req_id"], &rest[0]["by"]), (&json!(id), &json!("script")));
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_after_the_drain_the_rest_is_answered_shutting_down() {
    for carrier in Carrier::ALL {
        let host = host(100).await;
        let switch = Switch::new();
        let mut session = carrier.open(&host).await;
        for _ in 0..5 {
            session.send("script/all/req", json!({ "probe": switch.key() })).await;
        }
        switch.entered(5).await;
        let start = now();
        let rest = session.finish().await;
        assert!(start.elapsed() >= Duration::from_millis(90), "{carrier:?}: it was waited for");
        assert!(start.elapsed() < Duration::from_secs(1), "{carrier:?}: {:?}", start.elapsed());
        assert_eq!(rest.len(), 5, "{carrier:?}: {rest:?}");
        for answer in rest {
            assert_eq!(answer["code"], "shutting_down", "{carrier:?}");
            assert_eq!(answer["retryable"], true);
        }
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_a_tail_without_newline_is_a_line() {
    for (tail, expected) in [
        (r#"{"type":"ping","id":"p"}"#, Some("pong")),
        (r#"{"type":"echo/pool/req","id":"p","text":"t"}"#, Some("echo/resp")),
        ("{\"type\":\"ping\",\"id\":\"p\"}\r", Some("pong")),
        (r#"{"type":"ping","id":"p""#, Some("error")),
        ("x", Some("error")),
        (" \t\r", None),
        ("", None),
    ] {
        let host = host(1000).await;
        let mut session = host.session();
        session.send_bytes(tail.as_bytes()).await;
        let rest = session.finish().await;
        let kinds: Vec<&str> = rest.iter().map(|it| it["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, expected.into_iter().collect::<Vec<_>>(), "{tail:?}");
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r44_after_shutdown_what_runs_may_finish_and_nothing_new_starts() {
    let host = host(1000).await;
    let switch = Switch::new();
    let mut session = host.session();
    let first = session.send("script/all/req", json!({ "probe": switch.key() })).await;
    switch.entered(1).await;
    session.send("shutdown", json!({ "timeout": 10 })).await;
    for (kind, body) in [
        ("ping", json!({})),
        ("handshake/req", json!({})),
        ("echo/inline/req", json!({})),
        ("script/all/req", json!({})),
        ("nope", json!({})),
    ] {
        let refused = session.call(kind, body).await;
        assert_eq!(refused["code"], "shutting_down", "{kind}: {refused}");
        assert_eq!(refused["retryable"], true);
    }
    switch.open();
    assert_eq!(session.reply_to(&first).await["by"], "script");
    assert!(session.next().await.is_none(), "the stream ends when nothing is left");
    drop(session);
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r44_a_repeat_of_a_running_request_during_the_drain_is_absorbed() {
    let host = host(1000).await;
    let switch = Switch::new();
    let mut session = host.session();
    let line = format!(r#"{{"type":"script/all/req","id":"r","probe":"{}"}}"#, switch.key());
    session.send_line(&line).await;
    switch.entered(1).await;
    session.send("shutdown", json!({})).await;
    session.send_line(&line).await;
    let id = session.send("ping", json!({})).await;
    assert_eq!(
        next(&mut session).await["req_id"],
        json!(id),
        "the repeat got no answer of its own"
    );
    switch.open();
    let rest = session.finish().await;
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!(rest[0]["type"], "script/resp");
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r44_a_running_request_can_be_cancelled_during_the_drain() {
    let host = host(1000).await;
    let switch = Switch::new();
    let mut session = host.session();
    let first = session.send("script/all/req", json!({ "probe": switch.key() })).await;
    switch.entered(1).await;
    session.send("shutdown", json!({})).await;
    session.send("cancel", json!({ "req_id": first })).await;
    assert_eq!(next(&mut session).await["code"], "cancelled");
    assert!(session.next().await.is_none(), "the cancel itself gets no answer");
    drop(session);
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r44_shutdown_without_time_answers_all_at_once() {
    for (first, second) in [(json!(0), json!(9)), (json!(9), json!(0)), (json!(0.0), json!(0))] {
        let host = host(1000).await;
        let switch = Switch::new();
        let mut session = host.session();
        let ids = [(); 3].map(|()| json!({ "probe": switch.key() }));
        for body in ids {
            session.send("script/all/req", body).await;
        }
        switch.entered(3).await;
        let start = now();
        // The earlier deadline holds.
        let line = |timeout| json!({ "type": "shutdown", "timeout": timeout }).to_string();
        session.send_line(&format!("{}\n{}", line(first), line(second))).await;
        for _ in 0..3 {
            assert_eq!(next(&mut session).await["code"], "shutting_down");
        }
        assert!(session.next().await.is_none());
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        drop(session);
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r44_the_end_of_input_wins_over_a_longer_timeout() {
    let host = host(100).await;
    let switch = Switch::new();
    let mut session = host.session();
    session.send("script/all/req", json!({ "probe": switch.key() })).await;
    switch.entered(1).await;
    session.send("shutdown", json!({ "timeout": 3000 })).await;
    let start = now();
    let rest = session.finish().await;
    assert_eq!(rest[0]["code"], "shutting_down", "{rest:?}");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r44_shutdown_ends_its_own_session_only() {
    let host = host(1000).await;
    let (mut one, mut other) = (host.session(), host.session());
    one.send("shutdown", json!({})).await;
    assert!(one.next().await.is_none());
    silent(&mut other).await;
    assert_eq!(other.call("echo/inline/req", json!({ "text": "t" })).await["text"], "t");
    other.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r44_the_end_of_the_host_drains_and_tears_down_in_reverse_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.ndjson");
    let switch = Switch::new();
    let life = |name| plugin(name, "Faulty").with_setting("probe", switch.key());
    let config = with([life("first"), script("script", "future", "hang"), life("second")]);
    let host = TestHost::start(audited(config, &path)).await;
    let (mut quick, mut slow) = (host.session(), host.session());
    let hanging = Switch::new();
    let id = quick.send("script/all/req", json!({ "probe": switch.key() })).await;
    let lost = slow.send("script/never/req", json!({ "probe": hanging.key() })).await;
    switch.entered(1).await;
    hanging.entered(1).await;
    let ended = async {
        host.executor().shutdown(Duration::from_millis(200)).await;
    };
    let answers = async {
        switch.open();
        assert_eq!(quick.reply_to(&id).await["by"], "script");
        assert!(quick.next().await.is_none());
        assert_eq!(slow.reply_to(&lost).await["code"], "shutting_down");
        assert!(slow.next().await.is_none());
    };
    tokio::join!(ended, answers);
    let journal = switch.journal();
    assert_eq!(journal.iter().filter(|it| *it == "teardown").count(), 2, "{journal:?}");
    assert_eq!(journal.last().unwrap(), "teardown", "after everything else: {journal:?}");
    let mut outcomes: Vec<Value> =
        records(&path).into_iter().map(|mut it| it["outcome"].take()).collect();
    outcomes.sort_by_key(ToString::to_string);
    assert_eq!(outcomes, ["ok", "refused"]);
    let mut late = TestHost::session(&host);
    let refusal = late.next().await.expect("a word before the end");
    assert_eq!(refusal["code"], "shutting_down", "a host that has ended takes nobody in");
    assert!(late.next().await.is_none());
    stop(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_the_drain_waits_for_a_reader_that_comes_late() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let connection = host.executor().connect();
    let sink = std::sync::Arc::clone(&connection.sink);
    let mut session = a2e_core::testing::TestSession::over(connection);
    // More than the transport holds, so that answers wait in the host.
    let text = "x".repeat(4000);
    for _ in 0..200 {
        session.send("echo/inline/req", json!({ "text": text })).await;
    }
    sink.close();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let rest = session.finish().await;
    assert_eq!(rest.len(), 200, "each request is answered");
    end(host).await;
}

//! Requests that a handler makes for its caller (R66), and their permits.

use std::time::Duration;

use a2e_core::testing::TestHost;
use serde_json::json;

use crate::probe::Switch;
use crate::support::{audited, clocked, end, of, plugin, records, script, settled, tuned, with};

#[tokio::test(flavor = "multi_thread")]
async fn another_plugin_is_asked_by_route_name_or_capability() {
    let acme = a2e_core::config::PluginConfig::new("acme", "tools", "test.Script");
    let config = with([
        plugin("caller", "Caller"),
        plugin("echo", "Echo"),
        script("one", "pool", "reply"),
        script("two", "inline", "reply"),
        acme,
    ]);
    let host = TestHost::start(config).await;
    let mut session = host.session();
    for (to, by) in [
        ("plugin one", "one"),
        ("plugin two", "two"),
        ("plugin acme", "acme"),
        ("capability tools", "acme"),
        ("capability tool", "acme"),
        ("capability test", "one"),
        ("plugin nobody", "unknown_type"),
        ("plugin echo", "unknown_type"),
        ("capability memory", "unknown_type"),
    ] {
        let body = json!({ "to": to, "wire_type": "script/first/req", "body": {} });
        let answer = session.call("caller/ask/req", body).await;
        if answer["type"] == "error" {
            assert_eq!(answer["code"], by, "{to}: {answer}");
        } else {
            assert_eq!(answer["reply"]["by"], by, "{to}");
        }
    }
    let body = json!({ "to": "plugin x", "wire_type": "nope", "body": {} });
    assert_eq!(session.call_error("caller/ask/req", body).await, "unknown_type");
    let body = json!({ "depth": 0, "echo": true });
    assert_eq!(session.call("caller/recurse/req", body).await["reply"], "deep");
    settled(&host).await;
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_other_answers_is_what_the_caller_gets() {
    let config = with([plugin("caller", "Caller"), script("s", "inline", "reply")]);
    let host = TestHost::start(config).await;
    let mut session = host.session();
    for (act, code) in [
        ("error tool_denied", "tool_denied"),
        ("pass unknown_tool", "unknown_tool"),
        ("panic", "internal_error"),
        ("nothing", "internal_error"),
        ("pool panic", "internal_error"),
        ("future error x", "x"),
        ("nan", "internal_error"),
    ] {
        let body = json!({ "to": "plugin s", "wire_type": "script/first/req", "body": { "acts": { "s": act } } });
        assert_eq!(session.call_error("caller/ask/req", body).await, code, "{act}");
    }
    let body = json!({ "to": "plugin s", "wire_type": "script/first/req", "body": { "acts": 5 } });
    assert_eq!(session.call_error("caller/ask/req", body).await, "schema_violation");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r66_requests_lead_to_requests_four_deep() {
    let host = TestHost::start(with([plugin("caller", "Caller")])).await;
    let mut session = host.session();
    for depth in 0..=4 {
        let reply = session.call("caller/recurse/req", json!({ "depth": depth })).await;
        assert_eq!(reply["depth"], depth);
    }
    for depth in [5, 6, 100_000] {
        let error = session.call("caller/recurse/req", json!({ "depth": depth })).await;
        assert_eq!(error["code"], "runtime_error", "{depth}");
        assert!(error["message"].as_str().unwrap().contains("4 deep"), "{error}");
    }
    settled(&host).await;
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_never_waits_for_what_its_own_ancestry_holds() {
    // One permit each, and one place in session and host: still nobody waits for himself.
    for (in_flight, in_host) in [(256, 4096), (1, 4096), (256, 1), (1, 1)] {
        let single = |plugin| tuned(plugin, |it| it.permits = Some(1));
        let mut config = with([single(plugin("caller", "Caller")), single(plugin("echo", "Echo"))]);
        config.limits.max_in_flight = in_flight;
        config.limits.max_in_flight_host = in_host;
        let host = TestHost::start(config).await;
        let mut session = host.session();
        let ids: Vec<String> = {
            let mut ids = Vec::new();
            for _ in 0..10 {
                let body = json!({ "depth": 3, "echo": true });
                ids.push(session.send("caller/recurse/req", body).await);
            }
            ids
        };
        for id in ids {
            assert_eq!(session.reply_to(&id).await["reply"], "deep", "{in_flight} {in_host}");
        }
        settled(&host).await;
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inner_requests_end_with_the_outer_one() {
    for run in ["future", "pool"] {
        let act = if run == "pool" { "watch" } else { "hang" };
        let (host, clock) =
            clocked(with([plugin("caller", "Caller"), script("s", run, act)])).await;
        let mut session = host.session();
        let noted = if run == "pool" { "cancelled" } else { "future dropped" };
        for how in ["cancel", "deadline", "gone"] {
            let switch = Switch::new();
            let body = json!({ "to": "plugin s", "wire_type": "script/never/req",
                "body": { "probe": switch.key() } });
            if how == "gone" {
                let mut leaving = host.session();
                leaving.send("caller/ask/req", body).await;
                switch.noted("s").await;
                drop(leaving);
                switch.noted(noted).await;
                continue;
            }
            let id = session.send("caller/ask/req", body).await;
            switch.noted("s").await;
            if how == "cancel" {
                session.send("cancel", json!({ "req_id": id })).await;
                assert_eq!(session.reply_to(&id).await["code"], "cancelled", "{run}");
            } else {
                // The inner type has no deadline; it has the caller's.
                clock.advance(Duration::from_secs(30));
                assert_eq!(session.reply_to(&id).await["code"], "timeout", "{run}");
            }
            switch.noted(noted).await;
        }
        settled(&host).await;
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_inner_requests_are_audited_under_the_same_session_and_correlation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let config = with([plugin("caller", "Caller"), script("s", "inline", "error x")]);
    let host = TestHost::start(audited(config, &path)).await;
    let mut session = host.session();
    let line = json!({ "type": "caller/ask/req", "id": "outer", "correlation_id": "c1", "to": "plugin s",
        "wire_type": "script/first/req", "body": {} });
    session.send_line(&line.to_string()).await;
    assert_eq!(session.reply_to("outer").await["code"], "x");
    // Both are in the file by the time that the outer answer is here.
    let found = records(&path);
    let kinds: Vec<_> = found.iter().map(|it| it["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["script/first/req", "caller/ask/req"]);
    assert_eq!(found[0]["session_id"], found[1]["session_id"]);
    assert_eq!(found[0]["correlation_id"], "c1");
    assert_eq!((&found[0]["plugin"], &found[1]["plugin"]), (&json!("s"), &json!("caller")));
    assert_ne!(found[0]["req_id"], "outer");
    assert_eq!(found[0]["output_bytes"], 0);
    assert_eq!(of(&host.executor().status(), "s").calls, 1);
    session.finish().await;
    end(host).await;
}

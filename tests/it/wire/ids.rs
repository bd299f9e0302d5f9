//! Request ids, repeats, and what one session sees of another (R40, R65).

use a2e_core::testing::TestHost;
use serde_json::json;

use crate::plugins::echo;
use crate::probe::Switch;
use crate::support::{
    counter, end, next, of, plugin, script, serves, settled, silent, tuned, with,
};

#[tokio::test(flavor = "multi_thread")]
async fn r40_a_byte_equal_repeat_in_flight_is_absorbed() {
    for run in ["pool", "blocking", "future"] {
        let host = TestHost::start(with([script("script", run, "hang")])).await;
        let switch = Switch::new();
        let mut session = host.session();
        let line = format!(r#"{{"type":"script/all/req","id":"r","probe":"{}"}}"#, switch.key());
        for _ in 0..4 {
            session.send_line(&line).await;
        }
        switch.entered(1).await;
        silent(&mut session).await;
        assert_eq!(counter(&host, "repeated"), 3, "{run}");
        switch.open();
        assert_eq!(next(&mut session).await["by"], "script");
        silent(&mut session).await;
        assert_eq!(switch.count(), 1, "{run}: it ran once");
        assert_eq!(of(&host.executor().status(), "script").calls, 1);
        // The id is free again.
        session.send_line(&line).await;
        assert_eq!(next(&mut session).await["req_id"], "r");
        assert_eq!(switch.count(), 2);
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r40_other_bytes_under_an_id_in_flight_are_a_duplicate() {
    let host =
        TestHost::start(with([script("script", "future", "hang"), plugin("echo", "Echo")])).await;
    let switch = Switch::new();
    let mut session = host.session();
    let line = |extra: &str| {
        format!(r#"{{"type":"script/all/req","id":"r","probe":"{}"{extra}}}"#, switch.key())
    };
    session.send_line(&line("")).await;
    switch.entered(1).await;
    for other in [
        line(" "),
        line(r#","x":1"#),
        r#"{"type":"echo/inline/req","id":"r"}"#.to_owned(),
        r#"{"type":"echo/pool/req","id":"\u0072"}"#.to_owned(),
    ] {
        session.send_line(&other).await;
        let refused = next(&mut session).await;
        assert_eq!(refused["code"], "duplicate_request", "{other}: {refused}");
        assert_eq!(refused["req_id"], "", "{other}");
        assert_eq!(refused["detail"]["id"], "r", "{other}");
        assert_eq!(refused["retryable"], false);
    }
    // A ping is answered under any id, and ends nothing at the host.
    session.send_line(r#"{"type":"ping","id":"r"}"#).await;
    assert_eq!(next(&mut session).await["type"], "pong");
    switch.open();
    let reply = next(&mut session).await;
    assert_eq!((&reply["req_id"], &reply["by"]), (&json!("r"), &json!("script")));
    assert_eq!(switch.count(), 1);
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r40_an_id_may_be_used_again_and_again() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let mut session = host.session();
    for round in 0..20 {
        for kind in echo::TYPES {
            let line = format!(r#"{{"type":"{kind}","id":"same","text":"{round}"}}"#);
            session.send_line(&line).await;
            let reply = next(&mut session).await;
            assert_eq!(
                (&reply["req_id"], &reply["text"]),
                (&json!("same"), &json!(round.to_string()))
            );
        }
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r40_an_id_is_free_as_soon_as_its_answer_is_read() {
    let acts = ["pool reply", "blocking reply", "future reply"];
    let host = TestHost::start(with([script("s", "inline", "reply")])).await;
    let mut session = host.session();
    for round in 0..300 {
        // So long that it leaves at once, not with a batch.
        let body = json!({ "type": "script/all/req", "id": "same", "pad": 8 * 1024, "n": round,
            "acts": { "s": acts[round % acts.len()] } });
        session.send_line(&body.to_string()).await;
        let reply = next(&mut session).await;
        assert_eq!(reply["by"], "s", "{round}: {}", reply["code"]);
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r40_ids_of_any_length_and_content_come_back_whole() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let mut session = host.session();
    for id in ["", " ", "\u{0}", "é\u{2028}\u{1f600}", "\"\\\n", &"x".repeat(100_000), "t1"] {
        for kind in echo::TYPES {
            let line = json!({ "type": kind, "id": id, "text": "t" }).to_string();
            session.send_line(&line).await;
            let reply = next(&mut session).await;
            assert_eq!((&reply["req_id"], &reply["text"]), (&json!(id), &json!("t")), "{kind}");
        }
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r65_sessions_share_no_ids_and_cannot_cancel_each_other() {
    let host = TestHost::start(with([script("script", "future", "hang")])).await;
    let switch = Switch::new();
    let (mut one, mut other) = (host.session(), host.session());
    let line = format!(r#"{{"type":"script/all/req","id":"same","probe":"{}"}}"#, switch.key());
    one.send_line(&line).await;
    other.send_line(&line).await;
    switch.entered(2).await;
    assert_eq!(counter(&host, "repeated"), 0);
    other.send("cancel", json!({ "req_id": "same" })).await;
    assert_eq!(next(&mut other).await["code"], "cancelled");
    // Once more: in its own session there is no such request now.
    other.send("cancel", json!({ "req_id": "same" })).await;
    serves(&mut other).await;
    assert_eq!(counter(&host, "unknown_cancels"), 1);
    silent(&mut one).await;
    switch.open();
    assert_eq!(next(&mut one).await["by"], "script");
    silent(&mut other).await;
    one.finish().await;
    other.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r65_the_state_of_a_plugin_is_the_session_s_own() {
    let host = TestHost::start(with([plugin("a", "Keeper")])).await;
    let (mut one, mut other) = (host.session(), host.session());
    for (session, add, of_session, total) in
        [(0, 1, 1, 1), (1, 10, 10, 11), (0, 1, 2, 12), (1, 10, 20, 22)]
    {
        let session = if session == 0 { &mut one } else { &mut other };
        let kept = session.call("keeper/add/req", json!({ "add": add })).await;
        assert_eq!((&kept["of_session"], &kept["total"]), (&json!(of_session), &json!(total)));
    }
    one.finish().await;
    let mut third = host.session();
    let kept = third.call("keeper/add/req", json!({})).await;
    assert_eq!((&kept["of_session"], &kept["total"]), (&json!(0), &json!(22)));
    third.finish().await;
    other.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r65_an_instance_per_session_shares_nothing() {
    let own = tuned(plugin("own", "Keeper"), |it| {
        it.scope = Some(a2e_core::plugin::PluginScope::Session);
    });
    let host = TestHost::start(with([own])).await;
    let (mut one, mut other) = (host.session(), host.session());
    for total in 1..4 {
        assert_eq!(one.call("keeper/add/req", json!({ "add": 1 })).await["total"], total);
        assert_eq!(other.call("keeper/add/req", json!({ "add": 7 })).await["total"], 7 * total);
    }
    one.finish().await;
    other.finish().await;
    settled(&host).await;
    let mut third = host.session();
    assert_eq!(third.call("keeper/add/req", json!({})).await["total"], 0);
    third.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r65_an_instance_of_a_session_ends_with_it() {
    let switch = Switch::new();
    let own = plugin("own", "Faulty").with_setting("probe", switch.key());
    let own = tuned(own, |it| it.scope = Some(a2e_core::plugin::PluginScope::Session));
    let host = TestHost::start(with([own])).await;
    let mut session = host.session();
    session.call("faulty/req", json!({})).await;
    session.call("faulty/req", json!({})).await;
    let builds = |journal: &[String]| journal.iter().filter(|it| *it == "build").count();
    assert_eq!(builds(&switch.journal()), 2, "one for the host's table, one for the session");
    session.finish().await;
    switch.noted("teardown").await;
    end(host).await;
}

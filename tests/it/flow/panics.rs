//! A panic is the plugin's own, wherever it happens (R30, R31).

use std::time::Duration;

use a2e_core::Executor;
use a2e_core::snapshot::MemoryStore;
use a2e_core::testing::TestHost;
use serde_json::json;

use crate::plugins::SECRET;
use crate::probe::Switch;
use crate::support::{audited, end, of, plugin, records, script, serves, settled, stop, with};

/// Every way in which a handler can be on its way when it panics.
const WAYS: &[(&str, &str)] = &[
    ("inline", "panic"),
    ("pool", "panic"),
    ("blocking", "panic"),
    ("future", "panic"),
    ("inline", "pool panic"),
    ("inline", "blocking panic"),
    ("inline", "future panic"),
];

#[tokio::test(flavor = "multi_thread")]
async fn r30_r31_a_panic_is_an_internal_error_without_its_text() {
    let folder = tempfile::tempdir().unwrap();
    for (run, act) in WAYS {
        let path = folder.path().join(format!("{run}-{act}"));
        let config = audited(with([script("script", run, act)]), &path);
        let host = TestHost::start(config).await;
        let mut session = host.session();
        for kind in ["script/all/req", "script/first/req", "script/merge/req", "script/heard"] {
            let answer = session.call(kind, json!({})).await;
            assert_eq!(answer["code"], "internal_error", "{run} {act} {kind}: {answer}");
            assert!(!answer.to_string().contains(SECRET), "{answer}");
            assert_eq!(answer["capability_name"], "test");
            assert_eq!(answer["retryable"], false);
        }
        let quiet = json!({ "acts": { "script": "reply" } });
        assert_eq!(session.call("script/all/req", quiet).await["by"], "script", "it serves on");
        assert_eq!(of(&host.executor().status(), "script").panics, 4, "{run} {act}");
        settled(&host).await;
        session.finish().await;
        end(host).await;
        let outcomes: Vec<_> = records(&path).iter().map(|it| it["outcome"].to_string()).collect();
        assert_eq!(outcomes, [r#""panic""#, r#""panic""#, r#""panic""#, r#""panic""#, r#""ok""#]);
        assert!(!std::fs::read_to_string(&path).unwrap().contains(SECRET));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r31_the_others_of_a_broadcast_still_run() {
    for (run, act) in WAYS {
        let config = with([script("bad", run, act), script("good", "pool", "reply")]);
        let host = TestHost::start(config).await;
        let mut session = host.session();
        for kind in
            ["script/all/req", "script/first/req", "script/merge/req", "script/merge_by/req"]
        {
            let answer = session.call(kind, json!({})).await;
            assert_eq!(answer["by"], "good", "{run} {act} {kind}: {answer}");
        }
        settled(&host).await;
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r31_a_panic_in_build_or_start_fails_that_plugin_alone() {
    for part in ["build", "start"] {
        for how in ["panic", "error"] {
            let bad =
                plugin("bad", "Faulty").with_setting("fails_in", part).with_setting("how", how);
            let host = TestHost::start(with([bad, plugin("echo", "Echo")])).await;
            let status = host.executor().status();
            let bad = of(&status, "bad");
            assert_eq!(format!("{:?}", bad.health), "Failed", "{part} {how}");
            let reason = bad.reason.unwrap();
            assert!(reason.contains(part), "{reason}");
            let mut session = host.session();
            assert_eq!(session.call_error("faulty/req", json!({})).await, "unknown_type");
            serves(&mut session).await;
            session.finish().await;
            end(host).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r31_a_panic_in_any_other_part_of_its_life_ends_nothing() {
    for part in ["session_ended", "save", "restore", "clear", "teardown", "drop"] {
        for how in ["panic", "error"] {
            let switch = Switch::new();
            let bad = plugin("bad", "Faulty")
                .with_setting("fails_in", part)
                .with_setting("how", how)
                .with_setting("probe", switch.key());
            let store = std::sync::Arc::new(MemoryStore::new());
            for _restored in 0..2 {
                let config = with([bad.clone(), plugin("keeper", "Keeper")]);
                let builder = Executor::builder(config).snapshot_store(store.clone());
                let host = TestHost::build(builder).await.unwrap();
                let mut session = host.session();
                let answer = session.call("faulty/req", json!({})).await;
                assert_eq!(answer["plugin"], "fine", "{part} {how}: {answer}");
                session.call("keeper/add/req", json!({ "add": 1 })).await;
                session.finish().await;
                let cleared = host.executor().clear_state(&"bad".into()).await;
                assert_eq!(cleared.is_err(), part == "clear", "{part} {how}");
                let saved = host.executor().save_state().await;
                assert_eq!(saved.is_err(), part == "save", "{part} {how}");
                end(host).await;
            }
            // What the others had was saved and restored twice.
            let config = with([plugin("keeper", "Keeper")]);
            let builder = Executor::builder(config).snapshot_store(store.clone());
            let host = TestHost::build(builder).await.unwrap();
            let mut session = host.session();
            let total = session.call("keeper/add/req", json!({})).await;
            assert_eq!(total["total"], 2, "{part} {how}");
            session.finish().await;
            end(host).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r31_state_of_a_session_that_panics_when_dropped_ends_nothing() {
    let host =
        TestHost::start(with([plugin("bad", "Faulty"), script("s", "future", "hang")])).await;
    for _ in 0..3 {
        let switch = Switch::new();
        let mut session = host.session();
        session.call("faulty/req", json!({ "state": "bomb" })).await;
        let id = session.send("script/soon/req", json!({ "probe": switch.key() })).await;
        // The watchdog knows the session by now, so it may be the last to let go of it.
        assert_eq!(session.reply_to(&id).await["code"], "timeout");
        session.send("script/soon/req", json!({ "probe": switch.key() })).await;
        drop(session);
        host.until("the end", |it| it.sessions == 0).await;
    }
    // The watchdog still works.
    let switch = Switch::new();
    let mut session = host.session();
    let answer = session.call("script/soon/req", json!({ "probe": switch.key() })).await;
    assert_eq!(answer["code"], "timeout");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r31_work_that_panics_when_it_is_dropped_undone_ends_nothing() {
    for act in ["pool bomb", "blocking bomb", "future bomb"] {
        let bad =
            crate::support::tuned(script("bad", "inline", "reply"), |it| it.permits = Some(1));
        let mut config = with([bad, plugin("echo", "Echo")]);
        config.limits.max_queue = 2;
        let host = TestHost::start(config).await;
        let mut session = host.session();
        for round in 0..3 {
            let switch = Switch::new();
            let hang = act.split(' ').next().unwrap().to_owned() + " hang";
            let body = |act: &str| json!({ "acts": { "bad": act }, "probe": switch.key() });
            let blocker = session.send("script/all/req", body(&hang)).await;
            switch.entered(1).await;
            // These wait for the permit, are cancelled, and are dropped by others' doings.
            for _ in 0..3 {
                let id = session.send("script/all/req", body(act)).await;
                session.send("cancel", json!({ "req_id": id })).await;
                assert_eq!(session.reply_to(&id).await["code"], "cancelled", "{act} {round}");
            }
            switch.open();
            assert_eq!(session.reply_to(&blocker).await["by"], "bad", "{act} {round}");
            settled(&host).await;
        }
        if act == "future bomb" {
            // It runs, and is dropped in the midst of it.
            for _ in 0..4 {
                let switch = Switch::new();
                let body = json!({ "acts": { "bad": act }, "probe": switch.key() });
                let id = session.send("script/all/req", body).await;
                switch.entered(1).await;
                session.send("cancel", json!({ "req_id": id })).await;
                assert_eq!(session.reply_to(&id).await["code"], "cancelled");
                settled(&host).await;
            }
        }
        assert_eq!(session.call("script/all/req", json!({})).await["by"], "bad", "{act}");
        serves(&mut session).await;
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r31_a_hook_that_panics_after_the_reply_ends_nothing() {
    let config = with([plugin("emitter", "Emitter"), script("script", "future", "hang")]);
    let host = TestHost::start(config).await;
    let mut session = host.session();
    for _ in 0..3 {
        let switch = Switch::new();
        let body = json!({ "probe": switch.key(), "hook": "panic" });
        assert_eq!(session.call("emit/late/req", body).await["type"], "emit/resp");
        switch.noted("hook true").await;
        serves(&mut session).await;
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r31_a_host_with_a_plugin_that_panics_when_dropped_can_be_dropped() {
    let bad = plugin("bad", "Faulty").with_setting("fails_in", "drop");
    let host = TestHost::start(with([bad])).await;
    let mut session = host.session();
    serves(&mut session).await;
    session.finish().await;
    host.until("the end", |it| it.sessions == 0).await;
    host.executor().shutdown(Duration::ZERO).await;
    stop(host).await;
}

//! A handler that hangs is given up, counted, and taken out of service when there are too many (R32).

use std::time::Duration;

use a2e_core::Executor;
use a2e_core::executor::PluginHealth;
use a2e_core::snapshot::{MemoryStore, SnapshotStore, State, StateKey};
use a2e_core::testing::{ManualClock, TestHost, TestSession};
use serde_json::{Value, json};

use crate::plugins::script::SOON;
use crate::probe::Switch;
use crate::support::{
    Carrier, PATIENCE, audited, clocked, counter, end, next, now, of, plugin, records, script,
    serves, settled, stdio_end, tuned, with,
};

/// How long a handler may go on after its request has ended, before its thread counts as stuck.
const GRACE: Duration = Duration::from_secs(1);

/// What a time-out may be late by; the rule says 100 ms, a busy test machine gets more.
const SLACK: Duration = Duration::from_millis(400);

/// Lets time go by until this many threads of `bad` count as stuck.
async fn given_up(host: &TestHost, clock: &ManualClock, stuck: usize) {
    let give_up = async {
        while of(&host.executor().status(), "bad").stuck != stuck {
            clock.advance(GRACE);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    tokio::time::timeout(PATIENCE, give_up).await.expect("they are given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn r32_a_hang_is_a_timeout_at_the_deadline() {
    for (run, act) in [
        ("pool", "hang"),
        ("blocking", "hang"),
        ("future", "hang"),
        ("inline", "pool hang"),
        ("inline", "blocking hang"),
        ("inline", "future hang"),
        // A future that blocks its thread cannot be dropped, but its caller is answered.
        ("future", "block"),
    ] {
        let host =
            TestHost::start(with([script("script", run, act), plugin("echo", "Echo")])).await;
        let switch = Switch::new();
        let mut session = host.session();
        let start = now();
        let answer = session.call("script/soon/req", json!({ "probe": switch.key() })).await;
        let took = start.elapsed();
        assert_eq!(answer["code"], "timeout", "{run} {act}: {answer}");
        assert_eq!(answer["retryable"], true);
        assert_eq!(answer["capability_name"], "test");
        assert!(took >= SOON && took < SOON + SLACK, "{run} {act}: {took:?}");
        serves(&mut session).await;
        assert_eq!(of(&host.executor().status(), "script").timeouts, 1, "{run} {act}");
        switch.open();
        settled(&host).await;
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r26_calls_that_were_quick_and_hang_now_hold_up_no_others() {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // This many calls are made, and this many of them come to hang.
    for (run, act, hangs) in [
        // As many as there are processors, and as many threads as there are but one.
        ("pool", "hang", [(processors.min(15), processors.min(15)), (15, 15)]),
        // As many as there are threads that poll futures, and more.
        ("future", "block", [(1, 1), (40, processors.max(2))]),
    ] {
        let host =
            TestHost::start(with([script("script", run, "reply"), plugin("echo", "Echo")])).await;
        let mut session = host.session();
        for _ in 0..50 {
            assert_eq!(session.call("script/all/req", json!({})).await["by"], "script");
            assert_eq!(session.call("echo/pool/req", json!({})).await["type"], "echo/resp");
        }
        let switch = Switch::new();
        let hang = json!({ "acts": { "script": act }, "probe": switch.key() });
        let mut made = 0;
        for (calls, hung) in hangs {
            for _ in made..calls {
                session.send("script/all/req", hang.clone()).await;
            }
            made = calls;
            switch.entered(hung).await;
            for _ in 0..3 {
                let start = now();
                assert_eq!(session.call("echo/pool/req", json!({})).await["type"], "echo/resp");
                let took = start.elapsed();
                assert!(took < Duration::from_secs(1), "{run}, {hung}: {took:?}");
            }
        }
        let count = switch.count();
        assert!(count <= 15, "{run}: {count} threads hang");
        switch.open();
        settled(&host).await;
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn futures_that_were_quick_and_wait_now_hold_up_no_thread() {
    let host =
        TestHost::start(with([script("script", "future", "reply"), plugin("echo", "Echo")])).await;
    let mut session = host.session();
    // More than the pool has threads.
    let many = 40;
    for request in ["script/all/req", "script/soon/req"] {
        for _ in 0..50 {
            assert_eq!(session.call("script/all/req", json!({})).await["by"], "script");
        }
        let switch = Switch::new();
        let wait = json!({ "acts": { "script": "hang" }, "probe": switch.key() });
        let mut ids = Vec::new();
        for _ in 0..many {
            ids.push(session.send(request, wait.clone()).await);
        }
        switch.entered(many).await;
        assert_eq!(session.call("echo/pool/req", json!({})).await["type"], "echo/resp");
        let is_late = request == "script/soon/req";
        if !is_late {
            switch.open();
        }
        for id in ids {
            let reply = session.reply_to(&id).await;
            let (field, expected) = if is_late { ("code", "timeout") } else { ("by", "script") };
            assert_eq!(reply[field], expected, "{reply}");
        }
        settled(&host).await;
        let dropped = switch.journal().iter().filter(|it| *it == "future dropped").count();
        assert_eq!(dropped, if is_late { many } else { 0 });
        assert_eq!(of(&host.executor().status(), "script").stuck, 0);
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r32_hung_threads_are_counted_and_at_the_cap_the_plugin_is_quarantined() {
    for run in ["pool", "blocking"] {
        let bad = tuned(script("bad", run, "hang"), |it| it.permits = Some(1));
        let (host, clock) = clocked(with([bad, plugin("echo", "Echo")])).await;
        let switch = Switch::new();
        let mut session = host.session();
        let body = json!({ "probe": switch.key() });
        for stuck in 1..=2 {
            let id = session.send("script/soon/req", body.clone()).await;
            switch.entered(stuck).await;
            clock.advance(SOON);
            assert_eq!(session.reply_to(&id).await["code"], "timeout", "{run}");
            given_up(&host, &clock, stuck).await;
            assert_eq!(of(&host.executor().status(), "bad").running, 0, "its permit is back");
        }
        let status = of(&host.executor().status(), "bad");
        assert_eq!(status.health, PluginHealth::Quarantined, "{run}");
        assert!(status.reason.unwrap().contains("hang"));
        for _ in 0..3 {
            // Without any time going by.
            let answer = session.call("script/soon/req", body.clone()).await;
            assert_eq!(answer["code"], "unavailable", "{run}: {answer}");
            assert_eq!(answer["retryable"], true);
        }
        assert_eq!(session.call("echo/pool/req", json!({ "text": "t" })).await["text"], "t");
        assert_eq!(counter(&host, "stuck_runs"), 2);
        switch.open();
        host.until("its recovery", |it| of(it, "bad").health == PluginHealth::Serving).await;
        settled(&host).await;
        let quick = json!({ "acts": { "bad": "reply" } });
        assert_eq!(session.call("script/soon/req", quick).await["by"], "bad", "{run}");
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r32_dropped_futures_never_count_as_hung() {
    let bad = tuned(script("bad", "future", "hang"), |it| it.permits = Some(1));
    let host = TestHost::start(with([bad])).await;
    let switch = Switch::new();
    let mut session = host.session();
    for _ in 0..4 {
        let answer = session.call("script/soon/req", json!({ "probe": switch.key() })).await;
        assert_eq!(answer["code"], "timeout");
        settled(&host).await;
    }
    assert_eq!(counter(&host, "stuck_runs"), 0);
    assert_eq!(switch.journal().iter().filter(|it| *it == "future dropped").count(), 4);
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r32_an_inline_hang_cuts_that_session_alone() {
    // With many sessions answers are sent together.
    for beside in [0, 40] {
        for carrier in [Carrier::Memory, Carrier::Socket, Carrier::Tcp] {
            one_of_the_sessions_hangs(carrier, beside).await;
        }
    }
}

async fn one_of_the_sessions_hangs(carrier: Carrier, beside: usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let config = with([script("bad", "inline", "hang"), plugin("echo", "Echo")]);
    let host = TestHost::start(audited(config, &path)).await;
    let switch = Switch::new();
    let (mut session, mut other) = (carrier.open(&host).await, host.session());
    let mut others: Vec<TestSession> = (0..beside).map(|_| host.session()).collect();
    for session in &mut others {
        serves(session).await;
    }
    let quick = session.call("echo/inline/req", json!({ "text": "before" })).await;
    assert_eq!(quick["text"], "before");
    let start = now();
    // In one read: an answer that waits for the batch, the hang, and a line that is never reached.
    let batch = format!(
        "{}\n{}\n{}\n",
        json!({ "type": "echo/inline/req", "id": "a", "text": "batched" }),
        json!({ "type": "script/soon/req", "id": "b", "probe": switch.key() }),
        json!({ "type": "ping", "id": "c" })
    );
    session.send_bytes(batch.as_bytes()).await;
    switch.entered(1).await;
    serves(&mut other).await;
    assert_eq!(next(&mut session).await["req_id"], "a", "it is not held back by the hang");
    let answer = next(&mut session).await;
    assert_eq!((&answer["req_id"], &answer["code"]), (&json!("b"), &json!("timeout")));
    assert!(start.elapsed() < SOON + SLACK, "{:?}", start.elapsed());
    assert!(session.next().await.is_none(), "the session is cut");
    assert_eq!(counter(&host, "hung_readers"), 1);
    serves(&mut other).await;
    for session in &mut others {
        serves(session).await;
    }
    switch.open();
    drop(session);
    other.finish().await;
    for session in others {
        session.finish().await;
    }
    end(host).await;
    let outcomes: Vec<Value> =
        records(&path).into_iter().map(|mut it| it["outcome"].take()).collect();
    assert_eq!(outcomes, ["ok", "ok", "timeout"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r32_an_inline_hang_on_stdio_ends_the_host() {
    let host = TestHost::start(with([script("bad", "inline", "hang")])).await;
    let switch = Switch::new();
    let mut session = TestSession::over(stdio_end(&host));
    let answer = session.call("script/soon/req", json!({ "probe": switch.key() })).await;
    assert_eq!(answer["code"], "timeout");
    let failed = tokio::time::timeout(SLACK * 4, host.executor().failed()).await.unwrap();
    assert!(failed.contains("hangs"), "{failed}");
    switch.open();
    drop(session);
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r32_a_pool_of_which_half_hangs_is_replaced() {
    let mut config = with([script("bad", "pool", "hang"), plugin("echo", "Echo")]);
    config.limits.max_workers = 4;
    let (host, clock) = clocked(config).await;
    let switch = Switch::new();
    let mut session = host.session();
    for replacement in 1..=2_usize {
        // All four hang at once, so that without a new pool nothing could run.
        for _ in 0..4 {
            session.send("script/soon/req", json!({ "probe": switch.key() })).await;
        }
        switch.entered(4 * replacement).await;
        let waiting = session.send("echo/pool/req", json!({ "text": "t" })).await;
        clock.advance(SOON);
        for _ in 0..4 {
            assert_eq!(next(&mut session).await["code"], "timeout");
        }
        given_up(&host, &clock, 4 * replacement).await;
        assert_eq!(session.reply_to(&waiting).await["text"], "t", "it is not stuck behind them");
        // The last two of the old pool are not laid to the new one.
        let replacements = counter(&host, "pool_replacements");
        assert_eq!(replacements, replacement as u64);
        if replacement == 2 {
            break;
        }
        let fresh = session.call("echo/pool/req", json!({ "text": "fresh" })).await;
        assert_eq!(fresh["text"], "fresh");
    }
    assert!(!host.executor().status().is_degraded, "two replacements are no failure yet");
    switch.open();
    settled(&host).await;
    assert_eq!(session.call("echo/pool/req", json!({ "text": "t" })).await["text"], "t");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r32_a_hung_plugin_does_not_slow_others() {
    let host = TestHost::start(with([script("bad", "pool", "hang"), plugin("echo", "Echo")])).await;
    let switch = Switch::new();
    let (mut stuck, mut session) = (host.session(), host.session());
    for _ in 0..4 {
        stuck.send("script/never/req", json!({ "probe": switch.key() })).await;
    }
    switch.entered(4).await;
    for kind in crate::plugins::echo::TYPES {
        let start = now();
        assert_eq!(session.call(kind, json!({ "text": "t" })).await["text"], "t", "{kind}");
        assert!(start.elapsed() < SLACK, "{kind} {:?}", start.elapsed());
    }
    switch.open();
    assert_eq!(stuck.finish().await.len(), 4);
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r31_r32_a_plugin_that_hangs_in_its_life_is_gone_on_without() {
    let limit = Duration::from_millis(100);
    for part in ["build", "start", "restore", "session_ended", "save", "clear", "teardown"] {
        let switch = Switch::new();
        let bad = plugin("bad", "Faulty")
            .with_setting("fails_in", part)
            .with_setting("how", "hang")
            .with_setting("probe", switch.key());
        let store = std::sync::Arc::new(MemoryStore::new());
        let state = State::json(1, &1).unwrap();
        store.save(&StateKey::new("bad", "state", None), &state).unwrap();
        let builder = Executor::builder(with([bad, plugin("keeper", "Keeper")]))
            .snapshot_store(store.clone())
            .plugin_limit(limit);
        let start = now();
        let host = TestHost::build(builder).await.unwrap();
        let status = of(&host.executor().status(), "bad");
        let is_failed = ["build", "start"].contains(&part);
        assert_eq!(status.health == PluginHealth::Failed, is_failed, "{part}: {status:?}");
        if is_failed {
            assert!(status.reason.unwrap().contains("longer than 0.1 s"), "{part}");
        }
        let mut session = host.session();
        serves(&mut session).await;
        assert_eq!(session.call("keeper/add/req", json!({ "add": 1 })).await["total"], 1);
        session.finish().await;
        // A save that hangs may have begun at the end of the session; nothing overtakes it.
        let cleared = host.executor().clear_state(&"bad".into()).await;
        assert!(part == "save" || cleared.is_err() == ["clear", "build"].contains(&part), "{part}");
        // A save does not overtake what still hangs in the plugin's saved state.
        let is_held_up = ["save", "clear"].contains(&part);
        assert_eq!(host.executor().save_state().await.is_err(), is_held_up, "{part}");
        host.executor().shutdown(Duration::ZERO).await;
        assert!(start.elapsed() < Duration::from_secs(2), "{part}: {:?}", start.elapsed());
        assert_eq!(
            store.keys(None).unwrap().iter().filter(|it| it.plugin.as_str() == "keeper").count(),
            1,
            "{part}: the other's state is saved"
        );
        switch.open();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r32_a_deadline_shorter_than_a_tick_is_no_hang() {
    let host =
        TestHost::start(with([plugin("echo", "Echo"), script("script", "inline", "reply")])).await;
    let mut session = host.session();
    for _ in 0..2_000 {
        // Not a number of seconds that any work fits into; the session must survive it.
        let answer = session.call("script/timed/req", json!({ "timeout": 0.000_001 })).await;
        assert!(answer["code"] == "timeout" || answer["by"] == "script", "{answer}");
    }
    serves(&mut session).await;
    assert_eq!(counter(&host, "hung_readers"), 0);
    session.finish().await;
    end(host).await;
}

//! A plugin that fails too often rests (R33), is built anew, or is taken out of service (R31).

use std::sync::Arc;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::executor::PluginHealth;
use a2e_core::protocol::PluginName;
use a2e_core::snapshot::MemoryStore;
use a2e_core::testing::{ManualClock, TestHost, TestSession};
use serde_json::{Value, json};

use crate::support::{clocked, end, of, script, tuned, with};

async fn act(session: &mut TestSession, act: &str) -> Value {
    session.call("script/first/req", json!({ "acts": { "s": act } })).await
}

/// A crash of what stands behind the plugin counts as a failure; it is not a panic, so nothing is
/// built anew.
const CRASH: &str = "error sandbox_crash";

#[tokio::test(flavor = "multi_thread")]
async fn r33_five_failures_in_a_row_give_a_rest_and_a_probe_ends_it() {
    for run in ["inline", "pool", "blocking", "future"] {
        let (host, clock) = clocked(with([script("s", run, "reply")])).await;
        let mut session = host.session();
        for _ in 0..4 {
            assert_eq!(act(&mut session, CRASH).await["code"], "sandbox_crash", "{run}");
        }
        assert_eq!(act(&mut session, "reply").await["by"], "s", "four are not enough");
        for _ in 0..5 {
            act(&mut session, CRASH).await;
        }
        let refused = act(&mut session, "reply").await;
        assert_eq!(refused["code"], "unavailable", "{run} {refused}");
        assert_eq!(refused["retryable"], true);
        assert_eq!(refused["detail"]["retry_after_ms"], 1000);
        let status = of(&host.executor().status(), "s");
        assert_eq!((status.health, status.breaker.as_str()), (PluginHealth::Resting, "open"));
        // A failed probe doubles the wait.
        clock.advance(Duration::from_secs(1));
        assert_eq!(act(&mut session, CRASH).await["code"], "sandbox_crash");
        clock.advance(Duration::from_secs(1));
        assert_eq!(act(&mut session, "reply").await["code"], "unavailable");
        clock.advance(Duration::from_secs(1));
        assert_eq!(act(&mut session, "reply").await["by"], "s");
        let status = of(&host.executor().status(), "s");
        assert_eq!((status.breaker.as_str(), status.breaker_opened), ("closed", 2), "{run}");
        assert_eq!(status.health, PluginHealth::Serving);
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r33_errors_that_are_returned_open_nothing() {
    let (host, _clock) = clocked(with([script("s", "inline", "reply")])).await;
    let mut session = host.session();
    for code in ["runtime_error", "internal_error", "timeout", "overloaded"] {
        for _ in 0..10 {
            assert_eq!(act(&mut session, &format!("error {code}")).await["code"], code);
        }
    }
    assert_eq!(of(&host.executor().status(), "s").breaker, "closed");
    session.finish().await;
    end(host).await;
}

/// `script/timed/req` takes its limit from the field `timeout`, so a sender can make it shorter.
#[tokio::test(flavor = "multi_thread")]
async fn r33_only_time_outs_at_the_own_deadline_of_a_type_count() {
    for (timeout, opens) in [(json!(0.5), false), (json!(null), true)] {
        let switch = crate::probe::Switch::new();
        let (host, clock) = clocked(with([script("s", "future", "hang")])).await;
        let mut session = host.session();
        for call in 1..=5 {
            let mut body = json!({ "probe": switch.key() });
            if !timeout.is_null() {
                body["timeout"] = timeout.clone();
            }
            let id = session.send("script/timed/req", body).await;
            switch.entered(call).await;
            clock.advance(Duration::from_mins(11));
            assert_eq!(session.reply_to(&id).await["code"], "timeout");
            host.until("a permit that is back", |it| of(it, "s").running == 0).await;
        }
        let breaker = of(&host.executor().status(), "s").breaker;
        assert_eq!(breaker == "open", opens, "timeout: {timeout}");
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r33_the_next_plugin_is_asked_while_one_rests() {
    let first = tuned(script("s", "inline", "reply"), |it| it.priority = Some(9));
    let (host, _clock) = clocked(with([first, script("spare", "inline", "reply")])).await;
    let mut session = host.session();
    for _ in 0..5 {
        act(&mut session, CRASH).await;
    }
    assert_eq!(act(&mut session, "reply").await["by"], "spare");
    let told = host.executor().explain("script/first/req");
    assert!(told.left_out[0].reason.contains("breaker is open"), "{told:?}");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r31_three_panics_rebuild_three_more_quarantine_and_an_operator_brings_it_back() {
    for run in ["inline", "pool", "blocking", "future"] {
        let host = TestHost::start(with([script("s", run, "reply")])).await;
        let mut session = host.session();
        for _ in 0..3 {
            assert_eq!(act(&mut session, "panic").await["code"], "internal_error");
        }
        // What comes meanwhile waits, and is served by the new instance.
        assert_eq!(act(&mut session, "reply").await["by"], "s", "{run}");
        host.until("a rebuilt plugin", |it| of(it, "s").rebuilds == 1).await;
        for _ in 0..3 {
            assert_eq!(act(&mut session, "panic").await["code"], "internal_error");
        }
        assert_eq!(act(&mut session, "reply").await["code"], "unavailable", "{run}");
        let status = of(&host.executor().status(), "s");
        assert_eq!(status.health, PluginHealth::Quarantined, "{status:?}");
        assert!(status.reason.unwrap().contains("panicked three times"));
        let report = host.executor().rebuild(&[PluginName::from("s")]).await.unwrap();
        assert_eq!(report.rebuilt, ["s"]);
        assert_eq!(act(&mut session, "reply").await["by"], "s");
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r31_a_rebuilt_plugin_has_the_state_of_the_last_snapshot() {
    let clock = ManualClock::new();
    let keeper = crate::support::plugin("keeper", "Keeper");
    let builder = Executor::builder(with([keeper]))
        .clock(clock.clone())
        .snapshot_store(Arc::new(MemoryStore::new()));
    let host = TestHost::build(builder).await.unwrap();
    let mut session = host.session();
    session.call("keeper/add/req", json!({ "add": 7 })).await;
    host.executor().save_state().await.unwrap();
    session.call("keeper/add/req", json!({ "add": 100 })).await;
    let reply = session.call("keeper/add/req", json!({ "suspect": true })).await;
    assert_eq!(reply["total"], 107);
    host.until("a rebuilt plugin", |it| of(it, "keeper").rebuilds == 1).await;
    let reply = session.call("keeper/add/req", json!({ "add": 1 })).await;
    assert_eq!(reply["total"], 8, "what came after the snapshot is not trusted");
    // The second time within ten minutes it is taken out of service, later it is built again.
    session.call("keeper/add/req", json!({ "suspect": true })).await;
    assert_eq!(session.call_error("keeper/add/req", json!({})).await, "unavailable");
    host.executor().rebuild(&[PluginName::from("keeper")]).await.unwrap();
    clock.advance(Duration::from_mins(11));
    session.call("keeper/add/req", json!({ "suspect": true })).await;
    host.until("a plugin that was rebuilt again", |it| of(it, "keeper").rebuilds == 3).await;
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r31_a_plugin_that_cannot_be_built_anew_fails_and_the_host_serves_on() {
    let probe = crate::probe::Switch::new();
    let fragile = crate::support::plugin("f", "Faulty").with_setting("probe", probe.key());
    let host = TestHost::start(with([fragile, script("s", "pool", "reply")])).await;
    let mut session = host.session();
    probe.note("break the next build");
    for _ in 0..3 {
        session.call("faulty/req", json!({ "state": "panic" })).await;
    }
    host.until("a failed plugin", |it| of(it, "f").health == PluginHealth::Failed).await;
    let reason = of(&host.executor().status(), "f").reason.unwrap();
    assert!(reason.contains("could not be built anew"), "{reason}");
    assert_eq!(session.call_error("faulty/req", json!({})).await, "unavailable");
    assert_eq!(act(&mut session, "reply").await["by"], "s");
    session.finish().await;
    end(host).await;
}

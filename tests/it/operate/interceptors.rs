//! Interceptors see, change and refuse requests of others; they are told every answer.

use std::time::Duration;

use a2e_core::config::PluginConfig;
use a2e_core::testing::TestHost;
use serde_json::{Value, json};

use crate::plugins::SECRET;
use crate::probe::Switch;
use crate::support::{audited, clocked, end, of, plugin, records_of, script, with};

fn keeper(name: &str, pattern: &str, act: &str, switch: &Switch) -> PluginConfig {
    plugin(name, "Gatekeeper")
        .with_setting("pattern", pattern)
        .with_setting("act", act)
        .with_setting("probe", switch.key())
}

/// What an echo through the interceptors of these acts answers: the text, or the code of an error.
async fn outcome(acts: &[&str], door: &str) -> String {
    let switch = Switch::new();
    let mut plugins = vec![plugin("echo", "Echo")];
    for (number, act) in acts.iter().enumerate() {
        plugins.push(keeper(&format!("g{number}"), "echo/*", act, &switch));
    }
    let host = TestHost::start(with(plugins)).await;
    let mut session = host.session();
    let reply = session.call(door, json!({ "text": "hi" })).await;
    assert!(!reply.to_string().contains(SECRET), "{reply}");
    session.finish().await;
    end(host).await;
    let said = if reply["type"] == "error" { &reply["code"] } else { &reply["text"] };
    said.as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn before_continues_modifies_cancels_or_decides_later() {
    let cases: [(&[&str], &str); 13] = [
        (&[], "hi"),
        (&["continue"], "hi"),
        (&["modify"], "hi+g0"),
        (&["modify", "modify"], "hi+g0+g1"),
        (&["cancel"], "tool_denied"),
        (&["cancel", "panic"], "tool_denied"),
        (&["panic"], "internal_error"),
        (&["bad modify"], "internal_error"),
        (&["double modify"], "internal_error"),
        (&["later continue", "modify"], "hi+g1"),
        (&["later modify", "later modify", "continue"], "hi+g0+g1"),
        (&["later cancel"], "tool_denied"),
        (&["later panic"], "internal_error"),
    ];
    for door in ["echo/inline/req", "echo/pool/req", "echo/future/req", "echo/dynamic/req"] {
        for (acts, expected) in cases {
            assert_eq!(outcome(acts, door).await, expected, "{door} {acts:?}");
        }
    }
    assert_eq!(outcome(&["later later continue"], "echo/inline/req").await, "internal_error");
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_asked_by_priority_and_told_in_reverse() {
    let switch = Switch::new();
    let ranked = |name: &str, rank: i64| {
        keeper(name, "echo/inline/*", "continue", &switch).with_setting("rank", rank)
    };
    let plugins = [
        plugin("echo", "Echo"),
        ranked("low", -5),
        ranked("first", 0),
        ranked("second", 0),
        ranked("high", 9),
    ];
    let host = TestHost::start(with(plugins)).await;
    let mut session = host.session();
    session.call("echo/inline/req", json!({ "text": "x" })).await;
    // Another type is not theirs.
    session.call("echo/pool/req", json!({ "text": "x" })).await;
    let seen: Vec<String> = switch.journal();
    let names: Vec<&str> = seen.iter().filter_map(|it| it.split(' ').next()).collect();
    assert_eq!(
        names,
        ["high", "first", "second", "low", "low", "second", "first", "high"],
        "{seen:?}"
    );
    assert!(seen[7].contains(r#"after t1 echo/resp "text":"x""#), "{seen:?}");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_is_told_of_errors_and_of_calls_that_end_early() {
    let switch = Switch::new();
    let watch = keeper("watch", "script/*", "continue", &switch);
    let host = TestHost::start(with([script("s", "pool", "hang"), watch])).await;
    let mut session = host.session();
    let fails = json!({ "acts": { "s": "error out_of_memory" } });
    assert_eq!(session.call_error("script/first/req", fails).await, "out_of_memory");
    let running = session.send("script/first/req", json!({ "probe": switch.key() })).await;
    switch.entered(1).await;
    session.send_line(&json!({ "type": "cancel", "req_id": running }).to_string()).await;
    assert_eq!(session.reply_to(&running).await["code"], "cancelled");
    switch.noted("watch after t2 cancelled").await;
    switch.open();
    assert!(switch.journal().contains(&"watch after t1 out_of_memory".to_owned()));
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r30_a_panic_after_the_answer_changes_nothing() {
    let switch = Switch::new();
    let plugins = [plugin("echo", "Echo"), keeper("bad", "*", "panic after", &switch)];
    // `panic after` is no act of `before`: it panics there, too, for all but the echo.
    let host = TestHost::start(with(plugins)).await;
    let mut session = host.session();
    assert_eq!(session.call_error("echo/inline/req", json!({})).await, "internal_error");
    assert_eq!(
        session.call("ping", json!({})).await["type"],
        "pong",
        "core types are the kernel's"
    );
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interceptor_that_never_decides_ends_at_the_deadline() {
    let switch = Switch::new();
    let plugins = [plugin("echo", "Echo"), keeper("slow", "echo/*", "never", &switch)];
    let (host, clock) = clocked(with(plugins)).await;
    let mut session = host.session();
    let id = session.send("echo/inline/req", json!({})).await;
    host.until("a call that waits", |it| of(it, "slow").running == 1).await;
    clock.advance(Duration::from_secs(31));
    assert_eq!(session.reply_to(&id).await["code"], "timeout");
    host.until("permits are back", |it| of(it, "slow").running == 0).await;
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r40_a_repeat_of_a_modified_request_is_still_a_repeat() {
    let switch = Switch::new();
    let plugins = [script("s", "pool", "hang"), keeper("m", "script/*", "modify", &switch)];
    let host = TestHost::start(with(plugins)).await;
    let mut session = host.session();
    // The changed message has no `probe`, so the handler does not hang; hold it with the plugin.
    let line =
        json!({ "type": "script/first/req", "id": "same", "probe": switch.key() }).to_string();
    session.send_line(&format!("{line}\n{line}")).await;
    let first = session.reply_to("same").await;
    assert_eq!(first["by"], "s", "{first}");
    let rest: Vec<Value> = session.finish().await;
    // Absorbed while the first was in flight, or served after it: never refused.
    assert!(rest.iter().all(|it| it["type"] == "script/resp"), "{rest:?}");
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_names_who_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let (path, switch) = (folder.path().join("audit"), Switch::new());
    let plugins = [plugin("echo", "Echo"), keeper("guard", "echo/*", "cancel", &switch)];
    let host = TestHost::start(audited(with(plugins), &path)).await;
    let mut session = host.session();
    session.call("echo/inline/req", json!({})).await;
    session.finish().await;
    end(host).await;
    let records = records_of(&path, "t1");
    assert_eq!(records.len(), 1);
    assert_eq!(
        (&records[0]["plugin"], &records[0]["error_code"]),
        (&json!("guard"), &json!("tool_denied"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_is_refused_and_a_reload_swaps_interceptors() {
    let switch = Switch::new();
    let guard = |name: &str, act: &str| {
        keeper(name, "echo/*", act, &switch).with_setting("called", "the guard")
    };
    let echo = || plugin("echo", "Echo");
    let host = TestHost::start(with([echo(), guard("a", "cancel"), guard("b", "modify")])).await;
    let reason = of(&host.executor().status(), "b").reason.unwrap();
    assert!(reason.contains("`the guard` is already contributed by `a`"), "{reason}");
    let mut session = host.session();
    assert_eq!(session.call_error("echo/inline/req", json!({})).await, "tool_denied");
    // Changed: the new instance takes the name over.
    host.executor().reload(with([echo(), guard("a", "modify")])).await.unwrap();
    let reply = session.call("echo/inline/req", json!({ "text": "x" })).await;
    assert_eq!(reply["text"], "x+a");
    let told = host.executor().explain("echo/inline/req");
    assert_eq!(told.interceptors.len(), 1);
    assert_eq!(
        (told.interceptors[0].name.as_str(), told.interceptors[0].plugin.as_str()),
        ("the guard", "a")
    );
    // Removed: it intercepts no more.
    host.executor().reload(with([echo()])).await.unwrap();
    assert_eq!(session.call("echo/inline/req", json!({ "text": "x" })).await["text"], "x");
    session.finish().await;
    end(host).await;
}

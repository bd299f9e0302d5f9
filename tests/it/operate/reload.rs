//! A reload changes what the new configuration changes, and nothing else.

use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::PluginConfig;
use a2e_core::executor::{PluginHealth, ReloadReport};
use a2e_core::snapshot::MemoryStore;
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};

use crate::probe::Switch;
use crate::support::{counter, end, of, plugin, script, serves, settled, tuned, with};

async fn reload(host: &TestHost, plugins: impl IntoIterator<Item = PluginConfig>) -> ReloadReport {
    host.executor().reload(with(plugins)).await.unwrap()
}

async fn add(session: &mut TestSession, n: i64) -> Value {
    let reply = session.call("keeper/add/req", json!({ "add": n })).await;
    assert_eq!(reply["type"], "keeper/resp", "{reply}");
    reply
}

fn noted(note: &str) -> PluginConfig {
    plugin("keeper", "Keeper").with_setting("note", note)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_plugin_is_kept_adjusted_rebuilt_added_or_removed() {
    let host = TestHost::start(with([
        plugin("kept", "Echo"),
        noted("one"),
        script("gone", "inline", "reply"),
        script("moved", "inline", "reply").with_setting("own_type", "moved/req"),
    ]))
    .await;
    let mut session = host.session();
    assert_eq!(add(&mut session, 5).await["total"], 5);
    let first = host.executor().status().generation;
    let report = reload(
        &host,
        [
            plugin("kept", "Echo"),
            noted("two"),
            tuned(script("moved", "inline", "reply").with_setting("own_type", "moved/req"), |it| {
                it.priority = Some(7);
            }),
            script("new", "pool", "reply"),
        ],
    )
    .await;
    assert!(report.ok && report.problems.is_empty());
    assert_eq!(report.generation, first + 1);
    assert_eq!(
        [&report.kept, &report.rebuilt, &report.adjusted, &report.added, &report.removed],
        [&["kept"], &["keeper"], &["moved"], &["new"], &["gone"]].map(|it: &[&str; 1]| it)
    );
    serves(&mut session).await;
    let kept = add(&mut session, 1).await;
    assert_eq!(kept["total"], 6, "the state was handed over");
    assert_eq!(session.call("script/first/req", json!({})).await["by"], "moved", "by priority");
    let status = host.executor().status();
    assert_eq!((of(&status, "moved").priority, of(&status, "keeper").rebuilds), (7, 1));
    host.until("old instances that are gone", |it| it.retiring.is_empty()).await;
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_fails_changes_nothing_and_says_why() {
    let faulty = |part: &str| {
        plugin("new", "Faulty").with_setting("fails_in", part).with_setting("how", "error")
    };
    let clash = script("new", "inline", "reply").with_setting("own_type", "keeper/add/req");
    let cases: Vec<(Vec<PluginConfig>, &str, &str)> = vec![
        (vec![noted("bad")], "keeper", "a note may not be bad"),
        (vec![noted("one"), faulty("build")], "new", "fails in build"),
        (vec![noted("two"), faulty("start")], "new", "fails in start"),
        (vec![noted("two"), PluginConfig::new("new", "test", "test.Ecko")], "new", "test.Echo"),
        (vec![noted("two"), clash], "new", "keeper/add/req"),
        (vec![noted("two"), noted("three")], "keeper", "taken"),
        (vec![noted("two").with_setting("refuses", "newer")], "keeper", "newer than what is known"),
        (vec![noted("two").with_setting("note", 5)], "keeper", "note"),
    ];
    let host = TestHost::start(with([noted("one"), plugin("echo", "Echo")])).await;
    let mut session = host.session();
    add(&mut session, 3).await;
    let before = host.executor().status();
    for (plugins, name, text) in cases {
        let refused = host.executor().reload(with(plugins)).await.unwrap_err();
        let problems = refused.problems();
        let told = problems
            .iter()
            .any(|it| it.plugin.as_deref() == Some(name) && it.message.contains(text));
        assert!(told, "{name} {text}: {problems:?}");
        let after = host.executor().status();
        assert_eq!(after.generation, before.generation, "{text}");
        assert_eq!(after.plugins.len(), 2, "{text}");
        assert_eq!(of(&after, "keeper").health, PluginHealth::Serving, "{text}");
        assert_eq!(add(&mut session, 0).await["total"], 3, "{text}");
        serves(&mut session).await;
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_of_a_reload_is_told_at_once() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let bad = |n: u32| PluginConfig::new(format!("bad{n}"), "test", format!("no.Such{n}"));
    let refused = host.executor().reload(with((0..10).map(bad))).await.unwrap_err();
    let problems = refused.problems();
    assert_eq!(problems.len(), 10, "{problems:?}");
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_end_on_the_instance_that_they_began_on() {
    for (run, act) in
        [("pool", "hang"), ("blocking", "hang"), ("future", "hang"), ("inline", "pool hang")]
    {
        let host = TestHost::start(with([script("s", run, act), plugin("echo", "Echo")])).await;
        let (switch, mut session) = (Switch::new(), host.session());
        let held = json!({ "probe": switch.key() });
        let running = session.send("script/first/req", held).await;
        switch.entered(1).await;
        // Removed while it runs.
        reload(&host, [plugin("echo", "Echo")]).await;
        assert_eq!(session.call_error("script/first/req", json!({})).await, "unknown_type");
        assert_eq!(host.executor().status().retiring, ["s"], "{run} {act}");
        switch.open();
        assert_eq!(session.reply_to(&running).await["by"], "s", "{run} {act}");
        host.until("the old instance is gone", |it| it.retiring.is_empty()).await;
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_long_does_not_hold_up_its_successor_for_ever() {
    let host = TestHost::start(with([script("s", "pool", "hang")])).await;
    let (switch, mut session) = (Switch::new(), host.session());
    let running = session.send("script/first/req", json!({ "probe": switch.key() })).await;
    switch.entered(1).await;
    // The hand-over waits two seconds for it, then goes on; what is asked meanwhile waits, too.
    let reloading = reload(&host, [script("s", "inline", "reply")]);
    let (report, waited) = tokio::join!(reloading, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        session.call("script/first/req", json!({})).await
    });
    assert_eq!((&report.rebuilt[..], &waited["by"]), (&["s".to_owned()][..], &json!("s")));
    switch.open();
    assert_eq!(session.reply_to(&running).await["by"], "s");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_removed_finds_its_state_when_it_comes_back() {
    let store = MemoryStore::new();
    let builder =
        Executor::builder(with([noted("one")])).snapshot_store(std::sync::Arc::new(store));
    let host = TestHost::build(builder).await.unwrap();
    let mut session = host.session();
    add(&mut session, 4).await;
    reload(&host, []).await;
    host.until("the instance is gone", |it| it.retiring.is_empty()).await;
    assert_eq!(session.call_error("keeper/add/req", json!({})).await, "unknown_type");
    reload(&host, [noted("one")]).await;
    assert_eq!(add(&mut session, 1).await["total"], 5);
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_failed_before_does_not_keep_a_reload_from_happening() {
    let bad = PluginConfig::new("bad", "test", "test.NoSuch");
    let host = TestHost::start(with([bad.clone(), plugin("echo", "Echo")])).await;
    let report = reload(&host, [bad, plugin("echo", "Echo"), noted("one")]).await;
    assert_eq!(
        (&report.failed[..], &report.added[..]),
        (&["bad".into()][..], &["keeper".into()][..])
    );
    assert_eq!(of(&host.executor().status(), "bad").health, PluginHealth::Failed);
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn enabled_false_removes_and_true_brings_back() {
    let off = tuned(noted("one"), |it| it.enabled = false);
    let host = TestHost::start(with([noted("one")])).await;
    let report = reload(&host, [off.clone()]).await;
    assert_eq!(report.removed, ["keeper"]);
    assert_eq!(of(&host.executor().status(), "keeper").health, PluginHealth::Disabled);
    assert_eq!(reload(&host, [off]).await.removed, [""; 0], "nothing more to do");
    assert_eq!(reload(&host, [noted("one")]).await.added, ["keeper"]);
    assert_eq!(of(&host.executor().status(), "keeper").health, PluginHealth::Serving);
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reload_cannot_change_is_named() {
    let mut config = with([plugin("echo", "Echo")]);
    let host = TestHost::start(config.clone()).await;
    config.limits.max_queue = 5;
    config.auth_token = Some(a2e_core::config::Secret::new("0123456789abcdef0123456789abcdef"));
    let report = host.executor().reload(config).await.unwrap();
    assert_eq!(report.needs_restart, ["auth_token", "global_limits"]);
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_use_a_capability_are_told_that_its_plugins_changed() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let (mut user, mut other) = (host.session(), host.session());
    user.handshake(&["test"]).await;
    other.handshake(&["tools"]).await;
    reload(&host, [plugin("echo", "Echo"), noted("one")]).await;
    let push = user.next().await.unwrap();
    assert_eq!(push["type"], "keeper/changed/push");
    assert!(push["generation"].as_u64().unwrap() > 0, "{push}");
    // A reload that changes nothing tells nobody.
    reload(&host, [plugin("echo", "Echo"), noted("one")]).await;
    assert_eq!(user.finish().await, [json!(null); 0]);
    assert_eq!(other.finish().await, [json!(null); 0]);
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_reloads_is_bounded_and_each_is_answered() {
    let host = TestHost::start(with([noted("0"), plugin("echo", "Echo")])).await;
    let mut session = host.session();
    add(&mut session, 2).await;
    let storm = (0..40).map(|n| {
        let plugins = [noted(&n.to_string()), plugin("echo", "Echo")];
        host.executor().reload(with(plugins))
    });
    let results = futures_of(storm).await;
    let done = results.iter().filter(|it| it.is_ok()).count();
    let busy = results.iter().filter_map(|it| it.as_ref().err());
    assert!(busy.clone().all(|it| it.to_string().contains("too many reloads")), "{results:?}");
    assert!(done >= 8 && done + busy.count() == 40, "{results:?}");
    assert_eq!(add(&mut session, 1).await["total"], 3);
    settled(&host).await;
    session.finish().await;
    end(host).await;
}

async fn futures_of<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = all.map(Box::pin).collect();
    let mut results: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        let mut is_done = true;
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(value) => *result = Some(value),
                    std::task::Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    results.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_sessions_keep_their_state_over_a_rebuild() {
    let of_session = |note: &str| {
        tuned(noted(note), |it| {
            it.scope = Some(a2e_core::config::PluginScope::Session);
        })
    };
    let host = TestHost::start(with([of_session("one")])).await;
    let (mut a, mut b) = (host.session(), host.session());
    add(&mut a, 1).await;
    add(&mut b, 10).await;
    assert_eq!(reload(&host, [of_session("two")]).await.rebuilt, ["keeper"]);
    assert_eq!(add(&mut a, 1).await["total"], 2);
    assert_eq!(add(&mut b, 1).await["total"], 11);
    assert_eq!(add(&mut host.session(), 1).await["total"], 1);
    assert_eq!(counter(&host, "late_answers"), 0);
    a.finish().await;
    b.finish().await;
    end(host).await;
}

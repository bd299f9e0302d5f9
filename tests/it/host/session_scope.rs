//! What plugins keep of sessions: instances of their own, saved, restored, cleared, and never mixed up (R50, R65).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig, SnapshotMode};
use a2e_core::plugin::PluginScope;
use a2e_core::snapshot::{MemoryStore, SnapshotStore, State, StateKey};
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};

use crate::plugins::tally::{journal, release};
use crate::support::{counter, end, now, of, plugin, serves, stop, tuned, with};

/// A journal that no other test writes to.
fn fresh_journal() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("tally-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

const SCOPES: [PluginScope; 2] = [PluginScope::Session, PluginScope::Host];

fn tally(scope: PluginScope, journal: &str) -> PluginConfig {
    tuned(plugin("t", "Tally").with_setting("journal", journal), |it| it.scope = Some(scope))
}

async fn start(config: HostConfig, store: &Arc<MemoryStore>) -> TestHost {
    let builder = Executor::builder(config).snapshot_store(store.clone());
    TestHost::build(builder.plugin_limit(Duration::from_millis(400))).await.unwrap()
}

/// Shakes hands for this session, or for a new one.
async fn open(host: &TestHost, id: &str) -> (TestSession, Value) {
    let mut session = host.session();
    let resume = json!({ "session_id": id, "last_seq": 0 });
    let body = json!({ "agent_id": "agent", "resume": resume });
    let answer = session.call("handshake/req", body).await;
    assert_eq!(answer["ok"], true, "{answer}");
    (session, answer)
}

async fn begin(host: &TestHost) -> (TestSession, String) {
    let (session, answer) = open(host, "").await;
    (session, answer["session_id"].as_str().unwrap().to_owned())
}

async fn add(session: &mut TestSession, add: i64) -> Value {
    session.call("tally/add/req", json!({ "add": add })).await
}

async fn total(session: &mut TestSession) -> i64 {
    let reply = add(session, 0).await;
    reply["total"].as_i64().unwrap_or_else(|| panic!("{reply}"))
}

/// Ends the session in order and waits until it waits.
async fn close(host: &TestHost, session: TestSession) {
    let parked = host.executor().status().parked_sessions;
    session.finish().await;
    host.until("it waits", |it| it.parked_sessions > parked).await;
}

fn keys_of(store: &MemoryStore, id: &str) -> Vec<String> {
    let keys = store.keys(None).unwrap().into_iter();
    let keys = keys.filter(|key| key.session.as_ref().is_some_and(|it| it.as_str() == id));
    keys.map(|key| format!("{}:{}", key.plugin, key.key)).collect()
}

/// Waits until the store holds this many keys of a session.
async fn until_stored(store: &MemoryStore, id: &str, count: usize) {
    let wait = async {
        while keys_of(store, id).len() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(10), wait).await.is_ok();
    assert!(in_time, "{:?}", keys_of(store, id));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_a_session_lives_as_one_of_the_host_does() {
    let (book, store) = (fresh_journal(), Arc::new(MemoryStore::new()));
    let host = start(with([tally(PluginScope::Session, &book)]), &store).await;
    // The one that declares the handlers serves nobody.
    let mut expected = vec!["build".to_owned(), "start".to_owned()];
    assert_eq!(journal(&book), expected);
    let mut plain = host.session();
    serves(&mut plain).await;
    assert_eq!(journal(&book), expected, "nothing is built before it is needed");
    let id = plain.handshake(&[]).await["session_id"].as_str().unwrap().to_owned();
    add(&mut plain, 1).await;
    add(&mut plain, 1).await;
    plain.finish().await;
    host.until("its end", |it| it.sessions == 0).await;
    let ended = format!("session_ended {id}");
    expected.extend(["build".into(), "start".into(), ended.clone(), ended, "teardown".into()]);
    assert_eq!(journal(&book), expected, "what cannot be resumed is not saved");

    let (mut session, id) = begin(&host).await;
    add(&mut session, 5).await;
    expected.extend(["build".into(), "start".into()]);
    close(&host, session).await;
    until_stored(&store, &id, 2).await;
    let noted = journal(&book);
    let save = noted.iter().position(|it| *it == format!("save {id}")).expect("it is saved");
    let ends = noted.iter().position(|it| *it == format!("session_ended {id}")).unwrap();
    assert!(save < ends, "before it lets go: {noted:?}");

    let (mut session, answer) = open(&host, &id).await;
    assert_eq!(answer["resumed"], true);
    let noted = journal(&book);
    let restored = noted.iter().position(|it| *it == format!("restore {id}")).unwrap();
    assert_eq!((&*noted[restored - 1], &*noted[restored + 1]), ("build", "start"), "{noted:?}");
    assert_eq!(total(&mut session).await, 5);
    close(&host, session).await;
    stop(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r65_each_session_has_its_own_state_also_after_a_restart() {
    for scope in SCOPES {
        let store = Arc::new(MemoryStore::new());
        let config = with([tally(scope, "")]);
        let host = start(config.clone(), &store).await;
        let mut ids = Vec::new();
        let mut sessions = Vec::new();
        for number in 1..=5 {
            let (mut session, id) = begin(&host).await;
            let reply = add(&mut session, number * 10).await;
            assert_eq!(reply["total"], number * 10);
            let known = if scope == PluginScope::Session { 1 } else { number };
            assert_eq!(reply["sessions"], known, "{scope:?}");
            ids.push(id);
            sessions.push(session);
        }
        for session in sessions {
            close(&host, session).await;
        }
        for id in &ids {
            until_stored(&store, id, 2).await;
        }
        // In this life, and in the next two.
        stop_and_check(host, &ids, 0).await;
        stop_and_check(start(config.clone(), &store).await, &ids, -1).await;
        stop_and_check(start(config, &store).await, &ids, -1).await;
    }
}

/// Resumes each session, last first, finds its own number, and ends the host.
async fn stop_and_check(host: TestHost, ids: &[String], gap: i64) {
    for (place, id) in ids.iter().enumerate().rev() {
        let (mut session, answer) = open(&host, id).await;
        assert_eq!((&answer["resumed"], &answer["gap"]), (&json!(true), &json!(gap)));
        assert_eq!(total(&mut session).await, 10 * (i64::try_from(place).unwrap() + 1));
        drop(session);
    }
    let (mut other, _) = begin(&host).await;
    assert_eq!(total(&mut other).await, 0);
    other.finish().await;
    host.until("no session", |it| it.sessions == 0).await;
    assert_eq!(counter(&host, "session_state_failures"), 0);
    stop(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_sessions_are_saved_on_schedule_and_on_demand() {
    for scope in SCOPES {
        for on_schedule in [true, false] {
            let store = Arc::new(MemoryStore::new());
            let mut config = with([tally(scope, "")]);
            if on_schedule {
                config.snapshot_interval = Duration::from_millis(20);
            }
            let host = start(config.clone(), &store).await;
            let (mut session, id) = begin(&host).await;
            // That it is there is written down soon, whose it is as well, but no token.
            until_stored(&store, &id, 1).await;
            assert_eq!(keys_of(&store, &id), ["kernel:resume"]);
            add(&mut session, 3).await;
            if !on_schedule {
                host.executor().save_state().await.unwrap();
            }
            until_stored(&store, &id, 2).await;
            // The host dies here, as far as the next one can see.
            let next = start(config, &store).await;
            let (mut resumed, answer) = open(&next, &id).await;
            assert_eq!((&answer["resumed"], &answer["gap"]), (&json!(true), &json!(-1)));
            assert_eq!(total(&mut resumed).await, 3, "{scope:?}");
            drop((session, resumed));
            stop(next).await;
            stop(host).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_a_state_of_another_version_is_migrated_or_left_alone() {
    for scope in SCOPES {
        let store = Arc::new(MemoryStore::new());
        let config = |version: u32| with([tally(scope, "").with_setting("version", version)]);
        let host = start(config(1), &store).await;
        let (mut session, id) = begin(&host).await;
        add(&mut session, 8).await;
        close(&host, session).await;
        stop(host).await;
        // Newer code reads what older code has saved.
        let host = start(config(2), &store).await;
        let (mut session, _) = open(&host, &id).await;
        assert_eq!(total(&mut session).await, 8);
        add(&mut session, 1).await;
        close(&host, session).await;
        stop(host).await;
        // Older code does not, says so, and does not write over it.
        let host = start(config(1), &store).await;
        let (mut session, answer) = open(&host, &id).await;
        assert_eq!(answer["resumed"], true, "the session goes on without");
        assert_eq!(total(&mut session).await, 0);
        let problem = of(&host.executor().status(), "t").state_problem.unwrap();
        assert!(problem.contains("version 2 is newer than 1"), "{problem}");
        assert!(counter(&host, "session_state_failures") > 0);
        add(&mut session, 100).await;
        host.executor().save_state().await.unwrap();
        close(&host, session).await;
        stop(host).await;
        let host = start(config(2), &store).await;
        let (mut session, _) = open(&host, &id).await;
        assert_eq!(total(&mut session).await, 9, "{scope:?}");
        session.finish().await;
        stop(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_a_plugin_that_fails_holds_up_no_session_and_says_so() {
    for scope in SCOPES {
        for part in ["save", "restore", "clear", "own start", "session_ended"] {
            for how in ["error", "panic", "hang"] {
                if part == "own start" && scope == PluginScope::Host {
                    // There is none.
                    continue;
                }
                fails(scope, part, how).await;
            }
        }
    }
}

async fn fails(scope: PluginScope, part: &str, how: &str) {
    let what = format!("{scope:?} {part} {how}");
    let (book, store) = (fresh_journal(), Arc::new(MemoryStore::new()));
    let good = plugin("good", "Keeper");
    let sound = with([tally(scope, &book), good.clone()]);
    // A sound host leaves a state behind.
    let host = start(sound, &store).await;
    let (mut session, id) = begin(&host).await;
    add(&mut session, 4).await;
    close(&host, session).await;
    stop(host).await;
    let bad = tally(scope, &book).with_setting("fails_in", part).with_setting("how", how);
    let mut config = with([bad, good]);
    config.session_ttl = Duration::from_millis(1500);
    let host = start(config, &store).await;
    let start = now();
    let (mut session, answer) = open(&host, &id).await;
    assert_eq!(answer["resumed"], true, "{what}");
    assert!(start.elapsed() < Duration::from_secs(2), "{what}: {:?}", start.elapsed());
    serves(&mut session).await;
    assert_eq!(session.call("keeper/add/req", json!({ "add": 1 })).await["total"], 1, "{what}");
    let reply = add(&mut session, 1).await;
    match part {
        // An instance that hangs before it is ready serves no request.
        "restore" if how == "hang" && scope == PluginScope::Session => {
            assert_eq!(reply["code"], "unavailable", "{what}: {reply}");
        }
        "restore" => assert_eq!(reply["total"], 1, "{what}: it starts empty"),
        "own start" => assert_eq!(reply["code"], "unavailable", "{what}: {reply}"),
        _ => assert_eq!(reply["total"], 5, "{what}"),
    }
    let start = now();
    session.finish().await;
    assert!(start.elapsed() < Duration::from_secs(3), "{what}: {:?}", start.elapsed());
    host.until("it waits", |it| it.sessions == 0 && it.parked_sessions == 1).await;
    // Its time passes; whatever the plugin does, nothing is left in the store.
    until_stored(&store, &id, 0).await;
    if part != "session_ended" && (part != "clear" || scope == PluginScope::Host) {
        assert!(counter(&host, "session_state_failures") > 0, "{what}");
    }
    let start = now();
    stop(host).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{what}: {:?}", start.elapsed());
    release(&book);
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_what_nobody_resumed_is_cleared_here_and_in_the_store() {
    let (book, store) = (fresh_journal(), Arc::new(MemoryStore::new()));
    let mut config = with([tally(PluginScope::Host, &book)]);
    config.session_ttl = Duration::from_millis(300);
    let host = start(config.clone(), &store).await;
    let (mut lost, gone) = begin(&host).await;
    let (mut session, kept) = begin(&host).await;
    add(&mut lost, 1).await;
    add(&mut session, 2).await;
    host.executor().save_state().await.unwrap();
    close(&host, lost).await;
    host.until("it is gone", |it| it.parked_sessions == 0).await;
    until_stored(&store, &gone, 0).await;
    assert!(journal(&book).contains(&format!("clear {gone}")));
    assert_eq!(keys_of(&store, &kept).len(), 2, "one that lives is not touched");
    let (other, answer) = open(&host, &gone).await;
    assert_eq!((&answer["resumed"], &answer["gap"]), (&json!(false), &json!(-1)));
    // What an earlier life has left goes, too, also when the plugins have nothing of it.
    close(&host, session).await;
    drop(other);
    let orphan = "0123456789abcdef0123456789abcdef";
    let key = StateKey::new("t", "state", Some(orphan.into()));
    store.save(&key, &State::json(1, &1).unwrap()).unwrap();
    stop(host).await;
    let host = start(config, &store).await;
    until_stored(&store, &kept, 0).await;
    until_stored(&store, orphan, 0).await;
    let noted = journal(&book);
    let cleared = |id: &str| noted.contains(&format!("clear {id}"));
    assert!(cleared(&kept) && cleared(orphan), "{noted:?}");
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_in_mode_plugin_the_kernel_keeps_no_state_of_sessions() {
    let (book, store) = (fresh_journal(), Arc::new(MemoryStore::new()));
    let mut config = with([tally(PluginScope::Host, &book)]);
    config.snapshot_mode = SnapshotMode::Plugin;
    config.snapshot_interval = Duration::from_millis(10);
    let host = start(config, &store).await;
    let (mut session, id) = begin(&host).await;
    add(&mut session, 1).await;
    close(&host, session).await;
    let (mut session, answer) = open(&host, &id).await;
    assert_eq!((&answer["resumed"], &answer["gap"]), (&json!(true), &json!(0)));
    session.reply_to("t2").await;
    assert_eq!(total(&mut session).await, 0);
    session.finish().await;
    end(host).await;
    let noted = journal(&book);
    assert!(!noted.iter().any(|it| it.starts_with("save") || it.starts_with("restore")));
    assert!(store.keys(None).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_clearing_a_plugin_clears_its_part_of_every_session() {
    for scope in SCOPES {
        let store = Arc::new(MemoryStore::new());
        let host = start(with([tally(scope, "")]), &store).await;
        let (mut session, id) = begin(&host).await;
        add(&mut session, 6).await;
        host.executor().save_state().await.unwrap();
        until_stored(&store, &id, 2).await;
        host.executor().clear_state(&"t".into()).await.unwrap();
        assert_eq!(keys_of(&store, &id), ["kernel:resume"], "{scope:?}");
        if scope == PluginScope::Session {
            assert_eq!(total(&mut session).await, 0);
        }
        // What it has afterwards is saved again, although it is what was saved before.
        let again = if scope == PluginScope::Session { 6 } else { 0 };
        add(&mut session, again).await;
        close(&host, session).await;
        until_stored(&store, &id, 2).await;
        let (mut session, _) = open(&host, &id).await;
        assert_eq!(total(&mut session).await, 6, "{scope:?}");
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_resolver_that_was_set_last_says_whose_state_a_request_works_on() {
    let ask = json!({ "metadata": { "project": "moon" } });
    let setter =
        |name: &str, resolver: &str| plugin(name, "Tally").with_setting("resolver", resolver);
    let own_of = |id: &str| format!("session:{id}");
    for (plugins, expected) in [
        (vec![], None),
        (vec![setter("p", "project")], Some("shared:moon of agent")),
        // One that panics leaves each request with its session.
        (vec![setter("p", "project"), setter("q", "panic")], None),
        (vec![setter("q", "panic"), setter("p", "project")], Some("shared:moon of agent")),
        // One that did not start takes its resolver along.
        (
            vec![
                setter("p", "project"),
                setter("q", "panic").with_setting("fails_in", "start").with_setting("how", "error"),
            ],
            Some("shared:moon of agent"),
        ),
    ] {
        let host = TestHost::start(with([vec![plugin("t", "Tally")], plugins].concat())).await;
        let (mut session, id) = begin(&host).await;
        let scope = session.call("tally/add/req", ask.clone()).await["scope"].clone();
        assert_eq!(scope, expected.map_or_else(|| own_of(&id), str::to_owned));
        // Without what the resolver looks at, it is the session's own.
        assert_eq!(add(&mut session, 0).await["scope"], own_of(&id));
        session.finish().await;
        end(host).await;
    }
}

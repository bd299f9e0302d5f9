//! The capability through a host, as an agent sees it.

use std::sync::Arc;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::executor::StartError;
use a2e_core::protocol::PluginName;
use a2e_core::snapshot::FileStore;
use a2e_core::testing::{ManualClock, TestHost, TestSession};
use serde_json::{Value, json};

const CLS: &str = "a2e.caps.memory.plugin.MemoryPlugin";

fn config(settings: Value) -> HostConfig {
    let mut plugin = PluginConfig::new("memory", "memory", CLS);
    for (key, value) in settings.as_object().unwrap() {
        plugin = plugin.with_setting(key.as_str(), value.clone());
    }
    HostConfig::new().plugin(plugin)
}

async fn host() -> TestHost {
    TestHost::start(config(json!({}))).await
}

/// A session of this agent, with a memory in the default namespace.
async fn agent(host: &TestHost, agent_id: &str) -> (TestSession, String) {
    let mut session = host.session();
    session.call("handshake/req", json!({ "agent_id": agent_id, "agent_caps": ["memory"] })).await;
    let memory = init(&mut session, json!({})).await;
    (session, memory)
}

async fn init(session: &mut TestSession, body: Value) -> String {
    let reply = session.call("memory/init/req", body).await;
    assert_eq!((&reply["type"], &reply["success"]), (&json!("memory/init/resp"), &json!(true)));
    reply["memory_id"].as_str().unwrap().to_owned()
}

async fn store(session: &mut TestSession, memory: &str, entries: Value) -> Value {
    let body = json!({ "memory_id": memory, "entries": entries });
    let reply = session.call("memory/store/req", body).await;
    assert_eq!(reply["type"], "memory/store/resp", "{reply}");
    reply
}

async fn retrieve(session: &mut TestSession, memory: &str, mut conditions: Value) -> Value {
    conditions["memory_id"] = json!(memory);
    let reply = session.call("memory/retrieve/req", conditions).await;
    assert_eq!(reply["type"], "memory/retrieve/resp", "{reply}");
    reply
}

async fn forget(session: &mut TestSession, memory: &str, mut conditions: Value) -> Value {
    conditions["memory_id"] = json!(memory);
    session.call("memory/forget/req", conditions).await["deleted"].clone()
}

/// The values of `key.k` of the entries of a reply.
fn keys(reply: &Value) -> Vec<Value> {
    let entries = reply["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["key"]["k"].clone()).collect()
}

fn entry(key: impl Into<Value>, tier: &str) -> Value {
    json!({ "key": { "k": key.into() }, "content": "c", "tier": tier })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_comes_back_as_it_was_stored() {
    let clock = ManualClock::new();
    clock.set_wall(Duration::from_millis(1_700_000_000_500));
    let builder = Executor::builder(config(json!({}))).clock(clock);
    let host = TestHost::build(builder).await.unwrap();
    let (mut session, memory) = agent(&host, "a").await;
    assert!(memory.len() == 32 && memory.bytes().all(|byte| byte.is_ascii_hexdigit()), "{memory}");
    let full = json!({ "key": { "b": [1, { "é": null }], "a": 1.0 }, "content": { "x": [true, "日本"] },
        "tier": "semantic", "tags": ["t", "u"], "source": "user", "score": 0.5, "ttl": 60.0,
        "created_at": 12.5, "updated_at": 13 });
    let least = json!({ "key": {}, "content": null, "tier": "archive" });
    let reply = store(&mut session, &memory, json!([full, least])).await;
    assert_eq!(reply["errors"], json!([]));
    assert_eq!(reply["stored"], json!([full["key"], {}]));
    let reply = retrieve(&mut session, &memory, json!({})).await;
    assert_eq!(reply["total"], 2);
    let mut expected = full;
    (expected["score"], expected["ttl"], expected["updated_at"]) =
        (json!(0.0), json!(60), json!(13.0));
    assert_eq!(reply["entries"][1], expected);
    assert_eq!(
        reply["entries"][0],
        json!({ "key": {}, "content": null, "tier": "episodic", "tags": [], "source": "", "score": 0.0,
            "ttl": 0, "created_at": 1_700_000_000.5, "updated_at": 1_700_000_000.5 })
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_anded_and_scored() {
    let host = host().await;
    let (mut session, memory) = agent(&host, "a").await;
    let entries = json!([
        { "key": { "k": 1 }, "content": "Rain in Oslo", "tier": "semantic", "tags": ["x", "y"] },
        { "key": { "k": 2 }, "content": { "city": "BERGEN" }, "tier": "working", "tags": ["x"] },
        { "key": { "k": 3 }, "content": 42, "tier": "episodic" },
        { "key": { "k": 4 }, "content": "say \"rain\"", "tier": "episodic", "tags": ["z", "Rain"] },
    ]);
    store(&mut session, &memory, entries).await;
    for (conditions, expected) in [
        (json!({}), vec![(2, 0.0), (3, 0.0), (4, 0.0), (1, 0.0)]),
        (json!({ "tier": "episodic" }), vec![(3, 0.25), (4, 0.25)]),
        (json!({ "tier": "attic" }), vec![(3, 0.25), (4, 0.25)]),
        (json!({ "keys": [{ "k": 3 }] }), vec![(3, 1.0)]),
        (json!({ "keys": [{ "k": 3.0 }, { "k": 1 }, { "k": 9 }] }), vec![(3, 1.0), (1, 1.0)]),
        (json!({ "keys": [{ "k": 3 }], "tier": "semantic" }), vec![]),
        (json!({ "keys": [{ "k": 1 }], "tags": ["y", "q"], "tier": "semantic" }), vec![(1, 1.75)]),
        (json!({ "tags": ["x", "y"] }), vec![(1, 1.0), (2, 0.5)]),
        (json!({ "tags": ["x", "y", "q"] }), vec![(1, 0.6667), (2, 0.3333)]),
        (json!({ "tags": ["x", "x"] }), vec![(2, 1.0), (1, 1.0)]),
        (json!({ "tags": ["x", "y"], "min_score": 0.6 }), vec![(1, 1.0)]),
        (json!({ "min_score": 0.1 }), vec![]),
        (json!({ "query": "RAIN" }), vec![(4, 0.0), (1, 0.0)]),
        (json!({ "query": "oslo rain" }), vec![(1, 0.0)]),
        (json!({ "query": "bergen", "tags": ["x"] }), vec![(2, 1.0)]),
        (json!({ "query": "42" }), vec![(3, 0.0)]),
        (json!({ "query": "rain", "tier": "working" }), vec![]),
        (json!({ "query": " " }), vec![(2, 0.0), (3, 0.0), (4, 0.0), (1, 0.0)]),
    ] {
        let reply = retrieve(&mut session, &memory, conditions.clone()).await;
        let entries = reply["entries"].as_array().unwrap();
        let found: Vec<(i64, f64)> = entries
            .iter()
            .map(|it| (it["key"]["k"].as_i64().unwrap(), it["score"].as_f64().unwrap()))
            .collect();
        assert_eq!(found, expected, "{conditions}");
        assert_eq!(reply["total"], expected.len(), "{conditions}");
    }
    let reply = retrieve(&mut session, &memory, json!({ "limit": 3 })).await;
    assert_eq!((keys(&reply), &reply["total"]), (vec![json!(2), json!(3), json!(4)], &json!(4)));
    let reply = retrieve(&mut session, &memory, json!({ "limit": 0.0 })).await;
    assert_eq!((keys(&reply).len(), &reply["total"]), (0, &json!(4)));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_equal_when_their_json_is() {
    let host = host().await;
    let (mut session, memory) = agent(&host, "a").await;
    for (key, same, other) in [
        (
            r#"{"a":[1,{"y":2,"x":"é"}]}"#,
            r#"{"a":[1.0,{"x":"\u00e9","y":2}]}"#,
            r#"{"a":[{"x":"é","y":2},1]}"#,
        ),
        (r#"{"id":7}"#, r#"{ "id" : 7e0 }"#, r#"{"id":"7"}"#),
    ] {
        let line = |id, key, content| {
            format!(
                r#"{{"type":"memory/store/req","id":"{id}","memory_id":"{memory}","entries":[{{"key":{key},"content":{content},"tier":"working"}}]}}"#
            )
        };
        for (id, key, content) in [("x", key, 1), ("y", other, 2), ("z", same, 3)] {
            session.send_line(&line(id, key, content)).await;
            assert_eq!(session.reply_to(id).await["errors"], json!([]));
        }
        let key: Value = serde_json::from_str(key).unwrap();
        let reply = retrieve(&mut session, &memory, json!({ "keys": [key] })).await;
        assert_eq!((&reply["total"], &reply["entries"][0]["content"]), (&json!(1), &json!(3)));
        assert_eq!(forget(&mut session, &memory, json!({ "keys": [key], "tier": "" })).await, 1);
        assert_eq!(retrieve(&mut session, &memory, json!({})).await["entries"][0]["content"], 2);
        assert_eq!(forget(&mut session, &memory, json!({ "keys": [serde_json::from_str::<Value>(other).unwrap()], "tier": "working" })).await, 1);
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r65_each_tier_reaches_as_far_as_it_says() {
    let host = host().await;
    let (mut first, one) = agent(&host, "a").await;
    let entries = json!([entry("w", "working"), entry("e", "episodic"), entry("s", "semantic")]);
    store(&mut first, &one, entries).await;
    let (mut same, two) = agent(&host, "a").await;
    assert_eq!(keys(&retrieve(&mut same, &two, json!({})).await), ["e", "s"]);
    let (mut other, three) = agent(&host, "b").await;
    assert_eq!(keys(&retrieve(&mut other, &three, json!({})).await), ["s"]);
    for (body, expected) in [
        (json!({ "namespace": "other" }), vec!["w", "s"]),
        (json!({ "scope": { "project": "x" } }), vec!["w", "s"]),
        (
            json!({ "namespace": "default", "scope": {}, "metadata": { "any": [1] } }),
            vec!["w", "e", "s"],
        ),
    ] {
        let memory = init(&mut first, body.clone()).await;
        assert_eq!(keys(&retrieve(&mut first, &memory, json!({})).await), expected, "{body}");
    }
    // What the first session opened is not there for another, even of the same agent.
    for session in [&mut same, &mut other] {
        for wire_type in ["memory/store/req", "memory/retrieve/req", "memory/forget/req"] {
            let code = session.call_error(wire_type, json!({ "memory_id": one })).await;
            assert_eq!(code, "memory_not_found", "{wire_type}");
        }
    }
    // Agents without an id share nothing but semantic entries.
    for _ in 0..2 {
        let mut raw = host.session();
        let memory = init(&mut raw, json!({})).await;
        assert_eq!(keys(&retrieve(&mut raw, &memory, json!({})).await), ["s"]);
        store(&mut raw, &memory, json!([entry("mine", "episodic")])).await;
        assert_eq!(retrieve(&mut raw, &memory, json!({})).await["total"], 2);
        raw.finish().await;
    }
    // A reconnect finds all but the working entries.
    first.finish().await;
    let (mut again, memory) = agent(&host, "a").await;
    assert_eq!(keys(&retrieve(&mut again, &memory, json!({})).await), ["e", "s"]);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_entry_is_reported_and_the_others_are_stored() {
    let host = TestHost::start(config(json!({ "max_entry_bytes": 1000 }))).await;
    let (mut session, memory) = agent(&host, "a").await;
    let cases = [
        (json!({ "content": 1, "tier": "working" }), "entries[1]: missing field `key`"),
        (
            json!({ "key": "k", "content": 1, "tier": "working" }),
            "entries[1].key: invalid type: a string, expected an object",
        ),
        (json!({ "key": {}, "tier": "working" }), "entries[1]: missing field `content`"),
        (json!({ "key": {}, "content": 1 }), "entries[1]: missing field `tier`"),
        (
            json!({ "key": {}, "content": 1, "tier": 5 }),
            "entries[1].tier: invalid type: integer `5`",
        ),
        (
            json!({ "key": {}, "content": 1, "tier": "x", "tags": "t" }),
            "entries[1].tags: invalid type",
        ),
        (
            json!({ "key": {}, "content": 1, "tier": "x", "tags": [1] }),
            "entries[1].tags[0]: invalid type",
        ),
        (
            json!({ "key": {}, "content": 1, "tier": "x", "ttl": -1 }),
            "entries[1].ttl: invalid value",
        ),
        (
            json!({ "key": {}, "content": 1, "tier": "x", "ttl": 1.5 }),
            "entries[1].ttl: invalid value",
        ),
        (
            json!({ "key": {}, "content": 1, "tier": "x", "score": "1" }),
            "entries[1].score: invalid type",
        ),
        (
            json!({ "key": {}, "content": 1, "tier": "x", "created_at": null }),
            "entries[1].created_at: invalid type",
        ),
        (
            json!({ "key": {}, "content": "x".repeat(1000), "tier": "x" }),
            "entries[1]: memory_full: ",
        ),
    ];
    for (bad, expected) in cases {
        let entries = json!([entry(1, "working"), bad, entry(2, "working")]);
        let reply = store(&mut session, &memory, entries).await;
        assert_eq!(reply["stored"], json!([{ "k": 1 }, { "k": 2 }]), "{expected}");
        let errors = reply["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{expected}");
        assert!(errors[0].as_str().unwrap().starts_with(expected), "{} for {expected}", errors[0]);
        assert_eq!(retrieve(&mut session, &memory, json!({})).await["total"], 2, "{expected}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_wrong_requests_are_refused_with_the_field() {
    let host = host().await;
    let (mut session, memory) = agent(&host, "a").await;
    let many: Vec<Value> = vec![json!({}); 1001];
    for (wire_type, body, loc) in [
        ("memory/init/req", json!({ "namespace": 1 }), "namespace"),
        ("memory/init/req", json!({ "namespace": null }), "namespace"),
        ("memory/init/req", json!({ "namespace": "n".repeat(9000) }), "namespace"),
        ("memory/init/req", json!({ "scope": { "a": 1 } }), "scope.a"),
        ("memory/init/req", json!({ "metadata": [] }), "metadata"),
        ("memory/store/req", json!({}), ""),
        ("memory/store/req", json!({ "memory_id": memory, "entries": {} }), "entries"),
        ("memory/store/req", json!({ "memory_id": memory, "entries": [{}, "x"] }), "entries[1]"),
        ("memory/store/req", json!({ "memory_id": memory, "entries": many }), "entries"),
        ("memory/retrieve/req", json!({ "memory_id": 5 }), "memory_id"),
        ("memory/retrieve/req", json!({ "memory_id": memory, "keys": ["k"] }), "keys[0]"),
        (
            "memory/retrieve/req",
            json!({ "memory_id": memory, "keys": [{ "k": 1 }, null] }),
            "keys[1]",
        ),
        ("memory/retrieve/req", json!({ "memory_id": memory, "limit": -1 }), "limit"),
        ("memory/retrieve/req", json!({ "memory_id": memory, "limit": "5" }), "limit"),
        ("memory/retrieve/req", json!({ "memory_id": memory, "min_score": "x" }), "min_score"),
        ("memory/retrieve/req", json!({ "memory_id": memory, "tier": null }), "tier"),
        ("memory/retrieve/req", json!({ "memory_id": memory, "query": "q".repeat(1025) }), "query"),
        ("memory/forget/req", json!({ "memory_id": memory, "keys": { "k": 1 } }), "keys"),
        ("memory/forget/req", json!({ "memory_id": memory, "tags": [1] }), "tags[0]"),
    ] {
        let reply = session.call(wire_type, body).await;
        assert_eq!(
            (&reply["type"], &reply["code"]),
            (&json!("error"), &json!("schema_violation")),
            "{reply}"
        );
        assert_eq!(reply["detail"]["errors"][0]["loc"], loc, "{reply}");
        assert_eq!(reply["capability_name"], "memory");
    }
    let unknown = json!({ "memory_id": "nobody's" });
    for wire_type in ["memory/store/req", "memory/retrieve/req", "memory/forget/req"] {
        assert_eq!(session.call_error(wire_type, unknown.clone()).await, "memory_not_found");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forget_takes_keys_or_tags_of_one_tier_or_all() {
    let host = host().await;
    let (mut session, memory) = agent(&host, "a").await;
    let all = json!([
        { "key": { "k": 1 }, "content": 1, "tier": "episodic", "tags": ["x"] },
        { "key": { "k": 2 }, "content": 1, "tier": "episodic", "tags": ["y"] },
        { "key": { "k": 3 }, "content": 1, "tier": "episodic" },
        { "key": { "k": 1 }, "content": 1, "tier": "working", "tags": ["y"] },
        { "key": { "k": 1 }, "content": 1, "tier": "semantic" },
    ]);
    for (conditions, deleted) in [
        (json!({}), 0),
        (json!({ "tier": "" }), 0),
        (json!({ "keys": [{ "k": 1 }] }), 1),
        (json!({ "keys": [{ "k": 1 }], "tier": "" }), 3),
        (json!({ "keys": [{ "k": 1 }], "tier": "semantic" }), 1),
        (json!({ "keys": [{ "k": 9 }, {}] }), 0),
        (json!({ "tags": ["x", "y", "z"] }), 2),
        (json!({ "tags": ["y"], "tier": "" }), 2),
        (json!({ "keys": [{ "k": 3 }, { "k": 1 }], "tags": ["x"] }), 2),
    ] {
        store(&mut session, &memory, all.clone()).await;
        assert_eq!(
            forget(&mut session, &memory, conditions.clone()).await,
            deleted,
            "{conditions}"
        );
        assert_eq!(retrieve(&mut session, &memory, json!({})).await["total"], 5 - deleted);
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ttl_ends_an_entry_by_the_monotonic_clock() {
    let clock = ManualClock::new();
    let builder = Executor::builder(config(json!({}))).clock(Arc::clone(&clock) as _);
    let host = TestHost::build(builder).await.unwrap();
    let (mut session, memory) = agent(&host, "a").await;
    let entries = ["working", "episodic", "semantic"].map(|tier| {
        let mut entry = entry(tier, tier);
        entry["ttl"] = json!(10);
        entry
    });
    store(&mut session, &memory, json!(entries)).await;
    clock.set_wall(Duration::from_secs(1_000_000));
    clock.advance(Duration::from_millis(9_999));
    assert_eq!(
        retrieve(&mut session, &memory, json!({})).await["total"],
        3,
        "the wall clock jumped"
    );
    clock.advance(Duration::from_millis(1));
    assert_eq!(retrieve(&mut session, &memory, json!({})).await["total"], 0);
    assert_eq!(forget(&mut session, &memory, json!({ "keys": [{ "k": "episodic" }] })).await, 0);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_limits_drop_the_oldest_and_large_work_goes_to_the_pool() {
    let settings = json!({ "semantic_limit": 600, "working_limit": 2, "max_memories": 1 });
    let host = TestHost::start(config(settings)).await;
    let (mut session, memory) = agent(&host, "a").await;
    assert_eq!(session.call_error("memory/init/req", json!({})).await, "memory_full");
    let working: Vec<Value> = (0..5).map(|key| entry(key, "working")).collect();
    let reply = store(&mut session, &memory, json!(working)).await;
    assert_eq!(reply["stored"].as_array().unwrap().len(), 5, "each was written, if not for long");
    assert_eq!(keys(&retrieve(&mut session, &memory, json!({})).await), [3, 4]);
    let semantic: Vec<Value> = (0..900).map(|key| entry(key, "semantic")).collect();
    store(&mut session, &memory, json!(semantic)).await;
    let reply =
        retrieve(&mut session, &memory, json!({ "query": "C", "limit": 2, "tier": "semantic" }))
            .await;
    assert_eq!((keys(&reply), &reply["total"]), (vec![json!(300), json!(301)], &json!(600)));
    let many: Vec<Value> =
        (0..1000).map(|key| json!({ "k": key, "pad": "x".repeat(30) })).collect();
    assert_eq!(retrieve(&mut session, &memory, json!({ "keys": many })).await["total"], 0);
    assert_eq!(forget(&mut session, &memory, json!({ "tags": ["none"], "tier": "" })).await, 0);
    host.stop().await;
}

async fn on_disk(root: &std::path::Path, settings: Value) -> TestHost {
    let store = Arc::new(FileStore::open(root).unwrap());
    TestHost::build(Executor::builder(config(settings)).snapshot_store(store)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_a_restart_keeps_what_outlives_sessions_and_clear_forgets_it() {
    let folder = tempfile::tempdir().unwrap();
    let host = on_disk(folder.path(), json!({})).await;
    let (mut session, memory) = agent(&host, "a").await;
    let content = json!({ "é": [1, 2.50, null, "\u{1}\"\\"] });
    let mut entries =
        json!([entry("w", "working"), entry("e", "episodic"), entry("s", "semantic")]);
    (entries[1]["content"], entries[1]["tags"], entries[1]["ttl"]) =
        (content.clone(), json!(["t"]), json!(1000));
    store(&mut session, &memory, entries).await;
    let before = retrieve(&mut session, &memory, json!({ "keys": [{ "k": "e" }] })).await;
    host.stop().await;

    let host = on_disk(folder.path(), json!({})).await;
    let (mut session, again) = agent(&host, "a").await;
    assert_eq!(keys(&retrieve(&mut session, &again, json!({})).await), ["e", "s"]);
    let after = retrieve(&mut session, &again, json!({ "keys": [{ "k": "e" }] })).await;
    assert_eq!(after["entries"], before["entries"]);
    assert_eq!(after["entries"][0]["content"], content);
    assert_eq!(
        session.call_error("memory/store/req", json!({ "memory_id": memory })).await,
        "memory_not_found"
    );
    store(&mut session, &again, json!([entry("w", "working")])).await;
    host.executor().clear_state(&PluginName::from("memory")).await.unwrap();
    assert_eq!(retrieve(&mut session, &again, json!({})).await["total"], 0);
    store(&mut session, &again, json!([entry("new", "semantic")])).await;
    host.stop().await;

    let host = on_disk(folder.path(), json!({})).await;
    let (mut session, memory) = agent(&host, "a").await;
    assert_eq!(keys(&retrieve(&mut session, &memory, json!({})).await), ["new"]);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_hold_are_named() {
    for (settings, expected) in [
        (json!({ "backend": "sqlite" }), "comes with a later version; use `memory`"),
        (json!({ "backend": "redis" }), "redis"),
        (json!({ "working_limit": 0 }), "working_limit"),
        (json!({ "max_bytes": 100 << 20 }), "max_bytes: 104857600 is above"),
    ] {
        let mut config = config(settings);
        for plugin in &mut config.plugins {
            plugin.metadata.required = true;
        }
        match TestHost::build(Executor::builder(config)).await {
            Err(StartError::RequiredPlugin { reason, .. }) => {
                assert!(reason.contains(expected), "{reason}");
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
    // Names of the reference's samples, and their settings.
    for cls in ["memory.inmemory.InMemoryPlugin", "a2e.caps.memory.MemoryPlugin"] {
        let plugin = PluginConfig::new("mymemory", "memory", cls).with_setting("working_limit", 5);
        let host = TestHost::start(HostConfig::new().plugin(plugin)).await;
        agent(&host, "a").await;
        host.stop().await;
    }
}

//! What is refused, and how it is said.

use super::*;

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
            json!({ "key": {}, "content": 1, "tier": "archive" }),
            "entries[1].tier: unknown variant `archive`, expected one of `working`, `episodic`, `semantic`",
        ),
        (
            json!({ "key": {}, "content": 1, "tier": "" }),
            "entries[1].tier: unknown variant ``, expected one of `working`, `episodic`, `semantic`",
        ),
        (
            json!({ "key": {}, "content": 1, "tier": "episodic", "tags": "t" }),
            "entries[1].tags: invalid type",
        ),
        (
            json!({ "key": {}, "content": 1, "tier": "episodic", "tags": [1] }),
            "entries[1].tags[0]: invalid type",
        ),
        (
            json!({ "key": {}, "content": 1, "tier": "episodic", "ttl": -1 }),
            "entries[1].ttl: invalid value",
        ),
        (
            json!({ "key": {}, "content": 1, "tier": "episodic", "ttl": 1.5 }),
            "entries[1].ttl: invalid value",
        ),
        (
            json!({ "key": {}, "content": 1, "tier": "episodic", "score": "1" }),
            "entries[1].score: invalid type",
        ),
        (
            json!({ "key": {}, "content": 1, "tier": "episodic", "created_at": null }),
            "entries[1].created_at: invalid type",
        ),
        (
            json!({ "key": {}, "content": "x".repeat(1000), "tier": "episodic" }),
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
        ("memory/retrieve/req", json!({ "memory_id": memory, "tier": "attic" }), "tier"),
        ("memory/forget/req", json!({ "memory_id": memory, "tier": "Episodic" }), "tier"),
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
async fn settings_that_cannot_hold_are_named() {
    for (settings, expected) in [
        (json!({ "backend": "redis" }), "redis"),
        (json!({ "working_limit": 0 }), "working_limit"),
        (json!({ "max_bytes": 100 << 20, "backend": "memory" }), "max_bytes: 104857600 is above"),
    ] {
        let mut config = config(settings);
        for plugin in &mut config.plugins {
            plugin.metadata.required = true;
        }
        match TestHost::build(Executor::builder(config).lenient()).await {
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

//! Visibility of memories: between agents, sessions and scopes, and over time.

use super::*;

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
    let store = Arc::new(FileStore::open(root.join("state")).unwrap());
    let builder = Executor::builder(config_in(root, settings)).snapshot_store(store);
    TestHost::build(builder).await.unwrap()
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
async fn r65_a_namespace_names_a_memory_of_its_own_session_alone() {
    let host = TestHost::start(config(json!({}))).await;
    let (mut first, mut second) = (host.session(), host.session());
    let entries = json!([{ "key": { "k": 1 }, "content": "c", "tier": "working" }]);
    let store = json!({ "memory_id": "trips", "entries": entries });
    assert_eq!(first.call_error("memory/store/req", store.clone()).await, "memory_not_found");
    first.call("memory/init/req", json!({ "namespace": "trips" })).await;
    assert_eq!(first.call("memory/store/req", store.clone()).await["errors"], json!([]));
    let found = first.call("memory/retrieve/req", json!({ "memory_id": "trips" })).await;
    assert_eq!(found["total"], 1);
    assert_eq!(second.call_error("memory/store/req", store.clone()).await, "memory_not_found");
    first.call("memory/init/req", json!({ "namespace": "trips", "scope": { "team": "a" } })).await;
    assert_eq!(
        first.call_error("memory/store/req", store).await,
        "memory_not_found",
        "two are meant"
    );
    host.stop().await;
}

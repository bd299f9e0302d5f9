//! What is stored, found and forgotten.

use super::*;

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
    let least = json!({ "key": {}, "content": null, "tier": "episodic" });
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
        (json!({ "keys": [{ "k": 3 }] }), vec![(3, 1.0)]),
        (json!({ "keys": [{ "k": 3.0 }, { "k": 1 }, { "k": 9 }] }), vec![(3, 1.0), (1, 1.0)]),
        (json!({ "keys": [{ "k": 3 }], "tier": "semantic" }), vec![]),
        (json!({ "keys": [{ "k": 1 }], "tags": ["y", "q"], "tier": "semantic" }), vec![(1, 1.75)]),
        (json!({ "tags": ["x", "y"] }), vec![(1, 1.0), (2, 0.5)]),
        (json!({ "tags": ["x", "y", "q"] }), vec![(1, 0.6667), (2, 0.3333)]),
        (json!({ "tags": ["x", "x"] }), vec![(2, 1.0), (1, 1.0)]),
        (json!({ "tags": ["x", "y"], "min_score": 0.6 }), vec![(1, 1.0)]),
        (json!({ "min_score": 0.1 }), vec![]),
        (json!({ "query": "snow" }), vec![]),
        (json!({ "query": "rain", "tier": "working" }), vec![]),
        // Entries that are named by their keys are not weighed against each other.
        (json!({ "query": "rain", "keys": [{ "k": 4 }, { "k": 2 }] }), vec![(4, 2.0)]),
        (json!({ "query": "rain snow", "keys": [{ "k": 4 }] }), vec![(4, 1.5)]),
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

/// Contents by key, a query, and the keys that it finds, best first.
type Recall = (&'static [&'static str], &'static str, &'static [i64]);

#[tokio::test(flavor = "multi_thread")]
async fn a_recall_finds_all_words_first_then_most() {
    let many_words = (0..200).map(|it| format!("w{it:02}")).collect::<Vec<_>>().join(" ");
    let many_words: &'static str = many_words.leak();
    let cases: [Recall; 9] = [
        (&["the red boat", "the red car", "a blue boat", "a tree"], "red boat", &[0, 1, 2]),
        (&["red", "boat", "red boat"], "boat red sail", &[2, 0, 1]),
        // One word that stands often is less than two.
        (&["red red red red", "a red thing that lies in a boat of old"], "red boat", &[1, 0]),
        (&["rain in the hills", "rain, rain, rain", "sun"], "RAIN", &[1, 0]),
        // Short words find as long ones do.
        (&["go", "ai rules", "policy of ai", "policy"], "ai policy", &[2, 3, 1]),
        (&["東京 天気", "天気予報", "大阪"], "東京 天気", &[0, 1]),
        (&["e\u{301}cole \u{c9}t\u{e9}", "ecole ete"], "\u{e9}COLE e\u{301}te\u{301}", &[0]),
        (&["w07 alone", "none", "w199 and w01"], many_words, &[2, 0]),
        (&["nul \u{0} here", "nul"], "nul \u{0}", &[0, 1]),
    ];
    for (contents, query, expected) in cases {
        let host = host().await;
        let (mut session, memory) = agent(&host, "a").await;
        let entry = |(key, content): (usize, &&str)| json!({ "key": { "k": key }, "content": content, "tier": "episodic" });
        let entries: Vec<Value> = contents.iter().enumerate().map(entry).collect();
        assert_eq!(store(&mut session, &memory, json!(entries)).await["errors"], json!([]));
        let reply = retrieve(&mut session, &memory, json!({ "query": query })).await;
        assert_eq!(keys(&reply), expected, "{query}");
        assert_eq!(reply["total"], expected.len(), "{query}");
        let scores: Vec<f64> = reply["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["score"].as_f64().unwrap())
            .collect();
        assert!(
            scores.is_sorted_by(|a, b| a >= b) && scores.iter().all(|it| *it > 0.0),
            "{scores:?}"
        );
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_score_says_how_many_of_the_words_there_are() {
    let host = host().await;
    let (mut session, memory) = agent(&host, "a").await;
    let entries = json!([
        { "key": { "k": 1 }, "content": "one two three four", "tier": "episodic" },
        { "key": { "k": 2 }, "content": "one two and more", "tier": "working" },
        { "key": { "k": 3 }, "content": "one", "tier": "semantic" },
    ]);
    store(&mut session, &memory, entries).await;
    let query = "one two three four";
    for (min_score, expected) in [
        (0.0, &[1, 2, 3][..]),
        (0.25, &[1, 2, 3]),
        (0.5, &[1, 2]),
        (0.75, &[1]),
        (1.0, &[1]),
        (1.25, &[]),
    ] {
        let wanted = json!({ "query": query, "min_score": min_score });
        let reply = retrieve(&mut session, &memory, wanted).await;
        assert_eq!(keys(&reply), expected, "{min_score}");
        assert_eq!(reply["total"], expected.len(), "{min_score}");
    }
    // With further conditions the scores add up.
    let wanted = json!({ "query": query, "tier": "episodic", "keys": [{ "k": 1 }] });
    assert_eq!(retrieve(&mut session, &memory, wanted).await["entries"][0]["score"], 2.25);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn composed_and_decomposed_letters_are_one() {
    let host = host().await;
    let (mut session, memory) = agent(&host, "a").await;
    let (composed, decomposed) = ("Z\u{fc}rich", "Zu\u{308}rich");
    let entry = |content| json!([{ "key": { "k": decomposed }, "content": content, "tags": [decomposed], "tier": "episodic" }]);
    store(&mut session, &memory, entry(1)).await;
    for wanted in [
        json!({ "query": composed }),
        json!({ "query": composed.to_uppercase() }),
        json!({ "tags": [composed] }),
        json!({ "keys": [{ "k": composed }] }),
    ] {
        let reply = retrieve(&mut session, &memory, wanted.clone()).await;
        assert_eq!(reply["entries"][0]["key"]["k"], decomposed, "as it was stored: {wanted}");
    }
    let again = json!([{ "key": { "k": composed }, "content": 2, "tags": [decomposed], "tier": "episodic" }]);
    store(&mut session, &memory, again).await;
    let reply = retrieve(&mut session, &memory, json!({})).await;
    assert_eq!((&reply["total"], &reply["entries"][0]["content"]), (&json!(1), &json!(2)));
    assert_eq!(forget(&mut session, &memory, json!({ "tags": [composed] })).await, 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_tier_says_what_had_to_leave() {
    let limits =
        json!({ "working_limit": 2, "episodic_limit": 3, "semantic_limit": 4, "max_memories": 5 });
    let host = TestHost::start(config(limits)).await;
    let (mut session, memory) = agent(&host, "a").await;
    for (tier, limit) in [("working", 2), ("episodic", 3), ("semantic", 4)] {
        for key in 0..limit {
            let reply = store(&mut session, &memory, json!([entry(key, tier)])).await;
            assert!(reply.get("evicted").is_none(), "{reply}");
        }
        // A replaced entry takes no room.
        let reply = store(&mut session, &memory, json!([entry(0, tier)])).await;
        assert!(reply.get("evicted").is_none(), "{reply}");
        let reply = store(&mut session, &memory, json!([entry("x", tier), entry("y", tier)])).await;
        assert_eq!(reply["evicted"], json!([{ "k": 0 }, { "k": 1 }]), "{tier}");
    }
    let reply = session.call("memory/init/req", json!({})).await;
    let limits = &reply["limits"];
    for (name, expected) in [("working", 2), ("episodic", 3), ("semantic", 4), ("max_memories", 5)]
    {
        assert_eq!(limits[name], expected, "{limits}");
    }
    assert!(limits["max_entry_bytes"].is_u64() && limits["max_bytes"].is_u64(), "{limits}");
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
async fn r18_what_was_nested_as_deep_as_may_be_comes_back() {
    let host = host().await;
    let (mut session, memory) = agent(&host, "a").await;
    // A message may be 127 deep; the entry stands at depth 3 in it.
    let nested = (0..124).fold(json!(1), |inner, _| json!([inner]));
    let key = (0..124).fold(json!(1), |inner, _| json!({ "k": inner }));
    let reply = store(
        &mut session,
        &memory,
        json!([{ "key": key, "content": nested, "tier": "episodic" }]),
    );
    assert_eq!(reply.await["errors"], json!([]));
    let reply = retrieve(&mut session, &memory, json!({ "keys": [key], "query": "1" })).await;
    assert_eq!((&reply["entries"][0]["content"], &reply["total"]), (&nested, &json!(1)));
    host.stop().await;
}

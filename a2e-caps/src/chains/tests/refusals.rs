//! Chains that are refused: fields, shapes, sizes, nodes that others refuse.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_schema_violations() {
    let Started { host, mut session, .. } = start().await;
    let node = |extra: Value| {
        let mut node = json!({ "node_id": "a", "kind": "tool", "name": "echo" });
        node.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({ "entry_node": "a", "nodes": [node] })
    };
    for (request, loc) in [
        (json!({ "nodes": 5 }), "nodes"),
        (json!({ "nodes": [5] }), "nodes[0]"),
        (json!({ "nodes": [{ "kind": "tool" }] }), "nodes[0]"),
        (json!({ "nodes": [{ "node_id": "a" }] }), "nodes[0]"),
        (node(json!({ "kind": "shell" })), "nodes[0].kind"),
        (node(json!({ "node_id": 5 })), "nodes[0].node_id"),
        (node(json!({ "name": null })), "nodes[0].name"),
        (node(json!({ "input": [] })), "nodes[0].input"),
        (node(json!({ "input_map": "x" })), "nodes[0].input_map"),
        (node(json!({ "condition": 1 })), "nodes[0].condition"),
        (node(json!({ "true_node": 1 })), "nodes[0].true_node"),
        (node(json!({ "false_node": 1 })), "nodes[0].false_node"),
        (node(json!({ "items_path": [] })), "nodes[0].items_path"),
        (node(json!({ "map_node": {} })), "nodes[0].map_node"),
        (node(json!({ "next_node": 0 })), "nodes[0].next_node"),
        (node(json!({ "on_error": false })), "nodes[0].on_error"),
        (json!({ "session_id": 1 }), "session_id"),
        (json!({ "chain_id": 1 }), "chain_id"),
        (json!({ "entry_node": 1 }), "entry_node"),
        (json!({ "initial_input": [] }), "initial_input"),
        (json!({ "correlation_id": {} }), "correlation_id"),
        (json!({ "streaming": "true" }), "streaming"),
        (json!({ "timeout": "5" }), "timeout"),
        (json!({ "timeout": 1.5 }), "timeout"),
    ] {
        let reply = session.call("chain/req", request.clone()).await;
        assert_eq!(reply["code"], "schema_violation", "{request}: {reply}");
        assert_eq!(reply["detail"]["errors"][0]["loc"], loc, "{request}: {reply}");
        assert_eq!(reply["capability_name"], "chains", "{request}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_looked_at_before_its_first_node_runs() {
    let chains = PluginConfig::new("chains", "chains", CLS).with_setting("max_nodes", 4);
    let Started { host, mut session, seen } = start_with(chains).await;
    let work = |id: &str, next: &str| {
        json!({ "node_id": id, "kind": "tool", "name": "work",
        "input": { "item": 1 }, "next_node": next })
    };
    let five: Vec<Value> = (0..5).map(|n| work(&n.to_string(), "")).collect();
    for (name, chain, code) in [
        ("nothing", json!({}), "bad_entry"),
        ("no entry", json!({ "nodes": [work("a", "")] }), "bad_entry"),
        (
            "an entry that is not there",
            json!({ "entry_node": "b", "nodes": [work("a", "")] }),
            "bad_entry",
        ),
        (
            "next is not there",
            json!({ "entry_node": "a", "nodes": [work("a", "b")] }),
            "chain_error",
        ),
        (
            "a name twice",
            json!({ "entry_node": "a", "nodes": [work("a", ""), work("a", "")] }),
            "chain_error",
        ),
        (
            "an empty name",
            json!({ "entry_node": "a", "nodes": [work("a", ""), work("", "")] }),
            "chain_error",
        ),
        (
            "a branch to nowhere",
            json!({ "entry_node": "a", "nodes": [work("a", ""),
            { "node_id": "b", "kind": "branch", "true_node": "c" }] }),
            "chain_error",
        ),
        (
            "help that is not there",
            json!({ "entry_node": "a", "nodes": [
            { "node_id": "a", "kind": "tool", "name": "work", "on_error": "b" }] }),
            "chain_error",
        ),
        (
            "a map of nothing",
            json!({ "entry_node": "a", "nodes": [work("a", "m"),
            { "node_id": "m", "kind": "map" }] }),
            "chain_error",
        ),
        (
            "a map of a branch",
            json!({ "entry_node": "a", "nodes": [work("a", "m"),
            { "node_id": "m", "kind": "map", "map_node": "b" }, { "node_id": "b", "kind": "branch" }] }),
            "chain_error",
        ),
        (
            "a tool without a name",
            json!({ "entry_node": "a", "nodes": [work("a", "b"),
            { "node_id": "b", "kind": "tool" }] }),
            "chain_error",
        ),
        (
            "a circle",
            json!({ "entry_node": "a", "nodes": [work("a", "b"), work("b", "a")] }),
            "chain_cycle",
        ),
        ("itself", json!({ "entry_node": "a", "nodes": [work("a", "a")] }), "chain_cycle"),
        ("too many", json!({ "entry_node": "0", "nodes": five }), "chain_error"),
    ] {
        let reply = session.call("chain/req", chain).await;
        assert_eq!(reply["type"], "chain/resp", "{name}: {reply}");
        assert_eq!(
            (&reply["success"], &reply["error"]["code"]),
            (&json!(false), &json!(code)),
            "{name}"
        );
        assert_ne!(reply["error"]["message"], "", "{name} says why");
        assert_eq!((&reply["nodes_run"], &reply["outputs"]), (&json!(0), &json!({})), "{name}");
        assert!(told(&mut session).is_empty(), "{name}: no node began");
    }
    assert_eq!(seen.calls.load(Ordering::SeqCst), 0, "no node ran");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_why_it_failed() {
    let Started { host, mut session, .. } = start().await;
    let mut run = async |node: Value| {
        let mut node = node;
        node["node_id"] = json!("a");
        session.call("chain/req", json!({ "entry_node": "a", "nodes": [node] })).await
    };
    for (node, cause, text) in [
        (json!({ "kind": "tool", "name": "nothing" }), "unknown_tool", "nothing"),
        (
            json!({ "kind": "tool", "name": "fail", "input": { "message": "so" } }),
            "tool_error",
            "so",
        ),
        (
            json!({ "kind": "tool", "name": "work", "input": { "item": "x" } }),
            "schema_violation",
            "item",
        ),
        (json!({ "kind": "skill", "name": "nothing" }), "unknown_skill", "unknown"),
        (json!({ "kind": "skill", "name": "refuses" }), "skill_error", "not today"),
        (json!({ "kind": "skill", "name": "breaks" }), "skill_error", "broken"),
        (json!({ "kind": "skill", "name": "garbage" }), "internal_error", "not understood"),
    ] {
        let reply = run(node.clone()).await;
        let error = &reply["error"];
        assert_eq!(
            (&error["code"], &error["cause"]),
            (&json!("chain_node_error"), &json!(cause)),
            "{reply}"
        );
        assert!(error["message"].as_str().unwrap().contains(text), "{node}: {reply}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capability_that_is_not_there_is_an_unknown_type() {
    let host =
        TestHost::start(HostConfig::new().plugin(PluginConfig::new("c", "chains", CLS))).await;
    let mut session = host.session();
    for kind in ["tool", "skill", "proc"] {
        let node = json!({ "node_id": "a", "kind": kind, "name": "x", "input": { "cmd": "ls" } });
        let reply = session.call("chain/req", json!({ "entry_node": "a", "nodes": [node] })).await;
        assert_eq!(reply["error"]["cause"], "unknown_type", "{kind}: {reply}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_and_items_have_a_bound() {
    let chains = PluginConfig::new("chains", "chains", CLS)
        .with_setting("max_output_bytes", 4000)
        .with_setting("max_items", 5);
    let Started { host, mut session, .. } = start_with(chains).await;
    // Each node doubles what there is.
    let nodes: Vec<Value> = (0..20)
        .map(|n| json!({ "node_id": format!("n{n}"), "kind": "tool", "name": "echo",
            "input_map": { "all": "$" }, "next_node": if n < 19 { format!("n{}", n + 1) } else { String::new() } }))
        .collect();
    let chain =
        json!({ "entry_node": "n0", "initial_input": { "t": "x".repeat(100) }, "nodes": nodes });
    let reply = session.call("chain/req", chain).await;
    assert_eq!(reply["error"]["cause"], "out_of_memory", "{reply}");
    assert!(reply.to_string().len() < 10_000);
    let chain = json!({ "entry_node": "m", "initial_input": { "list": [1, 2, 3, 4, 5, 6] }, "nodes": [
        { "node_id": "m", "kind": "map", "items_path": "$.list", "map_node": "e" },
        { "node_id": "e", "kind": "tool", "name": "echo" },
    ] });
    let reply = session.call("chain/req", chain).await;
    assert_eq!(
        (&reply["error"]["code"], &reply["error"]["node_id"]),
        (&json!("chain_error"), &json!("m"))
    );
    // An output counts as it is written, and twice where it is the final one as well.
    for (count, next, cause) in [
        (300, "", json!(null)),
        (300, "end", json!(null)),
        (400, "", json!("out_of_memory")),
        (400, "end", json!(null)),
        (700, "end", json!("out_of_memory")),
    ] {
        let chain = json!({ "entry_node": "a", "nodes": [
            { "node_id": "a", "kind": "tool", "name": "echo", "input": { "t": "\u{e9}".repeat(count) },
              "next_node": next },
            { "node_id": "end", "kind": "branch" },
        ] });
        let reply = session.call("chain/req", chain).await;
        assert_eq!(reply["error"]["cause"], cause, "{count} {next}: {reply}");
    }
    // Arguments that do not fit are not made: `work` would refuse those keys.
    let keys: serde_json::Map<_, _> = (0..10).map(|n| (format!("k{n}"), json!("$"))).collect();
    let chain = json!({ "entry_node": "a", "initial_input": { "t": "x".repeat(500) }, "nodes": [
        { "node_id": "a", "kind": "tool", "name": "work", "input_map": keys },
    ] });
    let reply = session.call("chain/req", chain).await;
    assert_eq!(reply["error"]["cause"], "out_of_memory", "{reply}");
    // What is nested as deep as a line may be still makes a reply.
    let deep = (0..120).fold(json!(1), |inner, _| json!([inner]));
    let chain = json!({ "entry_node": "a", "nodes": [
        { "node_id": "a", "kind": "tool", "name": "echo", "input_map": { "deep": "$.deep" } },
    ], "initial_input": { "deep": deep } });
    let reply = session.call("chain/req", chain).await;
    assert_eq!(reply["type"], "chain/resp", "{reply}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_out_of_their_range_are_refused() {
    for (key, value) in [("max_parallel", 33), ("max_parallel", 0), ("max_nodes", 0)] {
        let chains = PluginConfig::new("chains", "chains", CLS).with_setting(key, value);
        let failed =
            TestHost::build(Executor::builder(HostConfig::new().plugin(chains))).await.err();
        assert!(failed.is_some_and(|it| it.to_string().contains(key)), "{key}: {value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_no_longer_than_a_line_however_it_is_written() {
    let chains = PluginConfig::new("chains", "chains", CLS);
    let mut config = HostConfig::new().plugin(chains);
    for plugin in [
        PluginConfig::new("demo", "tools", "a2e.caps.demo.plugin.DemoToolPlugin"),
        PluginConfig::new("tools", "tools", "a2e.caps.tools.plugin.ToolPlugin"),
    ] {
        config = config.plugin(plugin);
    }
    let line = 64 << 10;
    config.limits.max_line_bytes = line;
    let host = TestHost::start(config).await;
    let mut session = host.session();
    let list = vec![json!("\u{e9}".repeat(1000)); 5];
    let chain = json!({ "entry_node": "m", "initial_input": { "list": list }, "nodes": [
        { "node_id": "m", "kind": "map", "items_path": "$.list", "map_node": "e" },
        { "node_id": "e", "kind": "tool", "name": "echo" },
    ] });
    let reply = session.call("chain/req", chain).await;
    assert_eq!(
        (&reply["type"], &reply["success"]),
        (&json!("chain/resp"), &json!(false)),
        "{reply}"
    );
    assert!(crate::json::Room(line).take(&reply), "{reply}");
    host.stop().await;
}

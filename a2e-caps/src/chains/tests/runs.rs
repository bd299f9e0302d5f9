//! What chains do: their way, their outputs, their events.

use super::*;

/// A chain, and what comes of it: `success`, `error.code`, outputs, final output, events.
struct Case {
    name: &'static str,
    chain: Value,
    success: bool,
    code: Value,
    outputs: Value,
    last: Value,
    told: &'static [&'static str],
}

fn echo(id: &str, input: Value, next: &str) -> Value {
    json!({ "node_id": id, "kind": "tool", "name": "echo", "input": input, "next_node": next })
}

fn fail(id: &str, on_error: &str, next: &str) -> Value {
    json!({ "node_id": id, "kind": "tool", "name": "fail", "input": { "message": "no" },
        "on_error": on_error, "next_node": next })
}

fn straight() -> Vec<Case> {
    vec![
        Case {
            name: "inputs are literals, paths, and both",
            chain: json!({ "entry_node": "a", "initial_input": { "who": "Ada", "n": [1, 2] }, "nodes": [
                { "node_id": "a", "kind": "tool", "name": "echo", "input": { "text": "$.who", "keep": 1 },
                  "input_map": { "text": "$.who", "second": "$.n[1]", "alias": "$.input.n.0" },
                  "next_node": "b" },
                { "node_id": "b", "kind": "tool", "name": "echo",
                  "input_map": { "text": "$.a.text", "none": "$.z.y" } },
            ] }),
            success: true,
            code: json!(null),
            outputs: json!({
                "a": { "text": "Ada", "keep": 1, "second": 2, "alias": 1 },
                "b": { "text": "Ada", "none": null },
            }),
            last: json!({ "text": "Ada", "none": null }),
            told: &["a start", "a done", "b start", "b done"],
        },
        Case {
            name: "a skill",
            chain: json!({ "entry_node": "s", "nodes": [
                { "node_id": "s", "kind": "skill", "name": "greet", "input": { "who": "Bo" } },
            ] }),
            success: true,
            code: json!(null),
            outputs: json!({ "s": { "text": "hello Bo" } }),
            last: json!({ "text": "hello Bo" }),
            told: &["s start", "s done"],
        },
        Case {
            name: "a branch ends a chain, with no output of its own",
            chain: json!({ "entry_node": "a", "nodes": [
                echo("a", json!({ "n": 3 }), "b"),
                { "node_id": "b", "kind": "branch", "condition": "$.a.n > 5", "true_node": "a" },
            ] }),
            success: true,
            code: json!(null),
            outputs: json!({ "a": { "n": 3 } }),
            last: json!(null),
            told: &["a start", "a done"],
        },
        Case {
            name: "a branch chooses",
            chain: json!({ "entry_node": "b", "initial_input": { "ok": true }, "nodes": [
                { "node_id": "b", "kind": "branch", "condition": "$.ok == true",
                  "true_node": "yes", "false_node": "no" },
                echo("yes", json!({ "y": 1 }), ""),
                echo("no", json!({ "n": 1 }), ""),
            ] }),
            success: true,
            code: json!(null),
            outputs: json!({ "yes": { "y": 1 } }),
            last: json!({ "y": 1 }),
            told: &["yes start", "yes done"],
        },
    ]
}

fn failing() -> Vec<Case> {
    vec![
        Case {
            name: "a failure aborts and keeps what was done",
            chain: json!({ "entry_node": "a", "nodes": [
                echo("a", json!({ "n": 1 }), "f"), fail("f", "abort", "c"), echo("c", json!({}), ""),
            ] }),
            success: false,
            code: json!("chain_node_error"),
            outputs: json!({ "a": { "n": 1 }, "f": null }),
            last: json!(null),
            told: &["a start", "a done", "f start", "f error"],
        },
        Case {
            name: "a failure is passed over",
            chain: json!({ "entry_node": "f", "nodes": [
                fail("f", "skip", "c"), echo("c", json!({ "c": 1 }), ""),
            ] }),
            success: false,
            code: json!(null),
            outputs: json!({ "f": null, "c": { "c": 1 } }),
            last: json!({ "c": 1 }),
            told: &["f start", "f error", "c start", "c done"],
        },
        Case {
            name: "a failure leads elsewhere",
            chain: json!({ "entry_node": "f", "nodes": [
                fail("f", "help", "c"), echo("c", json!({}), ""), echo("help", json!({ "h": 1 }), ""),
            ] }),
            success: false,
            code: json!(null),
            outputs: json!({ "f": null, "help": { "h": 1 } }),
            last: json!({ "h": 1 }),
            told: &["f start", "f error", "help start", "help done"],
        },
        Case {
            name: "a node is come to a second time",
            chain: json!({ "entry_node": "a", "initial_input": { "again": 1 }, "nodes": [
                echo("a", json!({ "n": 1 }), "b"),
                { "node_id": "b", "kind": "branch", "condition": "$.again == 1", "true_node": "a" },
            ] }),
            success: false,
            code: json!("chain_cycle"),
            outputs: json!({ "a": { "n": 1 } }),
            last: json!(null),
            told: &["a start", "a done"],
        },
        Case {
            name: "a condition that compares a text with a number",
            chain: json!({ "entry_node": "b", "initial_input": { "t": "x" }, "nodes": [
                { "node_id": "b", "kind": "branch", "condition": "$.t > 5" },
            ] }),
            success: false,
            code: json!("chain_error"),
            outputs: json!({}),
            last: json!(null),
            told: &[],
        },
    ]
}

fn maps() -> Vec<Case> {
    let work = |input_map: Value| json!({ "node_id": "w", "kind": "tool", "name": "work", "input_map": input_map });
    let map = |path: &str| {
        json!({ "node_id": "m", "kind": "map", "items_path": path, "map_node": "w",
        "next_node": "end" })
    };
    vec![
        Case {
            name: "a map keeps the order, leaves failures out, goes on",
            chain: json!({ "entry_node": "m", "initial_input": { "list": [3, -1, 1] }, "nodes": [
                map("$.list"), work(json!({})), echo("end", json!({ "e": 1 }), ""),
            ] }),
            success: false,
            code: json!(null),
            outputs: json!({
                "m": [{ "value": 30 }, { "value": 10 }], "w": { "value": 10 }, "end": { "e": 1 },
            }),
            last: json!({ "e": 1 }),
            told: &[],
        },
        Case {
            name: "a map with arguments of its own",
            chain: json!({ "entry_node": "m", "initial_input": { "list": [{ "n": 1 }, { "n": 2 }], "t": 1 },
                "nodes": [
                    map("$.list"), work(json!({ "item": "$.item.n", "ms": "$.t" })),
                    { "node_id": "end", "kind": "branch" },
                ] }),
            success: true,
            code: json!(null),
            outputs: json!({ "m": [{ "value": 10 }, { "value": 20 }], "w": { "value": 20 } }),
            last: json!(null),
            told: &[],
        },
        Case {
            name: "no list is one item",
            chain: json!({ "entry_node": "m", "initial_input": { "list": 7 }, "nodes": [
                map("$.list"), work(json!({})), { "node_id": "end", "kind": "branch" },
            ] }),
            success: true,
            code: json!(null),
            outputs: json!({ "m": [{ "value": 70 }], "w": { "value": 70 } }),
            last: json!(null),
            told: &["w start", "w done"],
        },
        Case {
            name: "an empty list",
            chain: json!({ "entry_node": "m", "initial_input": { "list": [] }, "nodes": [
                { "node_id": "m", "kind": "map", "items_path": "$.list", "map_node": "w" },
                work(json!({})),
            ] }),
            success: true,
            code: json!(null),
            outputs: json!({ "m": [] }),
            last: json!([]),
            told: &[],
        },
        Case {
            name: "every item fails",
            chain: json!({ "entry_node": "m", "initial_input": { "list": [-1] }, "nodes": [
                { "node_id": "m", "kind": "map", "items_path": "$.list", "map_node": "w" },
                work(json!({})),
            ] }),
            success: false,
            code: json!(null),
            outputs: json!({ "m": [] }),
            last: json!([]),
            told: &["w start", "w error"],
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_run_as_the_table_says() {
    let Started { host, mut session, .. } = start().await;
    for case in straight().into_iter().chain(failing()).chain(maps()) {
        let name = case.name;
        let reply = session.call("chain/req", case.chain).await;
        assert_eq!(reply["type"], "chain/resp", "{name}: {reply}");
        assert_eq!(reply["success"], case.success, "{name}: {reply}");
        assert_eq!(
            reply["error"].get("code").unwrap_or(&Value::Null),
            &case.code,
            "{name}: {reply}"
        );
        assert_eq!(reply.get("code").unwrap_or(&Value::Null), &case.code, "{name}: {reply}");
        assert_eq!(reply["outputs"], case.outputs, "{name}");
        assert_eq!(reply["final_output"], case.last, "{name}");
        let count = case.outputs.as_object().unwrap().len();
        assert_eq!(reply["nodes_run"], count, "{name}");
        assert_eq!(reply["chain_id"].as_str().unwrap().len(), 8, "{name}");
        let told = told(&mut session);
        if !case.told.is_empty() {
            assert_eq!(told, case.told, "{name}");
        }
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_runs_some_items_at_a_time_and_keeps_their_order() {
    let chains = PluginConfig::new("chains", "chains", CLS).with_setting("max_parallel", 3);
    let Started { host, mut session, seen } = start_with(chains).await;
    let list: Vec<Value> = (0..12).map(|n| json!({ "n": n, "ms": 60 - n * 5 })).collect();
    let reply = session
        .call(
            "chain/req",
            json!({
                "chain_id": "mine", "entry_node": "m", "initial_input": { "list": list },
                "nodes": [
                    { "node_id": "m", "kind": "map", "items_path": "$.list", "map_node": "w" },
                    { "node_id": "w", "kind": "tool", "name": "work",
                      "input_map": { "item": "$.item.n", "ms": "$.item.ms" } },
                ],
            }),
        )
        .await;
    assert_eq!((&reply["success"], &reply["chain_id"]), (&json!(true), &json!("mine")), "{reply}");
    let expected: Vec<Value> = (0..12).map(|n| json!({ "value": n * 10 })).collect();
    assert_eq!(reply["outputs"]["m"], json!(expected));
    assert_eq!(seen.most.load(Ordering::SeqCst), 3, "three at a time");
    let events = session.others();
    let mut places: Vec<u64> = events
        .iter()
        .filter(|it| it["phase"] == "done")
        .map(|it| it["data"]["index"].as_u64().unwrap())
        .collect();
    places.sort_unstable();
    assert_eq!(places, (0..12).collect::<Vec<_>>(), "each item tells its place");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_run_to_their_end() {
    let Started { host, mut session, .. } = start().await;
    for (input, success, outcome) in [
        (json!({ "command": ["sh", "-c", "exit 0"] }), true, "completed"),
        (json!({ "cmd": "sleep 0.05" }), true, "completed"),
        (json!({ "cmd": ["sh", "-c", "exit 3"] }), true, "failed"),
        (json!({ "cmd": "cat" }), true, "completed"),
        (
            json!({ "cmd": ["sh", "-c", "test $X = 1"], "env": { "X": "1" }, "cwd": "/" }),
            true,
            "completed",
        ),
        (json!({ "cmd": "python3 x" }), false, "tool_denied"),
        (json!({ "cmd": "" }), false, "schema_violation"),
        (json!({ "cmd": 5 }), false, "schema_violation"),
        (json!({ "cmd": ["sh", 5] }), false, "schema_violation"),
        (json!({}), false, "schema_violation"),
    ] {
        let chain = json!({ "entry_node": "p", "streaming": false,
            "nodes": [{ "node_id": "p", "kind": "proc", "input": input }] });
        let reply = session.call("chain/req", chain).await;
        assert_eq!(reply["success"], success, "{input}: {reply}");
        if success {
            assert_eq!(reply["outputs"]["p"]["status"], outcome, "{input}: {reply}");
            assert_eq!(reply["outputs"]["p"]["proc_id"].as_str().unwrap().len(), 32);
        } else {
            assert_eq!(reply["error"]["code"], "chain_node_error", "{input}: {reply}");
            assert_eq!(reply["error"]["cause"], outcome, "{input}: {reply}");
            assert_eq!(reply["error"]["node_id"], "p");
        }
    }
    assert!(told(&mut session).is_empty(), "`streaming: false` has no events");
    host.stop().await;
}

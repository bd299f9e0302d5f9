//! Chains of the settings as tools.

use super::*;

fn chains(tools: Value) -> PluginConfig {
    PluginConfig::new("chains", "chains", CLS).with_setting("tools", tools)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_the_settings_is_a_tool() {
    let schema = json!({
        "type": "object",
        "properties": { "n": { "type": "integer" } },
        "required": ["n"],
    });
    let twice = json!({
        "description": "Multiplies twice.",
        "input_schema": schema,
        "nodes": [
            { "node_id": "a", "kind": "tool", "name": "work", "input_map": { "item": "$.n" }, "next_node": "b" },
            { "node_id": "b", "kind": "tool", "name": "work", "input_map": { "item": "$.a.value" } },
        ],
    });
    let Started { host, mut session, seen } = start_with(chains(json!({ "twice": twice }))).await;
    let list = session.call("tool/list/req", json!({ "query": "twice" })).await;
    let tool = &list["tools"][0];
    assert_eq!(
        (&tool["name"], &tool["description"]),
        (&json!("twice"), &json!("Multiplies twice."))
    );
    assert_eq!(tool["input_schema"]["required"], json!(["n"]));
    let call = |n: Value| json!({ "tool_name": "twice", "arguments": { "n": n } });
    let reply = session.call("tool/call/req", call(json!(3))).await;
    assert_eq!(reply["data"]["success"], true, "{reply}");
    assert_eq!(reply["data"]["data"], json!({ "value": 300 }), "{reply}");
    let error = session.call_error("tool/call/req", call(json!("three"))).await;
    assert_eq!(error, "schema_violation");
    let reply = session.call("tool/call/req", call(json!(-1))).await;
    let data = &reply["data"];
    assert_eq!(
        (&data["success"], &data["error_code"]),
        (&json!(false), &json!("chain_node_error"))
    );
    let why = data["error"].as_str().unwrap();
    assert!(why.contains("-1 is negative") && why.ends_with("(node `a`)"), "{why}");
    assert_eq!(seen.calls.load(Ordering::SeqCst), 3);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_cannot_run_is_refused_at_the_start() {
    for (tools, expected) in [
        (json!({ "x": { "description": "d", "nodes": [] } }), "tools.x: "),
        (
            json!({ "x": { "description": " ", "nodes": [
                { "node_id": "a", "kind": "tool", "name": "work" },
            ] } }),
            "needs a name and a description",
        ),
        (
            json!({ "x": { "description": "d", "nodes": [
                { "node_id": "a", "kind": "tool", "name": "work", "next_node": "nowhere" },
            ] } }),
            "nowhere",
        ),
    ] {
        let config = HostConfig::new().plugin(chains(tools));
        let error = TestHost::build(Executor::builder(config)).await.err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

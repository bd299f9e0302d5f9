//! The demo through a whole host.

use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::testing::TestHost;
use serde_json::{Value, json};

fn demo(run: Option<&str>) -> HostConfig {
    let plugin = PluginConfig::new("demo", "tools", "a2e.caps.demo.plugin.DemoToolPlugin");
    HostConfig::new().plugin(match run {
        Some(run) => plugin.with_setting("run", run),
        None => plugin,
    })
}

fn call(tool: &str, arguments: Value) -> Value {
    json!({ "tool_name": tool, "arguments": arguments })
}

fn names(reply: &Value) -> Vec<&str> {
    reply["tools"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn echo_gives_back_its_arguments_wherever_it_runs() {
    for run in [None, Some("inline"), Some("pool"), Some("blocking"), Some("future")] {
        let host = TestHost::start(demo(run)).await;
        let mut session = host.session();
        for arguments in [json!({}), json!({ "a": [1.5, null, "é\u{2028}"], "b": { "c": true } })]
        {
            let reply = session.call("tool/call/req", call("echo", arguments.clone())).await;
            assert_eq!(reply["type"], "tool/call/resp", "{run:?}: {reply}");
            let result = &reply["data"];
            assert_eq!(result["data"], arguments);
            assert_eq!((&result["success"], &result["tool_name"]), (&json!(true), &json!("echo")));
            assert!(result["duration_ms"].is_u64() && result["events"] == json!([]));
            assert!(reply["created_at"].as_f64().unwrap() > 1e9);
        }
        host.stop().await;
    }
}

#[tokio::test]
async fn lists_follow_tags_query_and_deferral() {
    let host = TestHost::start(demo(None)).await;
    let mut session = host.session();
    let all = ["echo", "sleep", "fail", "stream", "hidden"];
    for (request, expected) in [
        (json!({}), &all[..4]),
        (json!({ "include_deferred": true }), &all[..]),
        (json!({ "query": "ECHO" }), &all[..1]),
        (json!({ "query": "deferred" }), &[]),
        (json!({ "query": "deferred", "include_deferred": true }), &all[4..]),
        (json!({ "filter_tags": ["Demo"] }), &all[..4]),
        (json!({ "filter_tags": ["demo", "files"] }), &[]),
    ] {
        let reply = session.call("tool/list/req", request.clone()).await;
        assert_eq!(names(&reply), expected, "{request}");
    }
    host.stop().await;
}

#[tokio::test]
async fn failures_carry_their_codes() {
    let host = TestHost::start(demo(None)).await;
    let mut session = host.session();
    for (request, code) in [
        (call("fail", json!({})), "tool_error"),
        (call("fail", json!({ "message": 5 })), "schema_violation"),
        (call("nope", json!({})), "unknown_tool"),
        (json!({ "arguments": {} }), "unknown_tool"),
        (call("echo", json!([])), "schema_violation"),
        (call("echo", json!(null)), "schema_violation"),
        (json!({ "tool_name": "echo" }), "schema_violation"),
        (json!({ "tool_name": 5, "arguments": {} }), "schema_violation"),
        (json!({ "session_id": 5, "arguments": {} }), "schema_violation"),
        (json!({ "timeout": "5", "arguments": {} }), "schema_violation"),
        (call("sleep", json!({})), "schema_violation"),
        (call("sleep", json!({ "ms": "5" })), "schema_violation"),
        (call("stream", json!({ "n": 1_000_000 })), "schema_violation"),
    ] {
        let text = request.to_string();
        assert_eq!(session.call_error("tool/call/req", request).await, code, "{text}");
    }
    let reply = session.call("tool/call/req", call("nope", json!({}))).await;
    assert_eq!(reply["detail"]["tool_name"], "nope");
    assert_eq!(reply["capability_name"], "tools");
    let reply = session.call("tool/call/req", call("echo", json!("x"))).await;
    assert_eq!(reply["detail"]["errors"][0]["loc"], "arguments");
    host.stop().await;
}

#[tokio::test]
async fn events_come_in_order_and_only_when_asked_for() {
    let host = TestHost::start(demo(None)).await;
    let mut session = host.session();
    for (streaming, expected) in [(true, 5), (false, 0)] {
        let mut request = call("stream", json!({ "n": 5.0 }));
        request["streaming"] = json!(streaming);
        let id = session.send("tool/call/req", request).await;
        let reply = session.reply_to(&id).await;
        assert_eq!(reply["data"]["data"], json!({ "sent": expected, "dropped": 0 }));
        let events = session.others();
        assert_eq!(events.len(), expected);
        for (seq, event) in events.iter().enumerate() {
            assert_eq!((&event["type"], &event["seq"]), (&json!("tool/event"), &json!(seq)));
            assert_eq!((&event["req_id"], &event["kind"]), (&json!(id), &json!("progress")));
        }
    }
    host.stop().await;
}

#[tokio::test]
async fn r32_sleep_ends_at_its_timeout_and_when_it_is_cancelled() {
    let host = TestHost::start(demo(None)).await;
    let mut session = host.session();
    let mut request = call("sleep", json!({ "ms": 60_000 }));
    let id = session.send("tool/call/req", request.clone()).await;
    session.send("cancel", json!({ "req_id": id })).await;
    assert_eq!(session.reply_to(&id).await["code"], "cancelled");
    request["timeout"] = json!(1);
    assert_eq!(session.call_error("tool/call/req", request).await, "timeout");
    let reply = session.call("tool/call/req", call("sleep", json!({ "ms": 10 }))).await;
    assert!(reply["data"]["duration_ms"].as_u64().unwrap() >= 10, "{reply}");
    host.stop().await;
}

#[tokio::test]
async fn a_wrong_setting_is_the_plugins_own_failure() {
    let host = TestHost::lenient(demo(Some("sideways"))).await;
    let mut session = host.session();
    assert_eq!(session.call_error("tool/list/req", json!({})).await, "unknown_type");
    host.stop().await;
}

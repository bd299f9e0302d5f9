//! Fields that nobody knows are legal, and named in the reply.

use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};

use crate::support::{plugin, script, with};

/// The reply to an echo request of this type with these fields beside its own.
async fn echoed(session: &mut TestSession, wire_type: &str, more: Value) -> Value {
    let mut body = json!({ "text": "t" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let reply = session.call(wire_type, body).await;
    assert_eq!((&reply["type"], &reply["text"]), (&json!("echo/resp"), &json!("t")), "{reply}");
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_named_through_every_typed_door() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let mut session = host.session();
    for door in
        ["inline", "pool", "blocking", "future", "later_pool", "later_blocking", "later_future"]
    {
        let wire_type = format!("echo/{door}/req");
        let reply = echoed(&mut session, &wire_type, json!({})).await;
        assert!(reply.get("ignored").is_none(), "{door}: {reply}");
        let reply =
            echoed(&mut session, &wire_type, json!({ "txet": 1, "däta": { "text": 2 } })).await;
        let mut named: Vec<&str> =
            reply["ignored"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        named.sort_unstable();
        assert_eq!(named, ["däta", "txet"], "{door}");
    }
    // What reads a line by itself is not judged.
    for door in ["dynamic", "dynamic_pool", "dynamic_future"] {
        let reply = echoed(&mut session, &format!("echo/{door}/req"), json!({ "txet": 1 })).await;
        assert!(reply.get("ignored").is_none(), "{door}: {reply}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_message_may_have_is_never_named() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let mut session = host.session();
    let line = r#"{"type":"echo/pool/req","id":"a","version":"1.0","a2e":"1.0","ts":1.5,"req_id":"","correlation_id":"c","text":"t"}"#;
    session.send_line(line).await;
    let reply = session.reply_to("a").await;
    assert!(reply.get("ignored").is_none(), "{reply}");
    // A deadline of its own has only a type that says so.
    let reply = echoed(&mut session, "echo/inline/req", json!({ "timeout": 5 })).await;
    assert_eq!(reply["ignored"], json!(["timeout"]));
    // As many as help, and none longer than a name is.
    let mut more = serde_json::Map::new();
    for number in 0..40 {
        more.insert(format!("{number}{}", "x".repeat(500)), json!(0));
    }
    let reply = echoed(&mut session, "echo/inline/req", json!(more)).await;
    let named = reply["ignored"].as_array().unwrap();
    assert_eq!(named.len(), 16);
    assert!(named.iter().all(|it| it.as_str().unwrap().len() == 64), "{named:?}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_names_them_too() {
    let memory = PluginConfig::new("memory", "memory", "a2e.caps.memory.plugin.MemoryPlugin");
    let host = TestHost::start(HostConfig::new().plugin(memory)).await;
    let mut session = host.session();
    // Not decoded: a field that must be there is misspelt.
    let reply = session.call("memory/store/req", json!({ "memoryid": "x" })).await;
    assert_eq!(
        (&reply["code"], &reply["ignored"]),
        (&json!("schema_violation"), &json!(["memoryid"]))
    );
    // Decoded and refused.
    let body = json!({ "memory_id": "x", "entris": [] });
    let reply = session.call("memory/store/req", body).await;
    assert_eq!(
        (&reply["code"], &reply["ignored"]),
        (&json!("memory_not_found"), &json!(["entris"]))
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_s_own_messages_name_them() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let mut session = host.operator();
    let reply = session.call("handshake/req", json!({ "agentid": "a", "agent_caps": [] })).await;
    assert_eq!((&reply["ok"], &reply["ignored"]), (&json!(true), &json!(["agentid"])));
    let reply = session.call("handshake/req", json!({ "agent_id": "a" })).await;
    assert!(reply.get("ignored").is_none(), "{reply}");
    let reply = session.call("host/explain/req", json!({ "message_type": "x", "typ": "y" })).await;
    assert_eq!(reply["ignored"], json!(["typ"]), "{reply}");
    let reply = session.call("host/status/req", json!({})).await;
    assert!(reply.get("ignored").is_none(), "{reply}");
    host.stop().await;
}

/// Every field that a client of the reference sends, by type (protocol 1.0, sections 3 and 13).
fn of_the_reference() -> Vec<(&'static str, Value)> {
    vec![
        (
            "handshake/req",
            json!({ "agent_id": "a", "agent_caps": ["streaming"], "auth_token": "" }),
        ),
        (
            "tool/list/req",
            json!({ "filter_kind": "", "filter_tags": [], "query": "", "include_deferred": false }),
        ),
        (
            "tool/call/req",
            json!({ "session_id": "s", "tool_name": "echo", "arguments": {}, "correlation_id": "c",
                    "streaming": true, "timeout": 60 }),
        ),
        (
            "tool/call/req",
            json!({ "session_id": "s", "tool_name": "read_file", "arguments": { "path": "Cargo.toml" },
                    "correlation_id": "c", "streaming": true, "timeout": 60 }),
        ),
        ("memory/init/req", json!({ "namespace": "n", "scope": {}, "metadata": {} })),
        ("memory/store/req", json!({ "memory_id": "n", "entries": [] })),
        (
            "memory/retrieve/req",
            json!({ "memory_id": "n", "keys": [], "query": "", "tags": [], "tier": "", "limit": 10,
                    "min_score": 0.0 }),
        ),
        (
            "memory/forget/req",
            json!({ "memory_id": "n", "keys": [], "tags": [], "tier": "episodic" }),
        ),
        (
            "proc/spawn/req",
            json!({ "session_id": "s", "cmd": ["true"], "cwd": "", "env": {}, "stdin_mode": "pipe",
                    "timeout": 100_000 }),
        ),
        ("proc/write/req", json!({ "proc_id": "p", "data": "", "eof": false })),
        ("proc/kill/req", json!({ "proc_id": "p", "signal": "SIGTERM" })),
        ("proc/status/req", json!({ "proc_id": "p" })),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_client_of_the_reference_sends_is_named() {
    let plugin =
        |name: &str, class: &str| PluginConfig::new(name, name, format!("a2e.caps.{class}"));
    let config = HostConfig::new()
        .plugin(PluginConfig::new("demo", "tools", "a2e.caps.demo.plugin.DemoToolPlugin"))
        .plugin(plugin("tools", "tools.plugin.ToolPlugin").with_setting("roots", ["."]))
        .plugin(plugin("memory", "memory.plugin.MemoryPlugin"))
        .plugin(plugin("proc", "proc.plugin.ProcPlugin"));
    let host = TestHost::start(config).await;
    let mut session = host.session();
    for (wire_type, mut body) in of_the_reference() {
        body["ts"] = json!(1.5);
        let reply = session.call(wire_type, body.clone()).await;
        assert!(reply.get("ignored").is_none(), "{wire_type}: {reply}");
        body["no_such_field"] = json!(null);
        let reply = session.call(wire_type, body).await;
        assert_eq!(reply["ignored"], json!(["no_such_field"]), "{wire_type}: {reply}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_of_several_plugins_knows_is_not_named() {
    // The first passes without reading; the second answers.
    let config =
        with([script("one", "inline", "pass unknown_tool"), script("two", "pool", "reply")]);
    let host = TestHost::start(config).await;
    let mut session = host.session();
    let reply = session.call("script/first/req", json!({ "anything": 1 })).await;
    assert_eq!(reply["by"], "two");
    assert!(reply.get("ignored").is_none(), "{reply}");
    // Lists of two plugins are merged, and name a field once.
    let tools = PluginConfig::new("tools", "tools", "a2e.caps.tools.plugin.ToolPlugin");
    let demo = PluginConfig::new("demo", "tools", "a2e.caps.demo.plugin.DemoToolPlugin");
    host.stop().await;
    let host = TestHost::start(HostConfig::new().plugin(tools).plugin(demo)).await;
    let reply = host.session().call("tool/list/req", json!({ "qery": "x" })).await;
    assert_eq!(reply["ignored"], json!(["qery"]), "{reply}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_before_the_first_line_is_passed_over() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let mut session = host.session();
    session.send_line("\u{feff}{\"type\":\"ping\",\"id\":\"a\"}").await;
    assert_eq!(session.reply_to("a").await["type"], "pong");
    // Later it is no part of a message.
    session.send_line("\u{feff}{\"type\":\"ping\",\"id\":\"b\"}").await;
    assert_eq!(session.next().await.unwrap()["code"], "parse_error");
    host.stop().await;
}

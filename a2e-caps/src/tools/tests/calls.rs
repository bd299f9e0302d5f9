//! Requests as agents write them: lists by tag and query, calls with wrong fields.

use serde_json::json;

use super::{CLS, call, failure, names, result, start, tools};
use a2e_core::config::PluginConfig;

#[tokio::test]
async fn lists_follow_tags_and_query() {
    let folder = tempfile::tempdir().unwrap();
    let all = ["read_file", "write_file", "list_dir"];
    let plugin = tools("tools", &[folder.path()]).with_setting("allow_write", true);
    let plugin = plugin.with_setting("providers", all.to_vec());
    let (host, mut session) = start([plugin]).await;
    for (request, expected) in [
        (json!({}), &all[..]),
        (json!({ "filter_kind": "x", "include_deferred": true }), &all),
        (json!({ "filter_tags": ["FILES"] }), &all),
        (json!({ "filter_tags": ["files", "Write"] }), &all[1..2]),
        (json!({ "filter_tags": ["read", "write"] }), &[]),
        (json!({ "filter_tags": ["file"] }), &[]),
        (json!({ "query": "_FILE" }), &all[..2]),
        (json!({ "query": "sorted by name" }), &all[2..]),
        (json!({ "query": "write" }), &all[1..2]),
        (json!({ "query": "file", "filter_tags": ["write"] }), &all[1..2]),
        (json!({ "query": "nothing like it" }), &[]),
    ] {
        assert_eq!(names(&mut session, request.clone()).await, expected, "{request}");
    }
    for request in
        [json!({ "filter_tags": "files" }), json!({ "query": 5 }), json!({ "query": null })]
    {
        assert_eq!(session.call_error("tool/list/req", request).await, "schema_violation");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_name_that_is_nearly_one_is_told_whichever_plugin_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let demo = |name| PluginConfig::new(name, "tools", "a2e.caps.demo.plugin.DemoToolPlugin");
    // The one that is asked first has nothing like it.
    let (host, mut session) = start([demo("demo"), tools("tools", &[folder.path()])]).await;
    for (name, meant) in [
        ("red_file", Some("read_file")),
        ("ecko", Some("echo")),
        ("Grep", Some("grep")),
        ("x", None),
    ] {
        let error = failure(&mut session, name, json!({})).await;
        assert_eq!(error["code"], "unknown_tool", "{error}");
        assert_eq!(error["detail"]["nearest"].as_str(), meant, "{error}");
        let text = error["message"].as_str().unwrap();
        assert_eq!(text.contains("meant?"), meant.is_some(), "{error}");
        assert!(text.contains("`tool/list/req` lists them"), "{error}");
    }
    // The operator does not offer it.
    let error = failure(&mut session, "http_gt", json!({})).await;
    assert!(error["detail"]["nearest"].is_null(), "{error}");
    host.stop().await;
}

#[tokio::test]
async fn definitions_have_every_field_that_clients_expect() {
    let folder = tempfile::tempdir().unwrap();
    let (host, mut session) = start([tools("tools", &[folder.path()])]).await;
    let reply = session.call("tool/list/req", json!({})).await;
    for tool in reply["tools"].as_array().unwrap() {
        for (key, is_right) in [
            ("name", tool["name"].is_string()),
            ("description", tool["description"].as_str().is_some_and(|it| it.len() > 20)),
            ("streaming", tool["streaming"] == false),
            ("idempotent", tool["idempotent"] == true),
            ("version", tool["version"] == "1.0.0"),
            ("defer_loading", tool["defer_loading"] == false),
            ("input_schema", tool["input_schema"]["type"] == "object"),
            ("unknown arguments", tool["input_schema"]["additionalProperties"] == false),
            ("output_schema", tool["output_schema"]["properties"].is_object()),
        ] {
            assert!(is_right, "{key}: {tool}");
        }
        for parameter in tool["input_parameters"].as_array().unwrap() {
            let kind = parameter["type"].as_str().unwrap();
            assert!(["string", "integer", "array", "boolean"].contains(&kind), "{parameter}");
            let name = parameter["name"].as_str().unwrap();
            assert_eq!(tool["input_schema"]["properties"][name]["type"], kind, "{parameter}");
            assert!(parameter["description"].is_string() && parameter["required"].is_boolean());
        }
    }
    host.stop().await;
}

#[tokio::test]
async fn calls_with_wrong_fields_are_refused_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let (host, mut session) = start([tools("tools", &[folder.path()])]).await;
    for (request, code, loc) in [
        (json!({ "tool_name": "read_file" }), "schema_violation", ""),
        (call("read_file", json!([])), "schema_violation", "arguments"),
        (call("read_file", json!("{}")), "schema_violation", "arguments"),
        (call("read_file", json!(null)), "schema_violation", "arguments"),
        (json!({ "tool_name": null, "arguments": {} }), "schema_violation", "tool_name"),
        (json!({ "arguments": {}, "timeout": "1" }), "schema_violation", "timeout"),
        (json!({ "arguments": {}, "streaming": "true" }), "schema_violation", "streaming"),
        (call("read_file", json!({ "path": null })), "schema_violation", "arguments.path"),
    ] {
        let text = request.to_string();
        let reply = session.call("tool/call/req", request).await;
        assert_eq!(
            (&reply["code"], &reply["detail"]["errors"][0]["loc"]),
            (&json!(code), &json!(loc)),
            "{text}"
        );
    }
    let many = json!({ "offset": "1", "limit": true, "unit": 5 });
    let errors = failure(&mut session, "read_file", many).await["detail"]["errors"].take();
    let errors = errors.as_array().unwrap();
    assert_eq!(errors.len(), 4, "{errors:?}");
    host.stop().await;
}

#[tokio::test]
async fn an_unknown_argument_is_refused_and_an_unknown_field_is_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), "x").unwrap();
    let (host, mut session) = start([tools("tools", &[folder.path()])]).await;
    for (more, told) in [
        ("lmit", "arguments.lmit: unknown; did you mean \"limit\"?"),
        ("why", "arguments.why: unknown; there are limit, offset, path, unit"),
    ] {
        let error = failure(&mut session, "read_file", json!({ "path": "f", more: 1 })).await;
        assert_eq!((&error["code"], &error["message"]), (&json!("schema_violation"), &json!(told)));
    }
    let request = json!({
        "session_id": "s", "tool_name": "read_file", "arguments": { "path": "f" },
        "correlation_id": "c", "streaming": true, "timeout": 60.0, "extra": {}
    });
    let reply = session.call("tool/call/req", request).await;
    assert_eq!((&reply["data"]["success"], &reply["ignored"]), (&json!(true), &json!(["extra"])));
    assert!(reply["created_at"].as_f64().unwrap() > 1e9);
    host.stop().await;
}

#[tokio::test]
async fn a_byte_order_mark_before_the_first_line_of_a_file_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), "\u{feff}first\nsecond\u{feff}\n").unwrap();
    let plugin = tools("tools", &[folder.path()]).with_setting("allow_write", true);
    let (host, mut session) = start([plugin]).await;
    for (arguments, content) in [
        (json!({ "path": "f" }), "first\nsecond\u{feff}\n"),
        (json!({ "path": "f", "unit": "lines", "limit": 1 }), "first\n"),
        (json!({ "path": "f", "unit": "lines", "offset": 1 }), "second\u{feff}\n"),
        (json!({ "path": "f", "offset": 3, "limit": 5 }), "first"),
    ] {
        let it = result(&mut session, "read_file", arguments.clone()).await;
        assert_eq!(it["data"]["content"], content, "{arguments}");
    }
    #[cfg(feature = "search")]
    {
        let it = result(&mut session, "grep", json!({ "pattern": "^first$" })).await;
        assert_eq!(it["data"]["matches"][0]["text"], "first", "{it}");
    }
    // An edit leaves it where it is.
    let edits = json!([{ "old": "first\nsecond", "new": "second" }]);
    result(&mut session, "edit_file", json!({ "path": "f", "edits": edits })).await;
    let bytes = std::fs::read_to_string(folder.path().join("f")).unwrap();
    assert_eq!(bytes, "\u{feff}second\u{feff}\n");
    host.stop().await;
}

#[cfg(not(feature = "search"))]
#[tokio::test]
async fn a_program_without_search_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = tools("tools", &[folder.path()]);
    let (host, mut session) = start([plugin.clone()]).await;
    let error = failure(&mut session, "grep", json!({ "pattern": "x" })).await;
    assert_eq!(error["code"], "tool_denied");
    assert!(error["message"].as_str().unwrap().contains("feature `search`"), "{error}");
    host.stop().await;
    let (host, _) = start([plugin.with_setting("providers", ["glob"])]).await;
    let status = format!("{:?}", host.executor().status());
    assert!(status.contains("built without the feature"), "{status}");
    host.stop().await;
}

#[cfg(not(feature = "http"))]
#[tokio::test]
async fn a_program_without_http_says_so() {
    let plugin = PluginConfig::new("tools", "tools", CLS).with_setting("http_get", json!({}));
    let (host, _) = start([plugin]).await;
    let status = format!("{:?}", host.executor().status());
    assert!(status.contains("built without the feature"), "{status}");
    host.stop().await;
}

#[tokio::test]
async fn a_wrong_setting_is_told_with_its_name() {
    for (key, value) in [
        ("providers", json!(["fly"])),
        ("roots", json!("here")),
        ("allow_write", json!("yes")),
        ("max_result_bytes", json!(-1)),
        ("http_get", json!(true)),
        ("pinned", json!(["grep"])),
        ("require_pins", json!("yes")),
    ] {
        let plugin = PluginConfig::new("tools", "tools", CLS).with_setting(key, value);
        let (host, mut session) = start([plugin]).await;
        assert_eq!(session.call_error("tool/list/req", json!({})).await, "unknown_type");
        let status = format!("{:?}", host.executor().status());
        assert!(status.contains(key), "{status}");
        host.stop().await;
    }
}

//! Tools that other plugins contribute: the plugin that collects them, names, panics, changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::plugin::{BoxFuture, Handlers, Host, Plugin, Run};
use a2e_core::protocol::{ErrorCode, Event};
use a2e_core::testing::TestHost;
use a2e_core::{Error, Result, register_plugin};
use serde::Deserialize;
use serde_json::json;

use super::{CLS, DEMO, call, failure, names, result, start, tools, with_priority};
use crate::tools::contract::{ToolCall, ToolDefinition, ToolOutput, ToolParameter, ToolProvider};

/// A plugin of another capability that offers tools of all kinds.
struct Toolbox {
    names: Vec<String>,
}

#[derive(Deserialize)]
struct ToolboxConfig {
    /// The tools; what they do follows from their names.
    names: Vec<String>,
}

impl Plugin for Toolbox {
    fn handlers(_on: &mut Handlers<Self>) {}

    fn start(&self, host: &Host) -> Result<()> {
        let (names, host_of) = (self.names.clone(), host.clone());
        let provider = Provider { names, has_grown: AtomicBool::new(false), host: host_of };
        host.contribute::<dyn ToolProvider>(host.plugin().as_str(), Arc::new(provider))?.keep();
        Ok(())
    }
}

register_plugin!(
    Toolbox,
    cls = "test.Toolbox",
    capability = "test",
    config = ToolboxConfig,
    build = |config: ToolboxConfig, _: &Host| Ok(Toolbox { names: config.names }),
);

struct Provider {
    names: Vec<String>,
    has_grown: AtomicBool,
    host: Host,
}

impl ToolProvider for Provider {
    fn tools(&self) -> Vec<ToolDefinition> {
        assert!(!self.names.iter().any(|it| it == "panic_in_list"), "asked to");
        let number = ToolParameter::optional("n", "integer", "");
        let define = |name: &String| ToolDefinition::new(name, "").input(number.clone());
        let mut tools: Vec<_> = self.names.iter().map(define).collect();
        if self.has_grown.load(Ordering::Relaxed) {
            tools.push(ToolDefinition::new("grown", ""));
        }
        tools
    }

    fn run(&self, tool: &str) -> Run {
        match tool {
            "inline" | "panic_inline" | "grow" => Run::Inline,
            "pool" => Run::Pool,
            "future" | "panic_future" | "never" | "emit" => Run::Future,
            _ => Run::Blocking,
        }
    }

    fn call(&self, call: ToolCall) -> Result<ToolOutput> {
        match call.tool() {
            "panic" | "panic_inline" => panic!("asked to"),
            "fails" => Err(Error::runtime("no such luck")),
            "denied" => Err(Error::new(ErrorCode::ToolDenied, "not you")),
            "half" => Ok(ToolOutput::of(&json!({ "exit_code": 2 }))?.failed("half", "half done")),
            "huge" => ToolOutput::of(&"x".repeat(9 << 20)),
            "nan" => ToolOutput::of(&f64::NAN),
            "hangs" => {
                while !call.is_cancelled() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(Error::runtime("cancelled"))
            }
            "grow" => {
                self.has_grown.store(true, Ordering::Relaxed);
                self.host.contribution_changed();
                ToolOutput::of("done")
            }
            other => ToolOutput::of(other),
        }
    }

    fn call_async(self: Arc<Self>, call: ToolCall) -> BoxFuture<Result<ToolOutput>> {
        Box::pin(async move {
            match call.tool() {
                "panic_future" => panic!("asked to"),
                "never" => std::future::pending().await,
                "emit" => {
                    call.emit_wait(Event::status("working")).await?;
                    ToolOutput::of("emitted")
                }
                other => ToolOutput::of(other),
            }
        })
    }
}

fn toolbox(name: &str, names: &[&str]) -> PluginConfig {
    PluginConfig::new(name, "test", "test.Toolbox").with_setting("names", names)
}

#[tokio::test]
async fn contributed_tools_run_where_they_say() {
    let all = ["inline", "pool", "blocking", "future"];
    let (host, mut session) = start([toolbox("box", &all), tools("tools", &[])]).await;
    assert_eq!(names(&mut session, json!({})).await, all);
    for tool in all {
        let it = result(&mut session, tool, json!({})).await;
        assert_eq!(it["data"]["value"], tool, "{it}");
        assert!(it["duration_ms"].is_u64() && it["events"] == json!([]), "{it}");
        let error = failure(&mut session, tool, json!({ "n": "1" })).await;
        assert_eq!(error["code"], "schema_violation");
        assert_eq!(error["detail"]["errors"][0]["loc"], "arguments.n");
    }
    host.stop().await;
}

#[tokio::test]
async fn failures_of_tools_become_errors_or_results() {
    let all = ["fails", "denied", "half", "nan", "huge"];
    let (host, mut session) = start([toolbox("box", &all), tools("tools", &[])]).await;
    for (tool, code, part) in [
        ("fails", "tool_error", "no such luck"),
        ("denied", "tool_denied", "not you"),
        ("nan", "internal_error", "not encoded"),
    ] {
        let error = failure(&mut session, tool, json!({})).await;
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    }
    let it = result(&mut session, "half", json!({})).await;
    assert_eq!((&it["success"], &it["error_code"]), (&json!(false), &json!("half")));
    assert_eq!(it["code"], "half");
    assert_eq!((&it["exit_code"], &it["error"]), (&json!(2), &json!("half done")));
    let it = result(&mut session, "huge", json!({})).await;
    assert_eq!((&it["success"], &it["truncated"]), (&json!(true), &json!(true)));
    let kept = it["data"]["value"].as_str().unwrap().len();
    assert!((4_190_000..=4 << 20).contains(&kept), "half of max_line_bytes: {kept}");
    assert!(it["summary"].as_str().unwrap().contains("9437196 bytes"), "{}", it["summary"]);
    host.stop().await;
}

#[tokio::test]
async fn r30_a_panicking_tool_hurts_nobody_else() {
    let all = ["panic", "panic_inline", "panic_future", "pool"];
    let broken = toolbox("broken", &["panic_in_list"]);
    let plugins = [broken, toolbox("box", &all), tools("tools", &[])];
    let (host, mut session) = start(plugins).await;
    assert_eq!(names(&mut session, json!({})).await, all);
    for _ in 0..4 {
        for tool in &all[..3] {
            let error = failure(&mut session, tool, json!({})).await;
            assert_eq!(error["code"], "internal_error");
            assert!(!error.to_string().contains("asked to"), "the text is for the log: {error}");
        }
        assert_eq!(result(&mut session, "pool", json!({})).await["data"]["value"], "pool");
    }
    host.stop().await;
}

#[tokio::test]
async fn r32_timeout_and_cancel_end_a_tool() {
    let plugins = [toolbox("box", &["hangs", "never", "pool"]), tools("tools", &[])];
    let (host, mut session) = start(plugins).await;
    for tool in ["hangs", "never"] {
        let mut request = call(tool, json!({}));
        request["timeout"] = json!(1);
        let reply = session.call("tool/call/req", request).await;
        assert_eq!((&reply["code"], &reply["retryable"]), (&json!("timeout"), &json!(true)));
        let id = session.send("tool/call/req", call(tool, json!({}))).await;
        session.send("cancel", json!({ "req_id": id })).await;
        assert_eq!(session.reply_to(&id).await["code"], "cancelled");
    }
    assert_eq!(result(&mut session, "pool", json!({})).await["success"], true);
    host.stop().await;
}

#[tokio::test]
async fn r38_events_belong_to_their_call_and_come_when_wanted() {
    let (host, mut session) = start([toolbox("box", &["emit"]), tools("tools", &[])]).await;
    let mut ids = Vec::new();
    for streaming in [true, false, true] {
        let mut request = call("emit", json!({}));
        request["streaming"] = json!(streaming);
        ids.push(session.send("tool/call/req", request).await);
    }
    for id in &ids {
        assert_eq!(session.reply_to(id).await["data"]["data"]["value"], "emitted");
    }
    let mut of: Vec<_> = session.others();
    of.sort_by_key(|it| it["req_id"].to_string());
    assert_eq!(of.len(), 2);
    for (event, id) in of.iter().zip([&ids[0], &ids[2]]) {
        assert_eq!((&event["req_id"], &event["seq"]), (&json!(id), &json!(0)));
        assert_eq!((&event["type"], &event["kind"]), (&json!("tool/event"), &json!("status")));
    }
    host.stop().await;
}

#[tokio::test]
async fn r39_a_name_that_is_taken_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), "ours").unwrap();
    let first = toolbox("first", &["read_file", "pool", "b\u{200b}lue", "\u{202e}"]);
    let second = toolbox("second", &["pool", "blue", "inline"]);
    let plugin = tools("tools", &[folder.path()]);
    let plugin = plugin.with_setting("providers", ["read_file", "list_dir"]);
    let (host, mut session) = start([first, second, plugin]).await;
    let listed = names(&mut session, json!({})).await;
    assert_eq!(listed, ["read_file", "list_dir", "pool", "blue", "inline"]);
    let it = result(&mut session, "read_file", json!({ "path": "f" })).await;
    assert_eq!(it["data"]["content"], "ours");
    let it = result(&mut session, "blue", json!({})).await;
    assert_eq!(it["data"]["value"], "b\u{200b}lue", "its provider knows it by its own name");
    assert_eq!(it["tool_name"], "blue");
    host.stop().await;
}

#[tokio::test]
async fn one_plugin_collects_and_each_call_reaches_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("a", "in a"), ("b", "in b")] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("f"), text).unwrap();
    }
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let low = tools("low", &[&a]).with_setting("providers", ["list_dir", "read_file"]);
    let high = with_priority(tools("high", &[&b]).with_setting("providers", ["read_file"]), 5);
    let demo = with_priority(PluginConfig::new("demo", "tools", DEMO), 9);
    let boxed = toolbox("box", &["pool", "list_dir"]);
    let (host, mut session) = start([low, boxed, high, demo]).await;
    let expected = ["echo", "sleep", "fail", "stream", "read_file", "pool", "list_dir"];
    assert_eq!(names(&mut session, json!({})).await, expected, "each once, in order of priority");
    let it = result(&mut session, "read_file", json!({ "path": "f" })).await;
    assert_eq!(it["data"]["content"], "in b", "of two owners the higher one");
    let it = result(&mut session, "list_dir", json!({})).await;
    assert_eq!(it["data"]["entries"][0]["name"], "f", "of the low plugin, not of the box");
    assert_eq!(result(&mut session, "echo", json!({ "x": 1 })).await["data"]["x"], 1);
    assert_eq!(result(&mut session, "pool", json!({})).await["data"]["value"], "pool");
    let id = session.send("tool/call/req", call("nope", json!({}))).await;
    let reply = session.reply_to(&id).await;
    assert_eq!(reply["code"], "unknown_tool");
    assert_eq!((&reply["detail"]["tool_name"], &reply["req_id"]), (&json!("nope"), &json!(id)));
    assert!(session.finish().await.is_empty(), "one answer, no more");
    host.stop().await;
}

#[tokio::test]
async fn a_withheld_tool_may_be_another_plugins() {
    let folder = tempfile::tempdir().unwrap();
    let closed = with_priority(tools("closed", &[folder.path()]), 5);
    let open = tools("open", &[folder.path()]).with_setting("allow_write", true);
    let arguments = json!({ "path": "f", "content": "x" });
    let (host, mut session) = start([closed.clone(), open]).await;
    assert_eq!(result(&mut session, "write_file", arguments.clone()).await["success"], true);
    host.stop().await;
    for priority in [0, 9] {
        let demo = with_priority(PluginConfig::new("demo", "tools", DEMO), priority);
        let (host, mut session) = start([demo, closed.clone()]).await;
        let error = failure(&mut session, "write_file", arguments.clone()).await;
        assert_eq!(error["code"], "tool_denied", "demo at {priority}");
        host.stop().await;
    }
}

#[tokio::test]
async fn a_list_that_changes_is_told_to_every_session() {
    let (host, mut session) = start([toolbox("box", &["grow"]), tools("tools", &[])]).await;
    let mut other = host.session();
    other.handshake(&["tools"]).await;
    assert_eq!(names(&mut session, json!({})).await, ["grow"]);
    result(&mut session, "grow", json!({})).await;
    assert_eq!(names(&mut session, json!({})).await, ["grow", "grown"]);
    let push = other.next().await.unwrap();
    assert_eq!(push["type"], "tool/changed/push");
    assert!(push["generation"].is_u64());
    host.stop().await;
}

#[tokio::test]
async fn a_long_list_is_complete() {
    let many: Vec<String> = (0..300).map(|it| format!("t{it}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (host, mut session) = start([toolbox("box", &many), tools("tools", &[])]).await;
    assert_eq!(names(&mut session, json!({})).await, many);
    assert_eq!(names(&mut session, json!({ "query": "T299" })).await, ["t299"]);
    host.stop().await;
}

#[tokio::test]
async fn r20_a_list_never_outgrows_a_line() {
    let many: Vec<String> = (0..300).map(|it| format!("t{it}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut config = HostConfig::new().plugin(toolbox("box", &many));
    config.limits.max_line_bytes = 16 * 1024;
    let host = TestHost::start(config.plugin(tools("tools", &[]))).await;
    let mut session = host.session();
    let reply = session.call("tool/list/req", json!({})).await;
    let (length, listed) = (reply.to_string().len(), reply["tools"].as_array().unwrap().len());
    assert!(length < 16 * 1024 && (20..300).contains(&listed), "{length} bytes, {listed} tools");
    let error = failure(&mut session, "t299", json!({})).await;
    assert_eq!(error["code"], "unknown_tool", "what is not listed is not served");
    host.stop().await;
}

#[tokio::test]
async fn a_plugin_without_settings_offers_only_what_others_contribute() {
    let plugin = PluginConfig::new("tools", "tools", CLS);
    let (host, mut session) = start([plugin]).await;
    assert!(names(&mut session, json!({})).await.is_empty());
    assert_eq!(failure(&mut session, "read_file", json!({})).await["code"], "unknown_tool");
    host.stop().await;
}

//! Tools that are functions: their schemas, their arguments, their ways into a host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::protocol::Event;
use a2e_core::testing::{TestHost, TestSession};
use a2e_core::{Error, Executor, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;

#[derive(Serialize, JsonSchema)]
struct Greeting {
    /// What to say.
    text: String,
}

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

const CLS: &str = "a2e.caps.tools.plugin.ToolPlugin";

fn config() -> HostConfig {
    HostConfig::new().plugin(PluginConfig::new("tools", "tools", CLS))
}

async fn called(session: &mut TestSession, tool: &str, arguments: Value) -> Value {
    session.call("tool/call/req", json!({ "tool_name": tool, "arguments": arguments })).await
}

async fn listed(session: &mut TestSession) -> Vec<Value> {
    let reply = session.call("tool/list/req", json!({})).await;
    reply["tools"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_functions_has_its_own_state_and_every_door() {
    let calls = Arc::new(AtomicU64::new(0));
    let counting =
        |name: &str, make: fn(&str, Arc<AtomicU64>) -> Tool| make(name, Arc::clone(&calls));
    let count = |calls: &AtomicU64| calls.fetch_add(1, Ordering::Relaxed) + 1;
    let tools = ToolSet::new([
        counting("inline", |name, calls| {
            Tool::inline(name, "", move |_: Nothing, _: &ToolCall| {
                Ok(calls.fetch_add(1, Ordering::Relaxed))
            })
        }),
        counting("pool", |name, calls| {
            Tool::pool(name, "", move |_: Nothing, _: &ToolCall| {
                Ok(vec![calls.load(Ordering::Relaxed)])
            })
        }),
        counting("blocking", |name, _| {
            Tool::blocking(name, "", |_: Nothing, _: &ToolCall| Ok(json!({ "any": "json" })))
        }),
        counting("future", |name, calls| {
            Tool::future(name, "", move |_: Nothing, call: ToolCall| {
                let calls = Arc::clone(&calls);
                async move {
                    call.emit_wait(Event::status("working")).await?;
                    Ok(Greeting { text: calls.load(Ordering::Relaxed).to_string() })
                }
            })
        })
        .define(|it| ToolDefinition {
            idempotent: true,
            streaming: true,
            ..it.tagged(&["slow"])
        }),
        Tool::pool("fails", "", |_: Nothing, _: &ToolCall| -> Result<()> {
            Err(Error::runtime("no luck"))
        }),
        Tool::pool("panics", "", |_: Nothing, _: &ToolCall| -> Result<()> { panic!("asked to") }),
    ]);
    let host = TestHost::build(Executor::builder(config()).plugin(tools)).await.unwrap();
    let mut session = host.session();
    let tools = listed(&mut session).await;
    let of = |name: &str| tools.iter().find(|it| it["name"] == name).unwrap();
    assert_eq!(of("inline")["output_schema"]["properties"]["value"]["type"], "integer");
    assert_eq!(of("pool")["output_schema"]["properties"]["value"]["items"]["type"], "integer");
    assert!(of("blocking").get("output_schema").is_none(), "any JSON");
    assert_eq!(
        (&of("future")["idempotent"], &of("future")["tags"]),
        (&json!(true), &json!(["slow"]))
    );
    for (tool, expected) in [
        ("inline", json!({ "value": 0 })),
        ("pool", json!({ "value": [1] })),
        ("blocking", json!({ "any": "json" })),
        ("future", json!({ "text": "1" })),
    ] {
        assert_eq!(called(&mut session, tool, json!({})).await["data"]["data"], expected, "{tool}");
        let reply = called(&mut session, tool, json!({ "n": 1 })).await;
        assert_eq!(reply["code"], "schema_violation", "{tool} takes none");
    }
    assert_eq!(called(&mut session, "fails", json!({})).await["code"], "tool_error");
    assert_eq!(called(&mut session, "panics", json!({})).await["code"], "internal_error");
    assert_eq!(count(&calls), 2, "the program sees the state of its tools");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_gives_a_schema_of_its_own() {
    struct Own;
    impl ToolProvider for Own {
        fn tools(&self) -> Vec<ToolDefinition> {
            let schema = json!({
                "properties": { "points": { "type": "array", "items": { "$ref": "#/$defs/point" } } },
                "$defs": { "point": { "anyOf": [{ "type": "integer" }, { "const": "end" }] } },
            });
            let bad = json!({ "properties": { "a": { "$ref": "file:///etc/hostname" } } });
            let hidden = json!({ "properties": { "a\u{200b}b": {} } });
            let told = json!({ "properties": { "a": { "description": "vis\u{200b}ible" } } });
            vec![
                ToolDefinition::new("path", "").with_input_schema(&schema),
                ToolDefinition::new("bad", "").with_input_schema(&bad),
                ToolDefinition::new("hidden", "").with_input_schema(&hidden),
                ToolDefinition::new("told", "").with_input_schema(&told),
            ]
        }
        fn call(&self, call: ToolCall) -> Result<ToolOutput> {
            Ok(ToolOutput::raw(call.arguments().clone()))
        }
    }
    struct Plug;
    impl a2e_core::plugin::Plugin for Plug {
        fn handlers(_: &mut a2e_core::plugin::Handlers<Self>) {}
        fn start(&self, host: &a2e_core::plugin::Host) -> Result<()> {
            host.contribute::<dyn ToolProvider>("own", Arc::new(Own))?.keep();
            Ok(())
        }
    }
    let host = TestHost::build(Executor::builder(config()).plugin(Plug)).await.unwrap();
    let mut session = host.session();
    let good = json!({ "points": [1, "end"] });
    assert_eq!(called(&mut session, "path", good.clone()).await["data"]["data"], good);
    let reply = called(&mut session, "path", json!({ "points": [1, "and"] })).await;
    assert_eq!(reply["detail"]["errors"][0]["loc"], "arguments.points[1]");
    for tool in ["bad", "hidden"] {
        assert_eq!(called(&mut session, tool, json!({})).await["code"], "unknown_tool", "{tool}");
    }
    let tools = listed(&mut session).await;
    let told = tools.iter().find(|it| it["name"] == "told").unwrap();
    assert_eq!(told["input_schema"]["properties"]["a"]["description"], "visible", "r39");
    let status = format!("{:?}", host.executor().status());
    assert!(
        status.contains("bad: its input schema") && status.contains("hidden: parameter"),
        "{status}"
    );
    host.stop().await;
}

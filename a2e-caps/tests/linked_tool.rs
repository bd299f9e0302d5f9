//! A tool that is linked into a program: a function and one line.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

use a2e_caps::tools::contract::{Tool, ToolCall, ToolSet};
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::protocol::ErrorCode;
use a2e_core::testing::{TestHost, TestSession};
use a2e_core::{Error, Executor, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How loud.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Volume {
    Quiet,
    Loud,
}

#[derive(Deserialize, JsonSchema)]
struct Greet {
    /// Whom to greet.
    name: String,
    volume: Option<Volume>,
    #[serde(default)]
    more: Vec<Other>,
}

/// Another one.
#[derive(Deserialize, JsonSchema)]
struct Other {
    name: String,
}

#[derive(Serialize, JsonSchema)]
struct Greeting {
    /// What to say.
    text: String,
}

fn greet(it: Greet, call: &ToolCall) -> Result<Greeting> {
    if it.name.is_empty() {
        return Err(Error::new(ErrorCode::ToolDenied, "nobody"));
    }
    let all = it.more.iter().fold(it.name, |all, other| format!("{all} and {}", other.name));
    let text = format!("{} greets {all}", call.tool());
    let is_loud = matches!(it.volume, Some(Volume::Loud));
    Ok(Greeting { text: if is_loud { text.to_uppercase() } else { text } })
}

a2e_caps::register_tool!(Tool::pool("linked_greet", "Greets by name.", greet));

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
async fn a_linked_function_is_listed_with_its_schemas_and_called() {
    let host = TestHost::start(config()).await;
    let mut session = host.session();
    let tools = listed(&mut session).await;
    let tool = tools.iter().find(|it| it["name"] == "linked_greet").unwrap();
    let input = &tool["input_schema"];
    assert_eq!(input["type"], "object");
    assert_eq!(input["required"], json!(["name"]));
    assert_eq!(input["properties"]["name"]["description"], "Whom to greet.");
    assert_eq!(input["additionalProperties"], false);
    assert_eq!(tool["output_schema"]["properties"]["text"]["type"], "string");
    let first = &tool["input_parameters"][0];
    assert_eq!((&first["name"], &first["required"]), (&json!("name"), &json!(true)), "{tool}");
    assert_eq!(tool["output_parameters"][0]["name"], "text");
    let volume = &input["$defs"]["Volume"];
    assert_eq!((&volume["type"], &volume["enum"]), (&json!("string"), &json!(["quiet", "loud"])));
    let arguments = json!({ "name": "Ada", "more": [{ "name": "Bob" }], "volume": "loud" });
    let reply = called(&mut session, "linked_greet", arguments).await;
    assert_eq!(reply["data"]["data"]["text"], "LINKED_GREET GREETS ADA AND BOB", "{reply}");
    for (arguments, code, loc) in [
        (json!({}), "schema_violation", "arguments.name"),
        (json!({ "name": "Ada", "nmae": 1 }), "schema_violation", "arguments.nmae"),
        (json!({ "name": "Ada", "volume": "medium" }), "schema_violation", "arguments.volume"),
        (
            json!({ "name": "Ada", "more": [{ "name": "x", "nam": "y" }] }),
            "schema_violation",
            "arguments.more[0].nam",
        ),
    ] {
        let reply = called(&mut session, "linked_greet", arguments).await;
        assert_eq!(
            (&reply["code"], &reply["detail"]["errors"][0]["loc"]),
            (&json!(code), &json!(loc))
        );
    }
    assert_eq!(
        called(&mut session, "linked_greet", json!({ "name": "" })).await["code"],
        "tool_denied"
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_is_refused_and_told() {
    let tools = ToolSet::new([Tool::pool("linked_greet", "Another.", greet)]);
    let host = TestHost::build(Executor::builder(config()).plugin(tools)).await.unwrap();
    let mut session = host.session();
    let tools = listed(&mut session).await;
    let named: Vec<_> = tools.iter().filter(|it| it["name"] == "linked_greet").collect();
    assert_eq!((named.len(), &named[0]["description"]), (1, &json!("Greets by name.")));
    let status = format!("{:?}", host.executor().status());
    assert!(status.contains("linked_greet: the name is taken by plugin `tools`"), "{status}");
    host.stop().await;
}

//! The plugin through a whole host.

mod calls;
#[cfg(feature = "client")]
mod client;
mod edit;
mod files;
#[cfg(feature = "http")]
mod http;
mod keeps;
mod links;
mod pins;
mod providers;
mod search;
mod unseen;

use std::path::Path;

use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};

const CLS: &str = "a2e.caps.tools.plugin.ToolPlugin";
const DEMO: &str = "a2e.caps.demo.plugin.DemoToolPlugin";

/// A tools plugin over these folders.
fn tools(name: &str, roots: &[&Path]) -> PluginConfig {
    let roots: Vec<String> = roots.iter().map(|it| it.to_string_lossy().into_owned()).collect();
    PluginConfig::new(name, "tools", CLS).with_setting("roots", roots)
}

fn with_priority(plugin: PluginConfig, priority: i64) -> PluginConfig {
    let mut metadata = plugin.metadata.clone();
    metadata.priority = Some(priority);
    plugin.with_metadata(metadata)
}

async fn start(plugins: impl IntoIterator<Item = PluginConfig>) -> (TestHost, TestSession) {
    let config = plugins.into_iter().fold(HostConfig::new(), HostConfig::plugin);
    let host = TestHost::lenient(config).await;
    let session = host.session();
    (host, session)
}

fn call(tool: &str, arguments: Value) -> Value {
    json!({ "tool_name": tool, "arguments": arguments })
}

/// Calls a tool that must answer; gives the whole result.
async fn result(session: &mut TestSession, tool: &str, arguments: Value) -> Value {
    let mut reply = session.call("tool/call/req", call(tool, arguments)).await;
    assert_eq!(reply["type"], "tool/call/resp", "{reply}");
    let result = reply["data"].take();
    let list = session.call("tool/list/req", json!({ "include_deferred": true })).await;
    let tools = list["tools"].as_array().unwrap();
    let told = tools.iter().find(|it| it["name"] == tool).and_then(|it| it.get("output_schema"));
    if let Some(schema) = told.filter(|_| result["truncated"] == false) {
        // What a tool gives is what it says that it gives.
        let wrong = jsonschema::validator_for(schema).unwrap().validate(&result["data"]).err();
        assert!(wrong.is_none(), "{tool}: {wrong:?}");
    }
    result
}

/// Calls a tool that must fail; gives the error.
async fn failure(session: &mut TestSession, tool: &str, arguments: Value) -> Value {
    let reply = session.call("tool/call/req", call(tool, arguments)).await;
    assert_eq!((&reply["type"], &reply["capability_name"]), (&json!("error"), &json!("tools")));
    reply
}

async fn names(session: &mut TestSession, request: Value) -> Vec<String> {
    let reply = session.call("tool/list/req", request).await;
    assert_eq!(reply["type"], "tool/list/resp", "{reply}");
    let tools = reply["tools"].as_array().unwrap();
    tools.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

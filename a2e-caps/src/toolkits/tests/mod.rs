//! `toolkit/*` from client to tool and back.

#[cfg(feature = "client")]
mod client;
mod files;
#[cfg(feature = "http")]
mod http;
mod refusals;
mod sessions;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::path::Path;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};

const CLS: &str = "a2e.caps.toolkits.plugin.ToolkitPlugin";

fn toolkits(settings: &[(&str, Value)]) -> PluginConfig {
    let plugin = PluginConfig::new("kits", "toolkits", CLS);
    settings.iter().fold(plugin, |it, (key, value)| it.with_setting(*key, value.clone()))
}

async fn start(settings: &[(&str, Value)]) -> (TestHost, TestSession) {
    let tools = PluginConfig::new("tools", "tools", "a2e.caps.tools.plugin.ToolPlugin");
    let config = HostConfig::new().plugin(tools).plugin(toolkits(settings));
    let host = TestHost::start(config).await;
    let session = host.session();
    (host, session)
}

fn within(folder: &Path) -> Value {
    json!({ "within": [folder] })
}

/// Configures what must be configured.
async fn configure(session: &mut TestSession, name: &str, config: Value) {
    let body = json!({ "toolkit_name": name, "config": config });
    let reply = session.call("toolkit/configure/req", body).await;
    assert_eq!(
        (&reply["type"], &reply["status"], &reply["toolkit_name"]),
        (&json!("toolkit/configure/resp"), &json!("ok"), &json!(name)),
        "{reply}"
    );
}

/// Configures what must be refused; gives the error's text.
async fn refused(session: &mut TestSession, name: &str, config: Value) -> String {
    let body = json!({ "toolkit_name": name, "config": config });
    let reply = session.call("toolkit/configure/req", body.clone()).await;
    assert_eq!(
        (&reply["type"], &reply["code"]),
        (&json!("error"), &json!("runtime_error")),
        "{body}: {reply}"
    );
    assert_eq!(reply["capability_name"], "toolkits");
    reply["message"].as_str().unwrap().to_owned()
}

async fn call(session: &mut TestSession, tool: &str, arguments: Value) -> Value {
    session.call("tool/call/req", json!({ "tool_name": tool, "arguments": arguments })).await
}

/// The names of the tools of toolkits.
async fn tools(session: &mut TestSession) -> Vec<String> {
    let reply = session.call("tool/list/req", json!({ "include_deferred": true })).await;
    let list = reply["tools"].as_array().unwrap().iter();
    let of_kits = list.filter(|it| it.get("toolkit").is_some());
    let names = of_kits.map(|it| {
        let (kit, name) = (it["toolkit"].as_str().unwrap(), it["name"].as_str().unwrap());
        assert!(name.starts_with(&format!("{kit}__")), "{it}");
        name.to_owned()
    });
    names.collect()
}

async fn kit(session: &mut TestSession, name: &str) -> Value {
    let reply = session.call("toolkit/list/req", json!({})).await;
    assert_eq!(reply["type"], "toolkit/list/resp", "{reply}");
    let all = reply["toolkits"].as_array().unwrap();
    all.iter().find(|it| it["name"] == name).cloned().unwrap_or_default()
}

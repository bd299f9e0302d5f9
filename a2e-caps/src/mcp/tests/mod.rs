//! Servers of MCP, from a host to programs and back, with `upstream.py` as the program.

mod bad;
mod calls;
mod life;
mod offers;
mod pinned;
mod questions;
mod registered;
mod remote;
mod tasks;

use std::path::PathBuf;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const CLS: &str = "a2e.caps.mcp.plugin.MCPPlugin";
const TOOLS: &str = "a2e.caps.tools.plugin.ToolPlugin";

/// What must happen, happens within this.
const PATIENCE: Duration = Duration::from_mins(1);

/// The example `guard`, which `cargo test` builds beside the test programs.
fn guard() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().parent().unwrap().join("examples/guard");
    assert!(path.exists(), "build it first: cargo build -p a2e-caps --example guard");
    path
}

fn program() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/src/mcp/tests/upstream.py").to_owned()
}

/// A server that begins so.
fn upstream(mode: &str) -> Value {
    json!({ "command": "python3", "args": [program(), mode] })
}

/// The same with further settings.
fn with(begins: &str, more: Value) -> Value {
    let mut server = upstream(begins);
    server.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server
}

/// A host with these servers, and where it keeps what it knows.
struct Set {
    host: TestHost,
    state: TempDir,
}

impl Set {
    async fn up(servers: Value) -> Self {
        Self::with(json!({ "servers": servers })).await
    }

    async fn with(settings: Value) -> Self {
        Self::kept(settings, tempfile::tempdir().unwrap()).await
    }

    /// A host that knows what another knew.
    async fn kept(settings: Value, state: TempDir) -> Self {
        let mut plugin = PluginConfig::new("mcp", "mcp", CLS)
            .with_setting("state_dir", state.path().to_str().unwrap());
        for (key, value) in settings.as_object().unwrap() {
            plugin = plugin.with_setting(key, value.clone());
        }
        let tools = PluginConfig::new("tools", "tools", TOOLS);
        let config = HostConfig::new().plugin(tools).plugin(plugin);
        let builder = Executor::builder(config).guard(guard());
        Self { host: TestHost::build(builder).await.unwrap(), state }
    }

    /// Stops the host; what it knew stays.
    async fn down(self) -> TempDir {
        self.host.stop().await;
        self.state
    }
}

async fn call(session: &mut TestSession, tool: &str, arguments: Value) -> Value {
    let request = json!({ "tool_name": tool, "arguments": arguments, "timeout": 20 });
    let reply = session.call("tool/call/req", request).await;
    assert_eq!(reply["type"], "tool/call/resp", "{reply}");
    reply["data"].clone()
}

/// The error of a call that must fail.
async fn failure(session: &mut TestSession, tool: &str, arguments: Value) -> Value {
    let request = json!({ "tool_name": tool, "arguments": arguments, "timeout": 20 });
    let reply = session.call("tool/call/req", request).await;
    assert_eq!(reply["type"], "error", "{reply}");
    reply
}

async fn text(session: &mut TestSession, tool: &str, arguments: Value) -> String {
    let data = call(session, tool, arguments).await;
    assert_eq!(data["success"], true, "{data}");
    data["data"]["text"].as_str().unwrap().to_owned()
}

/// The definitions of all tools, by name.
async fn tools(session: &mut TestSession) -> Map<String, Value> {
    let reply = session.call("tool/list/req", json!({})).await;
    let tools = reply["tools"].as_array().unwrap().iter();
    tools.map(|it| (it["name"].as_str().unwrap().to_owned(), it.clone())).collect()
}

async fn servers(session: &mut TestSession) -> Map<String, Value> {
    let reply = session.call("mcp/server/list/req", json!({})).await;
    let servers = reply["servers"].as_array().unwrap().iter();
    servers.map(|it| (it["server_id"].as_str().unwrap().to_owned(), it.clone())).collect()
}

/// Waits until a server is as it should be.
async fn until(session: &mut TestSession, id: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..PATIENCE.as_millis() / 20 {
        last = servers(session).await[id].clone();
        if is_it(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {last}");
}

fn is(status: &'static str) -> impl Fn(&Value) -> bool {
    move |it| it["status"] == status
}

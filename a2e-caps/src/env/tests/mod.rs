//! The capability through a host, as an agent sees it.

mod answers;
mod copies;
mod offered;
#[cfg(feature = "http")]
mod openenv;
mod programs;
mod refusals;
#[cfg(feature = "client")]
mod typed;
mod worlds;

use std::path::PathBuf;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};

const CLS: &str = "a2e.caps.env.plugin.EnvPlugin";

/// The example `guard`, which `cargo test` builds beside the test programs.
fn guard() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().parent().unwrap().join("examples/guard");
    assert!(path.exists(), "build it first: cargo build -p a2e-caps --example guard");
    path
}

/// An env plugin with these settings.
fn plugin(settings: Value) -> PluginConfig {
    let mut plugin = PluginConfig::new("worlds", "env", CLS);
    for (key, value) in settings.as_object().unwrap() {
        plugin = plugin.with_setting(key.as_str(), value.clone());
    }
    plugin
}

async fn host_with(settings: Value) -> TestHost {
    start(HostConfig::new().plugin(plugin(settings))).await
}

async fn start(config: HostConfig) -> TestHost {
    TestHost::build(Executor::builder(config).guard(guard())).await.unwrap()
}

/// Begins an episode that must begin; gives its observation.
async fn reset(session: &mut TestSession, request: Value) -> Value {
    let reply = session.call("env/reset/req", request).await;
    assert_eq!(reply["type"], "env/reset/resp", "{reply}");
    reply["obs"].clone()
}

/// Takes a step that must succeed.
async fn step(session: &mut TestSession, episode: &Value, action: Value) -> Value {
    let request = json!({ "episode_id": episode, "action": action });
    let reply = session.call("env/step/req", request).await;
    assert_eq!(reply["type"], "env/step/resp", "{reply}");
    reply["obs"].clone()
}

/// Counts once.
async fn inc(session: &mut TestSession, episode: &Value) -> Value {
    step(session, episode, json!({ "type": "inc" })).await
}

/// The error of a request that must fail: code and message.
async fn error(session: &mut TestSession, wire_type: &str, body: Value) -> (String, String) {
    let reply = session.call(wire_type, body).await;
    assert_eq!(reply["type"], "error", "{reply}");
    assert_eq!(reply["capability_name"], "env", "{reply}");
    let text = |key: &str| reply[key].as_str().unwrap().to_owned();
    (text("code"), text("message"))
}

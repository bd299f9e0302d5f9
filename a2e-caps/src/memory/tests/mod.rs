//! The capability through a host, as an agent sees it: the same tests for each backend.

#![allow(clippy::duplicate_mod, reason = "each backend has its own `config` for the same tests")]

use std::sync::Arc;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::executor::StartError;
use a2e_core::protocol::PluginName;
use a2e_core::snapshot::FileStore;
use a2e_core::testing::{ManualClock, TestHost, TestSession};
use serde_json::{Value, json};

#[cfg(feature = "sqlite")]
mod file;
#[cfg(feature = "sqlite")]
mod in_file;
mod in_ram;

const CLS: &str = "a2e.caps.memory.plugin.MemoryPlugin";

/// A host with one memory, of these settings.
fn configured(settings: Value) -> HostConfig {
    let mut plugin = PluginConfig::new("memory", "memory", CLS);
    for (key, value) in settings.as_object().unwrap() {
        plugin = plugin.with_setting(key.as_str(), value.clone());
    }
    HostConfig::new().plugin(plugin)
}

/// A session of this agent, with a memory in the default namespace.
async fn agent(host: &TestHost, agent_id: &str) -> (TestSession, String) {
    let mut session = host.session();
    session.call("handshake/req", json!({ "agent_id": agent_id, "agent_caps": ["memory"] })).await;
    let memory = init(&mut session, json!({})).await;
    (session, memory)
}

async fn init(session: &mut TestSession, body: Value) -> String {
    let reply = session.call("memory/init/req", body).await;
    assert_eq!((&reply["type"], &reply["success"]), (&json!("memory/init/resp"), &json!(true)));
    reply["memory_id"].as_str().unwrap().to_owned()
}

async fn store(session: &mut TestSession, memory: &str, entries: Value) -> Value {
    let body = json!({ "memory_id": memory, "entries": entries });
    let reply = session.call("memory/store/req", body).await;
    assert_eq!(reply["type"], "memory/store/resp", "{reply}");
    reply
}

async fn retrieve(session: &mut TestSession, memory: &str, mut conditions: Value) -> Value {
    conditions["memory_id"] = json!(memory);
    let reply = session.call("memory/retrieve/req", conditions).await;
    assert_eq!(reply["type"], "memory/retrieve/resp", "{reply}");
    reply
}

async fn forget(session: &mut TestSession, memory: &str, mut conditions: Value) -> Value {
    conditions["memory_id"] = json!(memory);
    session.call("memory/forget/req", conditions).await["deleted"].clone()
}

/// The values of `key.k` of the entries of a reply.
fn keys(reply: &Value) -> Vec<Value> {
    let entries = reply["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["key"]["k"].clone()).collect()
}

fn entry(key: impl Into<Value>, tier: &str) -> Value {
    json!({ "key": { "k": key.into() }, "content": "c", "tier": tier })
}

//! The capability through a host, as an agent sees it.

mod answers;
mod folder;
mod refusals;
#[cfg(feature = "client")]
mod typed;

use std::path::Path;

use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};

const CLS: &str = "a2e.caps.learn.plugin.LearnPlugin";

fn config(settings: Value) -> HostConfig {
    let mut plugin = PluginConfig::new("learn", "learning", CLS);
    for (key, value) in settings.as_object().unwrap() {
        plugin = plugin.with_setting(key.as_str(), value.clone());
    }
    HostConfig::new().plugin(plugin)
}

async fn host(settings: Value) -> TestHost {
    TestHost::start(config(settings)).await
}

/// A host that learns in this folder.
async fn host_in(folder: &Path) -> TestHost {
    host(json!({ "store_root": folder, "min_experiences": 2, "adapt_every": 0 })).await
}

/// A judgement of this model.
fn judged(model: &str, score: f64) -> Value {
    let polarity = if score > 0.0 { "positive" } else { "negative" };
    let turn = json!({ "prompt": "p", "response": format!("r{score}"), "model": model });
    json!({ "rated_turn": turn, "polarity": polarity, "score": score })
}

/// A step of this component.
fn stepped(component: &str, reward: f64) -> Value {
    json!({ "action": { "component_name": component, "duration_ms": 10 }, "reward": reward })
}

/// Calls what must succeed.
async fn call(session: &mut TestSession, what: &str, body: Value) -> Value {
    let reply = session.call(&format!("learn/{what}/req"), body).await;
    assert_eq!(reply["type"], format!("learn/{what}/resp"), "{reply}");
    reply
}

async fn experience(session: &mut TestSession, steps: &[Value]) {
    let reply = call(session, "experience", json!({ "experiences": steps })).await;
    assert_eq!(reply["stored"], steps.len());
}

/// A proposal of one edit.
fn proposal(id: &str, path: &str, value: Value) -> Value {
    let edit = json!({ "target": "router", "op": "update", "path": path, "new_value": value });
    json!({ "proposal": { "refinement_id": id, "edits": [edit], "confidence": 0.9 } })
}

/// A value with this number of levels.
fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

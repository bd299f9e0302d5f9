//! `planning/*` from client to file and back.

mod answers;
#[cfg(feature = "client")]
mod client;
mod refusals;
mod shared;

use std::path::Path;

use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};

const CLS: &str = "a2e.caps.planning.plugin.PlanningPlugin";

fn plugin(root: &Path) -> PluginConfig {
    PluginConfig::new("planning", "planning", CLS).with_setting("root", root.to_str())
}

async fn start(plugin: PluginConfig) -> (TestHost, TestSession) {
    let host = TestHost::start(HostConfig::new().plugin(plugin)).await;
    let session = host.session();
    (host, session)
}

/// Makes a plan that must be made.
async fn plan(session: &mut TestSession, body: Value) -> String {
    let reply = session.call("planning/plan/create", body).await;
    assert_eq!(
        (&reply["type"], &reply["success"]),
        (&json!("planning/plan/create/resp"), &json!(true))
    );
    let id = reply["plan_id"].as_str().unwrap();
    assert!(id.len() == 12 && id.bytes().all(|it| it.is_ascii_hexdigit()), "{id}");
    id.to_owned()
}

/// Adds a task that must be added.
async fn task(session: &mut TestSession, plan: &str, title: &str, more: Value) -> String {
    let mut body = json!({ "plan_id": plan, "title": title });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let reply = session.call("planning/task/add", body).await;
    assert_eq!(
        (&reply["type"], &reply["success"]),
        (&json!("planning/task/add/resp"), &json!(true)),
        "{reply}"
    );
    let id = reply["task_id"].as_str().unwrap();
    assert!(id.len() == 12 && id.bytes().all(|it| it.is_ascii_hexdigit()), "{id}");
    id.to_owned()
}

async fn tasks(session: &mut TestSession, plan: &str, status: &str) -> Vec<String> {
    let body = json!({ "plan_id": plan, "status": status });
    let reply = session.call("planning/task/list", body).await;
    assert_eq!(reply["type"], "planning/task/list/resp", "{reply}");
    let list = reply["tasks"].as_array().unwrap();
    assert_eq!(reply["total"], list.len());
    list.iter().map(|it| it["title"].as_str().unwrap().to_owned()).collect()
}

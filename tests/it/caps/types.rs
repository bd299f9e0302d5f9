//! Every type of the protocol has a model here, and every request of it a route.

use std::collections::BTreeSet;

use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::plugin::Registry;
use a2e_core::schema::MessageClass;
use a2e_core::testing::TestHost;
use serde_json::json;

/// The types of the protocol, but for those of `mcp/*`, which have tests of their own: a namespace, its requests (with
/// the ending that answers have in place of theirs), and its other types.
const REQUESTS: [(&str, &[&str]); 11] = [
    ("tool/", &["list/req", "call/req"]),
    ("memory/", &["init/req", "store/req", "retrieve/req", "forget/req"]),
    (
        "env/",
        &[
            "reset/req",
            "step/req",
            "observe/req",
            "close/req",
            "space/req",
            "render/req",
            "plan/req",
            "batch_step/req",
            "exp/list/req",
        ],
    ),
    ("proc/", &["spawn/req", "write/req", "kill/req", "status/req"]),
    (
        "learn/",
        &[
            "feedback/req",
            "experience/req",
            "adapt/req",
            "stats/req",
            "refinement/plan/req",
            "refinement/review/req",
            "refinement/apply/req",
            "refinement/rollback/req",
            "refinement/history/req",
        ],
    ),
    ("skill/", &["discover/req", "call/req"]),
    ("toolkit/", &["list/req", "configure/req"]),
    ("chain/", &["req"]),
    (
        "planning/",
        &["plan/create", "plan/list", "task/add", "task/update", "task/list", "plan/board"],
    ),
    ("multi_agent/", &["spawn", "delegate", "await", "list", "terminate"]),
    (
        "SUBAGENT_",
        &["SPAWN_REQ", "DELEGATE_REQ", "AWAIT_REQ", "MESSAGE_REQ", "LIST_REQ", "MERGE_REQ"],
    ),
];

/// Requests that the protocol gives no answer.
const UNANSWERED: [&str; 2] = ["SUBAGENT_CANCEL_REQ", "SUBAGENT_TERMINATE_REQ"];

/// What hosts send unasked or before an answer.
const TOLD: [&str; 6] = [
    "tool/event",
    "env/state/push",
    "proc/read/event",
    "skill/event",
    "chain/event",
    "SUBAGENT_EVENT",
];

/// The kernel's own.
const CORE: [&str; 7] =
    ["handshake/req", "handshake/resp", "ping", "pong", "shutdown", "error", "invoke/event"];

/// The type of the answer.
fn answer(request: &str) -> String {
    match (request.strip_suffix("/req"), request.strip_suffix("_REQ")) {
        (Some(stem), _) => format!("{stem}/resp"),
        (_, Some(stem)) => format!("{stem}_RESP"),
        _ => format!("{request}/resp"),
    }
}

/// A host with a plugin of each linked class that the program itself has.
async fn host(folder: &std::path::Path) -> (TestHost, BTreeSet<String>) {
    a2e_caps::link();
    let (mut config, mut capabilities) = (HostConfig::new(), BTreeSet::new());
    for class in Registry::linked().unwrap().classes() {
        let facts = class.facts();
        if !facts.cls.starts_with("a2e.caps.") {
            continue;
        }
        capabilities.insert(facts.capability.to_owned());
        let mut plugin = PluginConfig::new(facts.cls, facts.capability, facts.cls);
        if facts.capability == "planning" {
            plugin = plugin.with_setting("ROOT", folder.to_str().unwrap());
        }
        config = config.plugin(plugin);
    }
    (TestHost::start(config).await, capabilities)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_the_protocol_has_a_model_and_every_request_a_route() {
    let folder = tempfile::tempdir().unwrap();
    let (host, capabilities) = host(folder.path()).await;
    let known: BTreeSet<&str> = MessageClass::linked()
        .into_iter()
        .filter(|class| class.schema().is_some())
        .map(|class| class.wire_type)
        .collect();
    let (mut requests, mut types) = (Vec::new(), Vec::from(CORE.map(str::to_owned)));
    for (namespace, names) in REQUESTS {
        requests.extend(names.iter().map(|name| format!("{namespace}{name}")));
    }
    types.extend(requests.iter().map(|request| answer(request)));
    requests.extend(UNANSWERED.map(str::to_owned));
    types.extend(TOLD.map(str::to_owned));
    types.extend(requests.iter().cloned());
    assert_eq!(types.iter().collect::<BTreeSet<_>>().len(), 136 - 21, "those of mcp/* are 21");
    // A capability that no linked class provides has no types yet.
    let is_there = |wire_type: &String| {
        let is_agents = wire_type.starts_with("multi_agent/") || wire_type.starts_with("SUBAGENT_");
        !is_agents || capabilities.contains("multi_agent")
    };
    let without: Vec<&String> =
        types.iter().filter(|it| is_there(it) && !known.contains(it.as_str())).collect();
    assert!(without.is_empty(), "no model: {without:?}");

    let mut session = host.session();
    let mut refused = Vec::new();
    for request in requests.iter().filter(|it| is_there(it)) {
        // What is missing in it is found behind the route.
        let id = session.send(request, json!({})).await;
        if UNANSWERED.contains(&request.as_str()) {
            continue;
        }
        let reply = session.reply_to(&id).await;
        if ["unknown_type", "invalid_message"].iter().any(|code| reply["code"] == *code) {
            refused.push(reply);
        }
    }
    assert!(refused.is_empty(), "no route: {refused:?}");
    host.stop().await;
}

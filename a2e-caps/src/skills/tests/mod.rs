//! The capability through a host, as an agent sees it.

mod answers;
mod programs;
mod sandboxed;
mod watched;

use std::fs;
use std::path::{Path, PathBuf};

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};

const CLS: &str = "a2e.caps.skills.plugin.SkillPlugin";

/// The example `guard`, which `cargo test` builds beside the test programs.
fn guard() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().parent().unwrap().join("examples/guard");
    assert!(path.exists(), "build it first: cargo build -p a2e-caps --example guard");
    path
}

fn plugin(roots: &[&Path], settings: Value) -> PluginConfig {
    let roots: Vec<&str> = roots.iter().map(|it| it.to_str().unwrap()).collect();
    let mut plugin = PluginConfig::new("skills", "skill", CLS).with_setting("roots", roots);
    for (key, value) in settings.as_object().unwrap() {
        plugin = plugin.with_setting(key.as_str(), value.clone());
    }
    plugin
}

async fn host(roots: &[&Path], settings: Value) -> TestHost {
    let config = HostConfig::new().plugin(plugin(roots, settings));
    TestHost::build(Executor::builder(config).guard(guard())).await.unwrap()
}

/// Writes a skill of these fields.
fn skill(root: &Path, folder: &str, fields: &str, body: &str) {
    file(root, &format!("{folder}/SKILL.md"), &format!("---\n{fields}\n---\n{body}\n"));
}

fn file(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The names of what is discovered.
async fn names(session: &mut TestSession, filter: Value) -> Vec<String> {
    let reply = session.call("skill/discover/req", filter).await;
    assert_eq!(reply["type"], "skill/discover/resp", "{reply}");
    let name = |it: &Value| it["name"].as_str().unwrap().to_owned();
    reply["skills"].as_array().unwrap().iter().map(name).collect()
}

async fn call(session: &mut TestSession, name: &str, arguments: Value) -> Value {
    session.call("skill/call/req", json!({ "name": name, "arguments": arguments })).await
}

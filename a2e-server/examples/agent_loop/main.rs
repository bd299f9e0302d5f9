//! An agent without a model: it finds out by trial which of four ways of walking brings it through mazes.
//!
//! ```text
//! cargo run --example agent_loop            # leaves agent_loop.svg in target/agent_loop
//! cargo run --example agent_loop -- FOLDER
//! ```
//!
//! One session uses six capabilities: the steps of a plan (planning) lead from the orders in a file (tools) over
//! episodes in mazes (env), routes that are remembered (memory) and ways that are weighed by their rewards
//! (learn) to a report (a chain). Everything that is drawn comes from seeds, so each run does the same.

#![allow(clippy::print_stdout, reason = "an example tells what it does")]

mod agent;
mod report;
mod walk;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use a2e_client::{Client, Options};
use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig};
use serde_json::json;

use agent::Agent;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map_or("target/agent_loop".into(), PathBuf::from);
    std::fs::create_dir_all(&folder)?;
    let orders = json!({ "mazes": [1, 2, 3], "episodes": 160 });
    std::fs::write(folder.join("orders.json"), orders.to_string())?;

    a2e_caps::link();
    let host = Executor::builder(config(&folder)).start().await?;
    let client = Client::connect(host.connect(), Options::new("courier")).await?;
    let mut agent = Agent::new(&client).await?;
    agent.work().await?;
    client.close().await;
    host.shutdown(Duration::from_secs(1)).await;

    println!("{}", report::table(&agent.episodes));
    println!("the plot is in {}", folder.join(report::PLOT).display());
    Ok(())
}

fn config(folder: &Path) -> HostConfig {
    let plugin = |name: &str, capability: &str, class: &str| {
        PluginConfig::new(name, capability, format!("a2e.caps.{name}.plugin.{class}"))
    };
    let folder = json!(folder);
    HostConfig::new()
        .plugin(
            plugin("tools", "tools", "ToolPlugin")
                .with_setting("roots", [folder.clone()])
                .with_setting("allow_write", true),
        )
        .plugin(plugin("memory", "memory", "MemoryPlugin"))
        .plugin(plugin("env", "env", "EnvPlugin"))
        .plugin(plugin("learn", "learning", "LearnPlugin").with_setting("min_experiences", 1))
        .plugin(plugin("planning", "planning", "PlanningPlugin").with_setting("root", folder))
        .plugin(plugin("chains", "chains", "ChainPlugin"))
}

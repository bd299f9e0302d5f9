//! A host inside your own program, and an agent that talks to it without a process or a socket.
//!
//! ```text
//! cargo run --example embedded_host
//! ```

#![allow(clippy::print_stderr, reason = "an example tells what it does")]

use std::time::Duration;

use a2e_caps::tools::client::ToolClient;
use a2e_client::{Client, Options};
use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    a2e_caps::link();
    let config = HostConfig::new().plugin(PluginConfig::new(
        "demo",
        "tools",
        "a2e.caps.demo.plugin.DemoToolPlugin",
    ));
    let host = Executor::builder(config).start().await?;

    let client = Client::connect(host.connect(), Options::new("embedded")).await?;
    let tools = ToolClient::new(&client);
    let result = tools.call("echo", &json!({ "text": "hello" })).await?;
    let data = result.data.ok_or("echo gives its arguments back")?;
    assert_eq!(data.decode::<serde_json::Value>()?, json!({ "text": "hello" }));
    eprintln!("echo answered {data:?} in {} ms", result.duration_ms);

    client.close().await;
    host.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

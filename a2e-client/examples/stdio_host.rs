//! A tiny host over standard input and output, for the tests that need a process.
//!
//! `stdio_host [normal|deaf|mute|brief]`: `deaf` ignores the end of its input and SIGTERM, `mute` never
//! answers, `brief` says why and ends at once.

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig};

#[path = "../tests/client/probe.rs"]
mod probe;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let way = std::env::args().nth(1).unwrap_or_default();
    match way.as_str() {
        "mute" => std::future::pending().await,
        "brief" => return Err("the registry file is missing".into()),
        _ => {}
    }
    let config = HostConfig::new().plugin(PluginConfig::new("probe", "test", "test.Probe"));
    let host = Executor::builder(config).start().await?;
    if way == "deaf" {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::spawn(async move { while term.recv().await.is_some() {} });
    }
    host.serve_stdio()?.await;
    if way == "deaf" {
        std::future::pending::<()>().await;
    }
    host.shutdown(std::time::Duration::ZERO).await;
    Ok(())
}

//! `a2e mcp`: the Model Context Protocol, from both sides: servers that a host uses, clients that use it.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

mod approve;
mod config;
mod list;
mod logs;

use a2e_caps::mcp::McpConfig;
use a2e_caps::mcp::protocol::{McpServerInfo, ServerListRequest};
use a2e_core::config::HostConfig;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::remote::{self, HostArgs};
use super::target::start_own;
use crate::Failure;

/// The class whose settings name servers.
const CLASS: &str = "a2e.caps.mcp.plugin.MCPPlugin";

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  a2e mcp config --client goose -c a2e.yaml\n  a2e mcp list\n  a2e mcp list -c a2e.yaml\n  \
    a2e mcp approve -c a2e.yaml\n  a2e mcp approve github -c a2e.yaml\n  \
    a2e mcp logs github --to unix:///run/user/1000/a2e.sock"
)]
pub(crate) struct McpArgs {
    #[command(subcommand)]
    command: McpCommand,
}

#[derive(Debug, Subcommand)]
enum McpCommand {
    /// Print the block that makes a client start this host
    Config(config::ClientArgs),
    /// List the servers, where each stands and what it offers; exit code 1 if one fails or waits
    List(list::ListArgs),
    /// Show definitions of tools that have changed, and approve them
    Approve(approve::ApproveArgs),
    /// Show the end of what a server has written to standard error
    Logs(logs::LogsArgs),
}

pub(crate) fn run(args: McpArgs) -> Result<(), Failure> {
    match args.command {
        McpCommand::Config(args) => config::run(&args),
        McpCommand::List(args) => list::run(&args),
        McpCommand::Approve(args) => approve::run(args),
        McpCommand::Logs(args) => logs::run(&args),
    }
}

/// The servers of the host that is meant: a running one, or one of our own that is started for this.
fn servers(host: &HostArgs) -> Result<Vec<McpServerInfo>, Failure> {
    if let Some(running) = host.running() {
        return Ok(running.ask_now(&ServerListRequest::default())?.servers);
    }
    remote::run(async {
        let executor = start_own(&host.config).await?;
        let reply = executor.call(&ServerListRequest::default()).await;
        executor.shutdown(std::time::Duration::ZERO).await;
        Ok(reply?.servers)
    })
}

/// The settings of each plugin for servers.
fn settings(config: &HostConfig) -> Result<Vec<McpConfig>, Failure> {
    let plugins = config.enabled_plugins().filter(|it| it.cls == CLASS);
    let settings = plugins.map(|plugin| {
        let settings = Value::Object(plugin.settings().clone());
        serde_json::from_value(settings)
            .map_err(|error| Failure::refused(format_args!("{}: {error}", plugin.name)))
    });
    settings.collect()
}

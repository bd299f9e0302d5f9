//! The command line: the commands, and how their values are read. Each command has its flags beside it.

#![allow(clippy::doc_markdown, reason = "these comments are the text of --help")]

use clap::{Parser, Subcommand};

use crate::commands::audit::AuditArgs;
use crate::commands::bench::BenchArgs;
use crate::commands::call::CallArgs;
use crate::commands::check::CheckArgs;
use crate::commands::connect::ConnectArgs;
use crate::commands::explain::ExplainArgs;
#[cfg(feature = "mcp")]
use crate::commands::import::ImportArgs;
use crate::commands::learn::LearnArgs;
use crate::commands::manual::{CompletionsArgs, ManArgs};
#[cfg(feature = "mcp")]
use crate::commands::mcp::McpArgs;
use crate::commands::operate::approve::ApproveArgs;
use crate::commands::operate::reload::ReloadArgs;
use crate::commands::operate::status::StatusArgs;
use crate::commands::operate::stop::StopArgs;
use crate::commands::plugins::PluginsArgs;
use crate::commands::schema::SchemaArgs;
use crate::commands::snapshot::SnapshotArgs;
#[cfg(feature = "top")]
use crate::commands::top::TopArgs;
use crate::serve::ServeArgs;

/// A2E: the environment that an AI agent lives in.
#[derive(Debug, Parser)]
#[command(name = "a2e", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done · 1 refused or problems found · 2 usage · 70 internal\n\
    Errors and logs go to stderr, results to stdout; with --json errors stand on stdout as well, whole.\n\
    Every command takes its configuration as FILE, as -c FILE or from A2E_CONFIG.\n\
    Logs: A2E_LOG sets what is logged (for example `debug` or `a2e_core=trace`)."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a host: load plugins and serve agents
    Serve(ServeArgs),
    /// Send one request; events go to stderr, the reply to stdout
    Call(CallArgs),
    /// Hold a session with a host: type messages, see what comes
    Connect(ConnectArgs),
    /// Show how a running host stands
    Status(StatusArgs),
    /// Watch a running host on the terminal; keys sort, cancel a call, build a plugin anew
    #[cfg(feature = "top")]
    Top(TopArgs),
    /// Have a running host read its configuration again
    Reload(ReloadArgs),
    /// Have a running host finish its work and end
    Stop(StopArgs),
    /// Let calls go on that wait for a person, or refuse them
    Approve(ApproveArgs),
    /// Check a configuration; all problems at once, exit code 1 if there are any
    Check(CheckArgs),
    /// List the plugin classes that are linked in, and those that a configuration or a host loads
    Plugins(PluginsArgs),
    /// Look at, save, restore and compare the saved states of plugins
    Snapshot(SnapshotArgs),
    /// Show which plugins handle a message type, in which order, how they run, and what intercepts it
    Explain(ExplainArgs),
    /// Print what an MCP client needs; look at the MCP servers that a host uses, approve what their tools say
    #[cfg(feature = "mcp")]
    Mcp(McpArgs),
    /// Make a configuration out of that of another program
    #[cfg(feature = "mcp")]
    Import(ImportArgs),
    /// Print the JSON Schema of message types and plugin settings
    Schema(SchemaArgs),
    /// Measure the message path on this machine, beside a raw echo
    Bench(BenchArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man(ManArgs),
    /// Show the last records of audit files, verify them, summarise them
    Audit(AuditArgs),
    /// Print what a host has learned, as samples for trainers
    Learn(LearnArgs),
}

/// Seconds, not negative, at most an hour.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds from 0 to 3600".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

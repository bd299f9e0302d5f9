//! The command line.

#![allow(clippy::doc_markdown, reason = "these comments are the text of --help")]

use std::path::PathBuf;

use a2e_core::config::ListenAddr;
use clap::{Args, Parser, Subcommand};

/// A2E: the environment that an AI agent lives in.
#[derive(Debug, Parser)]
#[command(name = "a2e", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done · 1 refused or problems found · 2 usage · 70 internal\n\
    Logs go to stderr; A2E_LOG sets what is logged (for example `debug` or `a2e_core=trace`)."
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
    /// Check a configuration; all problems at once, exit code 1 if there are any
    Check(CheckArgs),
    /// List the plugin classes that are linked in, and those that a configuration loads
    Plugins(PluginsArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Where it listens: --stdio and --listen, else `listen` of the file, else its \
    `transport` and `server`.\nNothing given: stdio if stdin is not a terminal, else \
    tcp://127.0.0.1:8765.\nWithout a file: read-only tools over the current directory, memory in RAM, \
    demo tools.\n\n\
    Examples:\n  a2e serve --stdio < session.ndjson\n  \
    a2e serve -c a2e.yaml --listen unix:///run/user/1000/a2e/a2e.sock --listen tcp://127.0.0.1:8765"
)]
pub(crate) struct ServeArgs {
    /// The configuration (YAML)
    #[arg(short, long, value_name = "FILE", env = "A2E_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Serve one agent over stdin and stdout; end when it ends
    #[arg(long)]
    pub(crate) stdio: bool,
    /// Serve at an address; may be repeated: tcp://127.0.0.1:8765 · unix:///run/a2e/a2e.sock
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Vec<ListenAddr>,
    /// How long accepted requests may go on after the end of input or SIGTERM
    #[arg(long, value_name = "SECS", default_value_t = 2.0, value_parser = seconds)]
    pub(crate) drain: f64,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Without --to and --spawn a host is started inside this process, as `a2e serve` \
    would.\n\nExamples:\n  a2e call tool/list/req\n  \
    a2e call tool/call/req '{\"tool_name\":\"read_file\",\"arguments\":{\"path\":\"README.md\"}}'\n  \
    a2e call ping --to unix:///run/user/1000/a2e/a2e.sock\n  \
    a2e call tool/list/req --spawn 'a2e serve --stdio -c a2e.yaml'"
)]
pub(crate) struct CallArgs {
    /// The message type, for example tool/call/req
    #[arg(value_name = "TYPE")]
    pub(crate) wire_type: String,
    /// The fields of the message, a JSON object; `-` reads it from stdin
    #[arg(value_name = "JSON", default_value = "{}")]
    pub(crate) body: String,
    /// The address of a running host: tcp://HOST:PORT or unix:///PATH
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["spawn", "config"])]
    pub(crate) to: Option<String>,
    /// A host to start and talk to over its stdin and stdout; split at spaces, no shell
    #[arg(long, value_name = "CMD", conflicts_with = "config")]
    pub(crate) spawn: Option<String>,
    /// The configuration of the host that is started inside this process
    #[arg(short, long, value_name = "FILE", env = "A2E_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The host's token
    #[arg(long, env = "A2E_TOKEN", hide_env_values = true, hide = true, default_value = "")]
    pub(crate) token: String,
    /// How long to wait for the reply
    #[arg(long, value_name = "SECS", default_value_t = 60.0, value_parser = seconds)]
    pub(crate) timeout: f64,
    /// Print the reply as one line, as it came
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration (YAML)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Treat warnings as errors
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print the problems as one JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PluginsArgs {
    /// Also load this configuration and tell what became of each plugin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Seconds, not negative, at most an hour.
fn seconds(text: &str) -> Result<f64, String> {
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

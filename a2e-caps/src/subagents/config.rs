//! The settings of a subagents plugin.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

/// The settings of a subagents plugin.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct SubagentSettings {
    /// The program of every subagent, with its arguments: it speaks A2E over its standard streams as a client and
    /// takes tasks. Without it the built-in worker takes them, which gives a summary and does nothing.
    #[serde(default)]
    pub command: Vec<String>,
    /// The folder that the program starts in.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// Names of variables that it inherits, beside `PATH`, `HOME`, `LANG`, `LC_ALL`, `TMPDIR`, `TZ` and `USER`.
    #[serde(default)]
    pub env_pass: Vec<String>,
    /// Subagents of one agent, and of those that they spawn, that are not terminated.
    #[serde(default = "max_subagents")]
    pub max_subagents: NonZeroUsize,
    /// How deep subagents may spawn subagents; 1: not at all.
    #[serde(default = "max_depth")]
    pub max_depth: u32,
    /// Tasks of the host that run at a time; the others wait.
    #[serde(default = "max_running")]
    pub max_running: NonZeroUsize,
    /// How long a task of the built-in worker takes, in milliseconds.
    #[serde(default = "worker_ms")]
    pub worker_ms: u64,
}

fn max_subagents() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(15)
}

fn max_depth() -> u32 {
    3
}

fn max_running() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(15)
}

fn worker_ms() -> u64 {
    1000
}

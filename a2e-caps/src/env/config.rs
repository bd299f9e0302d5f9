//! The settings of an env plugin.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use a2e_core::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::worlds;

/// Which environments there are, and how much of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct EnvConfig {
    /// The built-in environments that are served; all of them unless this says which.
    #[serde(default = "all")]
    pub environments: Vec<String>,
    /// Environments that programs serve.
    #[serde(default)]
    pub processes: Vec<ProcessConfig>,
    /// Most episodes of a session. At one more, the oldest that is over is closed; where none is,
    /// `env/reset` is refused with `reset_denied`.
    #[serde(default = "max_episodes")]
    pub max_episodes: NonZeroUsize,
    /// Most episodes of all sessions; one more is refused with `overloaded`.
    #[serde(default = "max_host_episodes")]
    pub max_host_episodes: NonZeroUsize,
    /// Most steps of a session that `env/exp/list` remembers.
    #[serde(default = "max_history")]
    pub max_history: usize,
    /// Most bytes of them.
    #[serde(default = "max_history_bytes")]
    pub max_history_bytes: usize,
}

/// An environment that a program serves: it reads `env/*` requests, a line each, and writes their answers,
/// as any A2E host with this environment does on its standard input and output. Each episode has a process of
/// its own while it runs. A push is the agent's whose episode has its `episode_id`; under an id that the program
/// gives to two episodes in a row, the second gets none.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ProcessConfig {
    /// What agents call it; also the `env_name` of what is sent to it, unless `env_name` is there.
    pub name: String,
    /// The program and its arguments; no shell.
    pub command: Vec<String>,
    /// What the program calls it.
    #[serde(default)]
    pub env_name: Option<String>,
    /// Its working folder; the host's unless this says which.
    #[serde(default)]
    pub cwd: Option<String>,
    /// Variables that it gets beside `PATH`, `HOME`, `LANG`, `LC_ALL`, `TMPDIR`, `TZ` and `USER`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Names of variables of the host that it gets.
    #[serde(default)]
    pub env_pass: Vec<String>,
    /// Most processes at a time; an episode that would need one more is refused with `overloaded`.
    #[serde(default = "max_processes")]
    pub max_processes: NonZeroUsize,
    /// Processes of closed episodes that wait for the next one, which spares it their start.
    #[serde(default = "keep_idle")]
    pub keep_idle: usize,
}

impl EnvConfig {
    /// What the types of the fields cannot say.
    ///
    /// # Errors
    /// A name that is unknown, empty or there twice, or a command without a program.
    pub(super) fn check(&self) -> Result<()> {
        let mut names: Vec<&str> = Vec::new();
        for name in &self.environments {
            if worlds::find(name).is_none() {
                let known = worlds::NAMES.join(", ");
                let text = format!("environments: no `{name}` is built in; there are {known}");
                return Err(Error::runtime(text));
            }
            names.push(name);
        }
        for it in &self.processes {
            if it.command.first().is_none_or(String::is_empty) {
                let text = format!("processes: `{}` has no command", it.name);
                return Err(Error::runtime(text));
            }
            names.push(&it.name);
        }
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| pair.first() == pair.get(1));
        if let Some(name) =
            names.first().filter(|name| name.is_empty()).or(twice.and_then(|it| it.first()))
        {
            return Err(Error::runtime(format!("the name `{name}` is empty, or stands twice")));
        }
        Ok(())
    }
}

fn all() -> Vec<String> {
    worlds::NAMES.map(str::to_owned).into()
}

fn max_episodes() -> NonZeroUsize {
    at_least_one(64)
}

fn max_host_episodes() -> NonZeroUsize {
    at_least_one(1024)
}

fn max_history() -> usize {
    1000
}

fn max_history_bytes() -> usize {
    4 << 20
}

fn max_processes() -> NonZeroUsize {
    at_least_one(16)
}

fn keep_idle() -> usize {
    1
}

fn at_least_one(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).unwrap_or(NonZeroUsize::MIN)
}

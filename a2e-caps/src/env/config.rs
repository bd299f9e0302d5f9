//! The settings of an env plugin.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use a2e_core::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::worlds;

/// Longest start of a server, in seconds.
const MOST_START_S: f64 = 3600.0;

/// Which environments there are, and how much of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct EnvConfig {
    /// The built-in environments that are served; all of them unless this says which.
    #[serde(default = "all")]
    pub environments: Vec<String>,
    /// Environments that programs serve.
    #[serde(default)]
    pub processes: Vec<ProcessConfig>,
    /// Environments of OpenEnv servers.
    #[serde(default)]
    pub openenv: Vec<OpenEnvConfig>,
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

/// An environment of an OpenEnv server: one that runs at a `url`, or one that the host runs as `command`. Each
/// episode has a WebSocket of its own. An action is what the server's schema says; the picture `state` is the
/// server's own state.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct OpenEnvConfig {
    /// What agents call it.
    pub name: String,
    /// The server's base: `http://`, `https://`, `ws://` or `wss://`, a host, and a path where there is one.
    #[serde(default)]
    pub url: Option<String>,
    /// The program that serves and its arguments; no shell. `{port}` in an argument is the port of 127.0.0.1 that
    /// it has to listen at; where no argument has it, `--port` and the port are added. The program is started
    /// when it is first needed, and when it is needed again after its end.
    #[serde(default)]
    pub command: Vec<String>,
    /// Its working folder; the host's unless this says which.
    #[serde(default)]
    pub cwd: Option<String>,
    /// Variables that it gets beside `PATH`, `HOME`, `LANG`, `LC_ALL`, `TMPDIR`, `TZ`, `USER`, and `HOST`, `PORT`,
    /// `UVICORN_HOST` and `UVICORN_PORT`, which say where it has to listen.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Names of variables of the host that it gets.
    #[serde(default)]
    pub env_pass: Vec<String>,
    /// Seconds until its `/health` has to say that it is ready; then it is ended.
    #[serde(default = "start_s")]
    pub start_s: f64,
    /// The file whose text is sent as bearer token to `url`.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
}

impl OpenEnvConfig {
    fn check(&self) -> std::result::Result<(), &'static str> {
        match (&self.url, self.command.first()) {
            (Some(_), Some(_)) => return Err("has a url and a command; it is one of both"),
            (None, None) => return Err("has no url and no command"),
            (None, Some(program)) if program.is_empty() => return Err("has no command"),
            (None, Some(_)) if self.token_file.is_some() => {
                return Err("has a token_file, which is for a url");
            }
            _ => {}
        }
        if !(self.start_s > 0.0 && self.start_s <= MOST_START_S) {
            return Err("has a start_s beyond 0 to 3600");
        }
        Ok(())
    }
}

impl EnvConfig {
    /// What the types of the fields cannot say.
    ///
    /// # Errors
    /// A name that is unknown, empty or there twice, a command without a program, a server that is nowhere.
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
        for it in &self.openenv {
            it.check().map_err(|why| Error::runtime(format!("openenv: `{}` {why}", it.name)))?;
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

fn start_s() -> f64 {
    60.0
}

fn keep_idle() -> usize {
    1
}

fn at_least_one(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).unwrap_or(NonZeroUsize::MIN)
}

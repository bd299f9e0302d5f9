//! The host that `call` and `connect` talk to: a running one, one that is started, or one of our own.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::time::Duration;

use a2e_core::Executor;
use clap::Args;

use crate::args::seconds;
use crate::defaults::ConfigArgs;
use crate::{Failure, address};

#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The address of a running host: unix:///PATH, tcp://HOST:PORT, http://HOST:PORT or ws://HOST:PORT
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["spawn", "config", "file"])]
    pub(crate) to: Option<String>,
    /// A host to start and talk to over its stdin and stdout; split at spaces, no shell
    #[arg(long, value_name = "CMD", conflicts_with_all = ["config", "file"])]
    pub(crate) spawn: Option<String>,
    /// The host's token
    #[arg(long, env = "A2E_TOKEN", hide_env_values = true, hide = true, default_value = "")]
    pub(crate) token: String,
    /// How long to wait for a reply, connecting and handshake included
    #[arg(long, value_name = "SECS", default_value_t = 60.0, value_parser = seconds)]
    timeout: f64,
}

/// The host that is meant.
#[derive(Clone, Debug)]
pub(crate) enum Target<'a> {
    Running(String),
    Spawned(&'a str),
    /// Inside this process, as its configuration says.
    Own,
}

impl TargetArgs {
    /// A configuration means a host of our own; nothing means the host of a bare `a2e serve`, or one of
    /// our own where none runs.
    pub(crate) fn target(&self) -> Target<'_> {
        if let Some(command) = &self.spawn {
            return Target::Spawned(command);
        }
        if self.to.is_none() && self.config.path().is_some() {
            return Target::Own;
        }
        address::find_host(self.to.as_deref()).map_or(Target::Own, Target::Running)
    }

    pub(crate) fn limit(&self) -> Duration {
        Duration::from_secs_f64(self.timeout)
    }
}

/// Starts a host inside this process.
pub(crate) async fn start_own(config: &ConfigArgs) -> Result<Executor, Failure> {
    let mut builder = Executor::builder(config.load()?).guard("/proc/self/exe");
    if config.lenient {
        builder = builder.lenient();
    }
    builder.start().await.map_err(Failure::refused)
}

/// The program and the arguments of `--spawn`.
pub(crate) fn words(command: &str) -> Result<(&str, impl Iterator<Item = &str>), Failure> {
    let mut words = command.split_whitespace();
    let program = words.next().ok_or_else(|| Failure::usage("--spawn names no program"))?;
    Ok((program, words))
}

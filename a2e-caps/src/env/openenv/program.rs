//! The program of a server that the host runs: started when it is needed, held by a guard, ended with the plugin.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::children::{Child, Command, StdinMode};
use a2e_core::plugin::Host;
use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use hyper::StatusCode;
use tokio::sync::{OnceCell, watch};
use tokio::time::{sleep, timeout};

use super::endpoint::Endpoint;
use crate::env::config::OpenEnvConfig;

/// How far apart a program is asked whether it is ready.
const PAUSE: Duration = Duration::from_millis(50);

/// Bytes of what it says about its health.
const HEALTH: usize = 64 << 10;

/// How long the end of a program is waited for whose connection has broken off.
const END_LIMIT: Duration = Duration::from_secs(3);

/// Characters of them that are shown.
const SHOWN: usize = 400;

/// A program and where it stands.
#[derive(Debug)]
pub(super) struct Program {
    config: OpenEnvConfig,
    host: Host,
    stage: watch::Sender<Stage>,
}

#[derive(Debug)]
enum Stage {
    Idle,
    Starting,
    Ready(Arc<Running>),
    Failed(Error),
    /// The plugin has ended.
    Stopped,
}

/// A program that serves. Dropping it ends the program.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) endpoint: Endpoint,
    child: Child,
}

impl Program {
    pub(super) fn new(config: OpenEnvConfig, host: Host) -> Self {
        Self { config, host, stage: watch::Sender::new(Stage::Idle) }
    }

    /// Where it serves, once it is ready. Its start goes on when nobody waits any more.
    ///
    /// # Errors
    /// `unavailable` when it ends, or is not ready in its time; those of the start of a child.
    pub(super) async fn ready(self: &Arc<Self>) -> Result<Endpoint> {
        let mut stage = self.stage.subscribe();
        let begins = self.stage.send_if_modified(|stage| {
            let begins = match stage {
                Stage::Idle | Stage::Failed(_) => true,
                Stage::Ready(it) => it.child.exit().is_some(),
                Stage::Starting | Stage::Stopped => false,
            };
            if begins {
                *stage = Stage::Starting;
            }
            begins
        });
        if begins {
            let mut starting = Starting(Some(Arc::clone(self)));
            self.host.spawn(async move {
                if let Some(program) = &starting.0 {
                    program.reach(program.start().await);
                }
                drop(starting.0.take());
            });
        }
        let gone = || Error::new(ErrorCode::ShuttingDown, "the plugin is ending");
        let settled = stage.wait_for(|stage| !matches!(stage, Stage::Starting)).await;
        match &*settled.map_err(|_| gone())? {
            Stage::Ready(running) => Ok(running.endpoint.clone()),
            Stage::Failed(error) => Err(error.clone()),
            Stage::Idle | Stage::Starting | Stage::Stopped => Err(gone()),
        }
    }

    fn reach(&self, started: Result<Running>) {
        self.stage.send_if_modified(|stage| {
            let is_awaited = matches!(stage, Stage::Starting);
            if is_awaited {
                *stage = match started {
                    Ok(running) => Stage::Ready(Arc::new(running)),
                    Err(error) => Stage::Failed(error),
                };
            }
            is_awaited
        });
    }

    async fn start(&self) -> Result<Running> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
        let port = free.map_err(|error| Error::runtime(format!("no free port: {error}")))?.port();
        let mut child = self.host.children()?.spawn(self.command(port)).await?;
        child.drain_stderr();
        if let Some(mut stdout) = child.stdout.take() {
            // Access logs; ends with the pipe, and the pipe with the process.
            tokio::spawn(async move {
                tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await.ok();
            });
        }
        let endpoint = Endpoint::local(port);
        let limit = Duration::try_from_secs_f64(self.config.start_s).unwrap_or_default();
        let why = tokio::select! {
            exit = child.wait() => format!("has ended with {exit} before it was ready"),
            ready = timeout(limit, healthy(&endpoint)) => match ready {
                Ok(()) => return Ok(Running { endpoint, child }),
                Err(_) => format!("was not ready within {} s (`start_s`)", self.config.start_s),
            },
        };
        child.kill().await;
        let last = last_words(&child).await;
        let text = format!("the OpenEnv server `{}` {why}{last}", self.config.name);
        Err(Error::new(ErrorCode::Unavailable, text))
    }

    fn command(&self, port: u16) -> Command {
        let OpenEnvConfig { command, cwd, env, env_pass, .. } = &self.config;
        let (port, host) = (port.to_string(), Ipv4Addr::LOCALHOST.to_string());
        let mut words: Vec<OsString> =
            command.iter().map(|word| word.replace("{port}", &port).into()).collect();
        if !command.iter().any(|word| word.contains("{port}")) {
            words.extend(["--port".into(), OsString::from(&port)]);
        }
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default()).args(words);
        for (name, value) in
            [("HOST", &host), ("PORT", &port), ("UVICORN_HOST", &host), ("UVICORN_PORT", &port)]
        {
            command = command.env(name, value);
        }
        command.env.extend(env.iter().map(|(name, value)| (name.into(), value.into())));
        command.cwd = cwd.as_ref().map(PathBuf::from);
        command.env_pass.clone_from(env_pass);
        command.stdin = StdinMode::Null;
        command
    }

    /// How it has ended and what it said last, where it has. A connection breaks off a moment before the end of
    /// its program is known, which is waited for then.
    pub(super) async fn end(&self, is_cut: bool) -> Option<String> {
        let running = match &*self.stage.borrow() {
            Stage::Ready(running) => Arc::clone(running),
            _ => return None,
        };
        let limit = if is_cut { END_LIMIT } else { Duration::ZERO };
        let exit = timeout(limit, running.child.wait()).await.ok()?;
        let last = last_words(&running.child).await;
        Some(format!("; its program has ended with {exit}{last}"))
    }

    /// Ends it for good.
    pub(super) fn stop(&self) {
        self.stage.send_replace(Stage::Stopped);
    }
}

/// Says that a start has failed that was dropped.
struct Starting(Option<Arc<Program>>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(program) = &self.0 {
            program.reach(Err(Error::new(ErrorCode::ShuttingDown, "the plugin is ending")));
        }
    }
}

/// Resolves when the server says that it is ready.
async fn healthy(endpoint: &Endpoint) {
    let no_tls = OnceCell::new();
    while !matches!(endpoint.get(&no_tls, None, "/health", HEALTH).await, Ok((StatusCode::OK, _))) {
        sleep(PAUSE).await;
    }
}

/// What a program said last that has ended.
async fn last_words(child: &Child) -> String {
    let last = child.last_words().await.unwrap_or_default();
    let last: String = last.chars().take(SHOWN).collect();
    if last.is_empty() { last } else { format!("; it said last: {last}") }
}

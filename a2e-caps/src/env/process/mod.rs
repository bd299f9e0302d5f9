//! Environments that programs serve: the processes of one such environment.

mod wire;
mod worker;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use a2e_core::children::Command;
use a2e_core::plugin::Host;
use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;

use super::config::ProcessConfig;
use super::contract::{Link, Spaces};
pub(in crate::env) use worker::Worker;

/// How long a program may take to close an episode; then it is killed.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// The processes of an environment: those of episodes, and those that wait for the next one.
#[derive(Debug)]
pub(super) struct Pool {
    config: ProcessConfig,
    host: Host,
    /// One permit for each process that may still be started.
    permits: Arc<Semaphore>,
    /// Held for a push or a pop.
    idle: Mutex<Vec<Worker>>,
    spaces: OnceCell<Spaces>,
}

impl Pool {
    pub(super) fn new(config: ProcessConfig, host: Host) -> Self {
        let permits = Arc::new(Semaphore::new(config.max_processes.get()));
        Self { config, host, permits, idle: Mutex::default(), spaces: OnceCell::new() }
    }

    /// The name under which the program knows the environment.
    fn env_name(&self) -> &str {
        self.config.env_name.as_deref().unwrap_or(&self.config.name)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process for an episode: one that waits, or a new one.
    ///
    /// # Errors
    /// `overloaded` when there are as many as may be, and those of the start.
    pub(super) async fn worker(&self, link: Option<Link>) -> Result<Worker> {
        let waiting = self.idle().pop();
        if let Some(mut worker) = waiting.filter(|worker| !worker.has_ended()) {
            worker.serve(link);
            return Ok(worker);
        }
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            let text = format!(
                "{} processes serve `{}`, which is its `max_processes`; close an episode",
                self.config.max_processes, self.config.name
            );
            return Err(Error::new(ErrorCode::Overloaded, text));
        };
        let child = self.host.children()?.spawn(self.command()).await?;
        let limit = self.host.config().limits.max_line_bytes;
        let clock = Arc::clone(self.host.clock());
        Ok(Worker::new(child, clock, self.env_name(), limit, link, permit))
    }

    fn command(&self) -> Command {
        let ProcessConfig { command, cwd, env, env_pass, .. } = &self.config;
        let mut words = command.iter().map(OsString::from);
        let mut command = Command::new(words.next().unwrap_or_default()).args(words);
        command.cwd = cwd.as_ref().map(PathBuf::from);
        command.env = env.iter().map(|(name, value)| (name.into(), value.into())).collect();
        command.env_pass.clone_from(env_pass);
        command
    }

    /// What the program says that it takes and gives; asked for once.
    ///
    /// # Errors
    /// Those of the program.
    pub(super) async fn spaces(&self) -> Result<Spaces> {
        let ask = async {
            let mut worker = self.worker(None).await?;
            let spaces = worker.spaces().await;
            self.keep(worker);
            spaces
        };
        self.spaces.get_or_try_init(|| ask).await.cloned()
    }

    /// The end of an episode: its process waits for the next one, or ends.
    pub(super) async fn give_back(&self, mut worker: Worker) {
        if let Ok(Ok(())) = timeout(CLOSE_LIMIT, worker.close()).await {
            self.keep(worker);
        }
    }

    fn keep(&self, mut worker: Worker) {
        worker.serve(None);
        let mut idle = self.idle();
        if !worker.is_broken() && idle.len() < self.config.keep_idle {
            idle.push(worker);
        }
    }

    /// Ends the processes that wait.
    pub(super) fn clear(&self) {
        let idle = std::mem::take(&mut *self.idle());
        drop(idle);
    }
}

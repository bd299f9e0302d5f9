//! The child supervisor: programs that the host runs, for plugins, and that never outlive it.
//!
//! Each program runs under a guard, see [`guard`]. One OS thread forks all guards; a task per
//! child passes orders to its guard and notes what it tells. However a child ends (by itself, by
//! [`Child::stop`], by dropping the handle, by the host's death, even by SIGKILL), every process
//! that it started ends with it.
//!
//! Not defended: SIGKILL of host and guard at the same moment, and processes that the host may
//! not signal (set-user-id programs, when the host is not root). A service manager that kills by
//! control group, or a PID namespace, covers both.
//!
//! ```no_run
//! use std::time::Duration;
//! use a2e_core::children::{Command, Supervisor, SupervisorConfig, run_if_guard};
//!
//! # async fn start() -> a2e_core::Result<()> {
//! let children = Supervisor::new(SupervisorConfig::guarded_by_self())?;
//! let child = children.spawn(Command::new("sleep").args(["60"])).await?;
//! let exit = child.stop(Duration::from_secs(2)).await;
//! assert_eq!(exit.signal, Some(15));
//! # Ok(()) }
//! fn main() {
//!     run_if_guard(); // before anything else
//!     // a runtime, then start()
//! }
//! ```

mod child;
mod command;
mod drain;
mod forked;
pub mod guard;
mod launcher;
mod monitor;
mod start;
mod sweep;
mod tree;
mod wire;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use child::{Child, Exit, Signal};
pub use command::{Command, ENV_DEFAULT, StdinMode};
pub use drain::drain;
pub use guard::run_if_guard;

use crate::error::{Error, Result};
use crate::protocol::ErrorCode;
use child::{ORDER_QUEUE, State};
use launcher::Launch;
use monitor::Monitor;

/// How well children are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// A guard per child: no descendant survives child or host.
    Guard,
    /// A process group per child: descendants that leave it survive, and all survive a host that
    /// is killed.
    Group,
}

impl Isolation {
    /// `guard` or `group`, for status and health.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Group => "group",
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a supervisor works.
#[derive(Clone, Debug)]
pub struct SupervisorConfig {
    /// A program that calls [`run_if_guard`] first in `main`. `None`: level `group`.
    pub guard: Option<PathBuf>,
    /// Children that may live at the same time. Each takes five descriptors of the host.
    pub max_children: u32,
    /// With a guard: make the host process the child subreaper, so that even what a guard that
    /// was killed leaves behind is found. The price is for an embedder that starts processes by
    /// other means too: their orphans come to the host, where nobody waits for them; and those
    /// that left the host's session are killed when a guard older than they is lost. Such an
    /// embedder turns this off; then only descendants in a lost guard's own session are found.
    pub adopt_orphans: bool,
}

impl Default for SupervisorConfig {
    fn default() -> Self {
        Self { guard: None, max_children: 1024, adopt_orphans: true }
    }
}

impl SupervisorConfig {
    /// The running program is its own guard; it must call [`run_if_guard`] first in `main`.
    pub fn guarded_by_self() -> Self {
        Self { guard: Some("/proc/self/exe".into()), ..Self::default() }
    }
}

/// Starts programs and holds them until they end. Dropping it kills all children.
#[derive(Debug)]
pub struct Supervisor {
    config: SupervisorConfig,
    runtime: Handle,
    /// One permit per child that may still start.
    slots: Arc<Semaphore>,
    next_id: AtomicU64,
    host_stops: watch::Sender<Option<Duration>>,
    /// Guards the way to the forking thread, which is taken away at shutdown.
    launcher: Mutex<Option<(mpsc::Sender<Launch>, JoinHandle<()>)>>,
}

impl Supervisor {
    /// Starts the forking thread. All children are watched on the current runtime, wherever they
    /// are spawned from.
    ///
    /// Errors: no runtime here, the guard program is missing, no thread to be had, or this
    /// process is itself a guard because `main` does not call [`run_if_guard`].
    ///
    /// # Panics
    ///
    /// When the current runtime has no I/O or no time driver, as tokio's own types do.
    pub fn new(config: SupervisorConfig) -> Result<Arc<Self>> {
        let runtime = Handle::try_current().map_err(|error| Error::internal(error.to_string()))?;
        // Shows a missing driver here and not in the forking thread.
        tokio::net::unix::pipe::pipe()?;
        if std::env::var_os(wire::GUARD_MARK).is_some() {
            return Err(Error::internal("`run_if_guard` must be the first call in `main`"));
        }
        if let Some(guard) = &config.guard {
            let is_file = std::fs::metadata(guard).is_ok_and(|meta| meta.is_file());
            if !is_file {
                let text = format!("the guard program `{}` is missing", guard.display());
                return Err(Error::runtime(text));
            }
            if config.adopt_orphans {
                nix::sys::prctl::set_child_subreaper(true).map_err(std::io::Error::from)?;
            }
        }
        let launcher = launcher::open(config.guard.clone(), runtime.clone())?;
        Ok(Arc::new(Self {
            slots: Arc::new(Semaphore::new(config.max_children as usize)),
            config,
            runtime,
            next_id: AtomicU64::new(1),
            host_stops: watch::Sender::new(None),
            launcher: Mutex::new(Some(launcher)),
        }))
    }

    /// How well children are held.
    pub fn isolation(&self) -> Isolation {
        if self.config.guard.is_some() { Isolation::Guard } else { Isolation::Group }
    }

    /// Children of which anything is alive, or which are being started.
    pub fn live(&self) -> usize {
        (self.config.max_children as usize).saturating_sub(self.slots.available_permits())
    }

    /// Starts a program. May be cancelled: what was started is killed then.
    ///
    /// Errors: `runtime_error` with the system's text (and `detail.errno`) when the program cannot
    /// be started, `proc_limit` when `max_children` live, `shutting_down` after
    /// [`Supervisor::shutdown`].
    pub async fn spawn(&self, command: Command) -> Result<Child> {
        let stops = || Error::new(ErrorCode::ShuttingDown, "no process is started any more");
        let permit = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| {
            let text = format!("{} processes are running already", self.config.max_children);
            Error::new(ErrorCode::ProcLimit, text)
        })?;
        // Asked after the permit was taken: shutdown waits for permits after it has said so.
        if self.host_stops.borrow().is_some() {
            return Err(stops());
        }
        let launcher = self.launcher().as_ref().map(|(sender, _)| sender.clone());
        let launcher = launcher.ok_or_else(stops)?;

        let (orders, order_queue) = mpsc::channel(ORDER_QUEUE);
        let state = watch::Sender::new(State::Running);
        let (started, outcome) = oneshot::channel();
        let watched = state.subscribe();
        let host_stops = self.host_stops.subscribe();
        let adopt_orphans = self.config.adopt_orphans;
        let runtime = self.runtime.clone();
        let launch = Launch {
            command,
            then: Box::new(move |forked| match forked {
                Err(error) => drop(started.send(Err(error))),
                Ok((forked, pipes)) => {
                    let monitor = Monitor {
                        forked,
                        pipes: Some(pipes),
                        started: Some(started),
                        orders: order_queue,
                        state,
                        host_stops,
                        adopt_orphans,
                        permit,
                    };
                    runtime.spawn(monitor.run());
                }
            }),
        };
        launcher.send(launch).await.map_err(|_| stops())?;
        // Not answered: the runtime of the supervisor is gone, and so is the child.
        let (pid, pipes) = outcome.await.map_err(|_| stops())??;
        Ok(Child {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            pid,
            stdin: pipes.stdin,
            stdout: Some(pipes.stdout),
            stderr: Some(pipes.stderr),
            orders,
            state: watched,
        })
    }

    /// Stops all children as [`Child::stop`] does, refuses new ones, and returns when nothing is
    /// left and the forking thread has ended. What cannot be killed is given up after 10 s more.
    pub async fn shutdown(&self, grace: Duration) {
        self.host_stops.send_replace(Some(grace));
        self.slots.acquire_many(self.config.max_children).await.map(drop).ok();
        let launcher = self.launcher().take();
        if let Some((sender, thread)) = launcher {
            drop(sender);
            // Ends as soon as it finds its queue closed.
            tokio::task::spawn_blocking(move || thread.join()).await.map(drop).ok();
        }
    }

    fn launcher(
        &self,
    ) -> std::sync::MutexGuard<'_, Option<(mpsc::Sender<Launch>, JoinHandle<()>)>> {
        self.launcher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

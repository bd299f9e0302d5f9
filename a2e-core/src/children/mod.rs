//! The child supervisor: programs that the host runs, for plugins, and that never outlive it.
//!
//! Each program runs under a guard, see [`guard`]. One OS thread forks all guards; a task per
//! child passes orders to its guard and notes what it tells. However a child ends (by itself, by
//! [`Child::stop`], by dropping the handle, by the host's death, even by SIGKILL), every process
//! that it started ends with it.
//!
//! Not defended by a guard: SIGKILL of host and guard at the same moment, and processes that the host
//! may not signal (set-user-id programs, when the host is not root). A service manager that kills by
//! control group covers both, and so does a PID namespace, see [`Holding`].
//!
//! [`Kept`] keeps a program running under a [`RestartPolicy`]; [`Supervisor::status`] shows what runs.
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
mod forked;
pub mod guard;
mod keep;
mod launcher;
mod monitor;
mod sandbox;
mod status;
mod sweep;
mod tree;
mod wire;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use child::{Child, Exit, Signal};
pub use command::{Command, ENV_DEFAULT, Holding, StdinMode};
pub use guard::run_if_guard;
pub use keep::{KeepState, Kept, RestartPolicy, Restarts, Stdio, Verdict};
pub use sandbox::Sandbox;
pub use status::{ChildStatus, Tail};

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::protocol::ErrorCode;
use crate::sync::Mutex;
use child::{ChildState, ORDER_QUEUE};
use launcher::Launch;
use monitor::Monitor;
use status::{Note, Notes};

/// The level at which children are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// A guard per child: no descendant survives child or host.
    Guard,
    /// A PID namespace per child, with a guard in it: as `Guard`, even when host and guards are
    /// killed at once.
    Pidns,
    /// A process group per child: descendants that leave it survive, and all survive a host that
    /// is killed.
    Group,
}

impl Isolation {
    /// `guard`, `pidns` or `group`, for status and health.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pidns => "pidns",
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
    /// other means too: their orphans come to the host, which does not wait for them; and those
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
    clock: SystemClock,
    notes: Notes,
    /// Why no PID namespace can be made; looked for once.
    no_pidns: OnceLock<Option<String>>,
    /// Why no program can be held in; looked for once.
    no_sandbox: OnceLock<Option<String>>,
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
            clock: SystemClock::new(),
            notes: Notes::default(),
            no_pidns: OnceLock::new(),
            no_sandbox: OnceLock::new(),
            launcher: Mutex::new(Some(launcher)),
        }))
    }

    /// The level at which children are held by default.
    pub fn isolation(&self) -> Isolation {
        if self.config.guard.is_some() { Isolation::Guard } else { Isolation::Group }
    }

    /// Why no child can have a PID namespace of its own; `None`: it can. The first call tries it,
    /// which blocks for some milliseconds.
    pub fn pidns_refusal(&self) -> Option<&str> {
        let probe = || match &self.config.guard {
            Some(guard) => probe_pidns(guard),
            None => Some("there is no guard program".to_owned()),
        };
        self.no_pidns.get_or_init(probe).as_deref()
    }

    /// Why no program can have a [`Sandbox`] that is required; `None`: it can. The first call tries it.
    pub fn sandbox_refusal(&self) -> Option<&str> {
        let probe = || match &self.config.guard {
            Some(_) => sandbox::refusal(),
            None => Some("there is no guard program".to_owned()),
        };
        self.no_sandbox.get_or_init(probe).as_deref()
    }

    fn check_sandbox(&self, sandbox: Option<&Sandbox>) -> Result<()> {
        let required = sandbox.filter(|it| it.required);
        let Some(why) = required.and_then(|_| self.sandbox_refusal()) else { return Ok(()) };
        Err(Error::new(ErrorCode::Unavailable, format!("the sandbox cannot be had: {why}")))
    }

    /// How this command will be held.
    fn level(&self, holding: Holding) -> Result<Isolation> {
        let refusal = match holding {
            Holding::Usual => return Ok(self.isolation()),
            Holding::PreferPidns | Holding::Pidns => self.pidns_refusal(),
        };
        match refusal {
            None => Ok(Isolation::Pidns),
            Some(why) if holding == Holding::Pidns => {
                let text = format!("the isolation `pidns` cannot be had: {why}");
                Err(Error::new(ErrorCode::Unavailable, text))
            }
            Some(why) => {
                let level = self.isolation();
                tracing::warn!(why, %level, "no PID namespace for a child");
                Ok(level)
            }
        }
    }

    /// The children with any live process.
    pub fn status(&self) -> Vec<ChildStatus> {
        self.notes.status()
    }

    /// Resolves when the host stops.
    pub(crate) async fn stopping(&self) {
        let mut host_stops = self.host_stops.subscribe();
        // The sender is ours.
        host_stops.wait_for(Option::is_some).await.map(drop).ok();
    }

    /// The number of children with any live process, and of those that are being started.
    pub fn live(&self) -> usize {
        (self.config.max_children as usize).saturating_sub(self.slots.available_permits())
    }

    /// Starts a program. May be cancelled: what was started is killed then.
    ///
    /// Errors: `runtime_error` with the system's text (and `detail.errno`) when the program cannot
    /// be started, `proc_limit` when `max_children` live, `shutting_down` after
    /// [`Supervisor::shutdown`], `unavailable` when [`Holding::Pidns`] or a required [`Sandbox`] cannot be had.
    pub async fn spawn(&self, command: Command) -> Result<Child> {
        self.spawn_kept(command, 0).await
    }

    /// As `spawn`; `restarts` is the number of earlier starts of the program.
    pub(crate) async fn spawn_kept(&self, command: Command, restarts: u32) -> Result<Child> {
        let isolation = self.level(command.holding)?;
        self.check_sandbox(command.sandbox.as_ref())?;
        let program = command.program.clone();
        let stops = || Error::new(ErrorCode::ShuttingDown, "no process is started any more");
        let permit = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| {
            let text = format!("{} processes are running already", self.config.max_children);
            Error::new(ErrorCode::ProcLimit, text)
        })?;
        // Asked after the permit was taken: shutdown waits for permits after it has said so.
        if self.host_stops.borrow().is_some() {
            return Err(stops());
        }
        let launcher = self.launcher.lock().as_ref().map(|(sender, _)| sender.clone());
        let launcher = launcher.ok_or_else(stops)?;

        let (orders, order_queue) = mpsc::channel(ORDER_QUEUE);
        let state = watch::Sender::new(ChildState::Running);
        let (started, outcome) = oneshot::channel();
        let watched = state.subscribe();
        let host_stops = self.host_stops.subscribe();
        let adopt_orphans = self.config.adopt_orphans;
        let runtime = self.runtime.clone();
        let launch = Launch {
            command,
            isolation,
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
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (tail, since) = (Tail::default(), self.clock.now().wall);
        let (note_state, note_tail) = (watched.clone(), tail.clone());
        let note =
            Note { pid, program, since, restarts, isolation, state: note_state, tail: note_tail };
        self.notes.add(id, note);
        Ok(Child {
            id,
            pid,
            isolation,
            tail,
            all_said: None,
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
        let launcher = self.launcher.lock().take();
        if let Some((sender, thread)) = launcher {
            drop(sender);
            // Ends as soon as it finds its queue closed.
            tokio::task::spawn_blocking(move || thread.join()).await.map(drop).ok();
        }
    }
}

/// Has the guard program try to make a PID namespace; what it says when it cannot.
fn probe_pidns(guard: &Path) -> Option<String> {
    let mut command = std::process::Command::new(guard);
    command.args([wire::GUARD_WORD, "0", wire::PROBE_WAY]);
    command.env_clear().envs(wire::guard_environment());
    command.stdin(std::process::Stdio::null());
    match command.output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            let ended = format!("the guard program ended with {}", output.status);
            Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned).or(Some(ended))
        }
        Err(error) => Some(format!("the guard program does not run: {error}")),
    }
}

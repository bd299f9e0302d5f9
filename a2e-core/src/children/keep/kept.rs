//! A program that is kept running under a restart policy.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};

use super::policy::{RestartPolicy, Restarts, Verdict};
use crate::children::{Child, Command, Exit, Supervisor, Tail};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::protocol::ErrorCode;

/// Orders that wait; each is taken at once.
const ORDER_QUEUE: usize = 8;

/// The state of a kept program.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum KeepState {
    /// It is being started.
    Starting,
    /// It runs.
    Running {
        /// Its process id.
        pid: u32,
    },
    /// It has ended and is started again at `until`.
    BackingOff {
        /// On the monotonic scale of the clock that was given.
        until: Duration,
        /// How it ended, or why it did not start.
        reason: String,
    },
    /// It has ended too often, and is left until [`Kept::reset`].
    Quarantined {
        /// How it ended last.
        reason: String,
    },
    /// It was stopped, or the host stops.
    Stopped,
}

impl KeepState {
    /// One word: `starting`, `running`, `backing_off`, `quarantined`, `stopped`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running { .. } => "running",
            Self::BackingOff { .. } => "backing_off",
            Self::Quarantined { .. } => "quarantined",
            Self::Stopped => "stopped",
        }
    }
}

/// For people.
impl fmt::Display for KeepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Running { pid } => write!(f, " as {pid}"),
            Self::BackingOff { reason, .. } | Self::Quarantined { reason } => {
                write!(f, " after {reason}")
            }
            Self::Starting | Self::Stopped => Ok(()),
        }
    }
}

/// The pipes of one run. Its standard error is drained by the supervisor.
#[derive(Debug)]
pub struct Stdio {
    /// With `StdinMode::Pipe`.
    pub stdin: Option<pipe::Sender>,
    /// What the program writes; reading it is up to the taker.
    pub stdout: Option<pipe::Receiver>,
}

/// Called with the pipes of each run, before anything else is done with it. Must not block.
type OnStart = Box<dyn FnMut(u32, Stdio) + Send>;

enum KeepOrder {
    Reset,
    Stop(Duration),
}

/// A program that is kept running; dropping it kills the program.
#[derive(Debug)]
pub struct Kept {
    orders: mpsc::Sender<KeepOrder>,
    state: watch::Receiver<KeepState>,
    starts: Arc<AtomicU32>,
    tail: Tail,
}

impl Kept {
    /// Starts the program, and again whenever it ends, whatever its exit code. `name` is for the log.
    pub fn start(
        supervisor: Arc<Supervisor>,
        name: impl Into<String>,
        command: Command,
        policy: RestartPolicy,
        clock: Arc<dyn Clock>,
        on_start: impl FnMut(u32, Stdio) + Send + 'static,
    ) -> Self {
        let (orders, order_queue) = mpsc::channel(ORDER_QUEUE);
        let state = watch::Sender::new(KeepState::Starting);
        let (starts, tail) = (Arc::default(), Tail::default());
        let this = Self {
            orders,
            state: state.subscribe(),
            starts: Arc::clone(&starts),
            tail: tail.clone(),
        };
        let runtime = supervisor.runtime.clone();
        let keeper = Keeper {
            supervisor,
            name: name.into(),
            command,
            restarts: Restarts::new(policy),
            clock,
            on_start: Box::new(on_start),
            orders: order_queue,
            state,
            starts,
            tail,
        };
        runtime.spawn(keeper.run());
        this
    }

    /// Its state.
    pub fn state(&self) -> KeepState {
        self.state.borrow().clone()
    }

    /// Waits for a state; `None` when the runtime of the supervisor is gone.
    pub async fn until(&self, is_it: impl Fn(&KeepState) -> bool) -> Option<KeepState> {
        let mut state = self.state.clone();
        state.wait_for(is_it).await.ok().map(|state| state.clone())
    }

    /// How often it was started again.
    pub fn restarts(&self) -> u32 {
        self.starts.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// The end of what its runs wrote to standard error.
    pub fn tail(&self) -> Vec<String> {
        self.tail.lines()
    }

    /// An operator's word: forgets all ends, and starts it now if it waits or is in quarantine.
    ///
    /// Errors: `proc_dead` when it was stopped.
    pub async fn reset(&self) -> Result<()> {
        let stopped = || Error::new(ErrorCode::ProcDead, "the program was stopped for good");
        if self.state() == KeepState::Stopped {
            return Err(stopped());
        }
        self.orders.send(KeepOrder::Reset).await.map_err(|_| stopped())
    }

    /// Asks the program to end, kills it after `grace`, and does not start it again. Returns when
    /// nothing of it is left.
    pub async fn stop(&self, grace: Duration) {
        // A closed queue: it was stopped before.
        self.orders.send(KeepOrder::Stop(grace)).await.ok();
        self.until(|state| *state == KeepState::Stopped).await;
    }
}

/// The task behind a [`Kept`].
struct Keeper {
    supervisor: Arc<Supervisor>,
    name: String,
    command: Command,
    restarts: Restarts,
    clock: Arc<dyn Clock>,
    on_start: OnStart,
    orders: mpsc::Receiver<KeepOrder>,
    state: watch::Sender<KeepState>,
    starts: Arc<AtomicU32>,
    tail: Tail,
}

/// Whether the keeper goes on.
#[derive(PartialEq)]
enum AfterRun {
    Again,
    Over,
}

impl Keeper {
    async fn run(mut self) {
        while self.once().await == AfterRun::Again {}
        self.state.send_replace(KeepState::Stopped);
        tracing::info!(name = self.name, "kept program stopped");
    }

    /// One run and the wait after it.
    async fn once(&mut self) -> AfterRun {
        self.state.send_replace(KeepState::Starting);
        let began = self.clock.now();
        let count = self.starts.fetch_add(1, Ordering::Relaxed);
        let reason = match self.supervisor.spawn_kept(self.command.clone(), count).await {
            Ok(child) => match self.follow(child).await {
                Some(exit) => exit.to_string(),
                None => return AfterRun::Over,
            },
            Err(error) if *error.code() == ErrorCode::ShuttingDown => return AfterRun::Over,
            Err(error) => error.message().to_owned(),
        };
        let now = self.clock.now();
        match self.restarts.ended(now.mono, now.since(began)) {
            Verdict::After(wait) => {
                tracing::warn!(name = self.name, reason, ?wait, "kept program ended");
                let until = now.mono.saturating_add(wait);
                self.state.send_replace(KeepState::BackingOff { until, reason });
                self.wait(Some(wait)).await
            }
            Verdict::Quarantine => {
                tracing::error!(name = self.name, reason, "kept program put in quarantine");
                self.state.send_replace(KeepState::Quarantined { reason });
                self.wait(None).await
            }
        }
    }

    /// Watches a run to its end; `None` when it was ended for good.
    async fn follow(&mut self, mut child: Child) -> Option<Exit> {
        child.drain_stderr_into(&self.tail);
        let stdio = Stdio { stdin: child.stdin.take(), stdout: child.stdout.take() };
        let on_start = AssertUnwindSafe(|| (self.on_start)(child.pid, stdio));
        if catch_unwind(on_start).is_err() {
            tracing::error!(name = self.name, "what takes the pipes of a kept program panicked");
        }
        self.state.send_replace(KeepState::Running { pid: child.pid });
        tracing::info!(name = self.name, pid = child.pid, "kept program runs");
        // What is shown as ended has said its last words.
        loop {
            tokio::select! {
                exit = child.gone() => {
                    child.last_words().await;
                    return Some(exit);
                }
                order = self.orders.recv() => match order {
                    Some(KeepOrder::Reset) => self.restarts.reset(),
                    Some(KeepOrder::Stop(grace)) => {
                        child.stop(grace).await;
                        child.last_words().await;
                        return None;
                    }
                    // The handle was dropped.
                    None => {
                        child.kill().await;
                        return None;
                    }
                },
            }
        }
    }

    /// Waits before the next run, for ever without a time; an operator shortens it.
    async fn wait(&mut self, wait: Option<Duration>) -> AfterRun {
        let over = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => AfterRun::Again,
            () = self.supervisor.stopping() => AfterRun::Over,
            order = self.orders.recv() => match order {
                Some(KeepOrder::Reset) => {
                    self.restarts.reset();
                    AfterRun::Again
                }
                Some(KeepOrder::Stop(_)) | None => AfterRun::Over,
            },
        }
    }
}

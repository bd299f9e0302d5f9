//! A host as a child process over its standard streams: started, watched, ended, always reaped.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use a2e_core::transport::{Connection, from_child};

use super::stderr::{Stderr, Tail};

/// After the end of its input a host may go on for this long.
const AFTER_INPUT: Duration = Duration::from_secs(3);

/// After SIGTERM it may go on for this long.
const AFTER_TERM: Duration = Duration::from_secs(2);

/// After SIGKILL only a stuck kernel keeps the process.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// A host program to be started. It inherits our environment.
#[derive(Clone, Debug)]
pub struct HostCommand {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    stderr: Stderr,
}

impl HostCommand {
    /// A program, by its path or by its name in `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            stderr: Stderr::default(),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts it in this folder instead of ours.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Where its standard error goes; kept to be told when it dies unless set.
    #[must_use]
    pub fn stderr(mut self, stderr: Stderr) -> Self {
        self.stderr = stderr;
        self
    }

    /// Starts it in a process group of its own, so that a key pressed at our terminal does not reach it.
    pub(crate) fn start(self) -> io::Result<(Connection, Process)> {
        let name = self.to_string();
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(match self.stderr {
                Stderr::Tail => Stdio::piped(),
                Stderr::Inherit => Stdio::inherit(),
                Stderr::Null => Stdio::null(),
            })
            .process_group(0)
            // For the case that the runtime ends before our task has ended it.
            .kill_on_drop(true);
        if let Some(directory) = self.directory {
            command.current_dir(directory);
        }
        let mut child = command.spawn()?;
        let missing = || io::Error::other("a standard stream is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?.into_owned_fd()?;
        let stdout = child.stdout.take().ok_or_else(missing)?.into_owned_fd()?;
        let tail = child.stderr.take().map(Tail::of);
        let connection = from_child(stdout.into(), stdin.into(), name)?;
        Ok((connection, Process::watch_over(child, tail)))
    }
}

/// The command line, for people.
impl fmt::Display for HostCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program.display())?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", arg.display()))
    }
}

/// What the task that owns the child is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Run,
    Terminate,
    Kill,
}

/// A host process; dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Process {
    id: Option<u32>,
    orders: watch::Sender<Order>,
    watch: ProcessWatch,
}

/// A look at a host process; does not keep it alive.
#[derive(Clone, Debug)]
pub(crate) struct ProcessWatch {
    exit: watch::Receiver<Option<ExitStatus>>,
    tail: Option<Tail>,
}

impl Process {
    fn watch_over(child: Child, tail: Option<Tail>) -> Self {
        let (orders, told) = watch::channel(Order::Run);
        let (ended, exit) = watch::channel(None);
        let id = child.id();
        tokio::spawn(own(child, told, ended));
        Self { id, orders, watch: ProcessWatch { exit, tail } }
    }

    pub(crate) fn watch(&self) -> ProcessWatch {
        self.watch.clone()
    }

    pub(crate) fn id(&self) -> Option<u32> {
        if self.watch.exit.borrow().is_some() { None } else { self.id }
    }

    /// Waits for the process to end by itself, then makes it end. Its input has ended before.
    pub(crate) async fn end(&self) {
        let ladder = [
            (AFTER_INPUT, Some(Order::Terminate)),
            (AFTER_TERM, Some(Order::Kill)),
            (AFTER_KILL, None),
        ];
        for (patience, order) in ladder {
            if tokio::time::timeout(patience, self.watch.exited()).await.is_ok() {
                return;
            }
            if let Some(order) = order {
                tracing::warn!(pid = self.id, ?order, "the host process does not end");
                self.orders.send_replace(order);
            } else {
                tracing::error!(pid = self.id, "the host process cannot be killed");
            }
        }
    }

    /// Kills the process and waits until it was reaped.
    pub(crate) async fn kill(&self) {
        self.orders.send_replace(Order::Kill);
        if tokio::time::timeout(AFTER_KILL, self.watch.exited()).await.is_err() {
            tracing::error!(pid = self.id, "the host process cannot be killed");
        }
    }
}

impl ProcessWatch {
    /// Waits until the process has ended and was reaped.
    pub(crate) async fn exited(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        loop {
            if let Some(status) = *exit.borrow_and_update() {
                return status;
            }
            if exit.changed().await.is_err() {
                // The owner is gone with its runtime; nothing will be known.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The end of its standard error, once it has ended.
    pub(crate) async fn last_words(&self) -> Arc<str> {
        match &self.tail {
            Some(tail) => tail.last_words().await,
            None => "".into(),
        }
    }
}

/// Owns the child: carries out orders and reaps it. When all handles are gone, it is killed.
async fn own(
    mut child: Child,
    mut orders: watch::Receiver<Order>,
    ended: watch::Sender<Option<ExitStatus>>,
) {
    // The id stays ours until the child is reaped, which only this task does.
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let signal = |order: Order| {
        let result = match (order, pid) {
            (Order::Terminate, Some(pid)) => kill(pid, Signal::SIGTERM),
            // With what it started in its group: a shell that wraps the host does not pass signals on.
            (Order::Kill, Some(pid)) => killpg(pid, Signal::SIGKILL),
            _ => Ok(()),
        };
        if let Err(error) = result {
            tracing::debug!(%error, ?order, "signal not sent");
        }
    };
    let mut has_master = true;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            changed = orders.changed(), if has_master => {
                has_master = changed.is_ok();
                signal(if has_master { *orders.borrow_and_update() } else { Order::Kill });
            }
        }
    };
    match status {
        Ok(status) => drop(ended.send_replace(Some(status))),
        Err(error) => tracing::error!(%error, "the host process could not be waited for"),
    }
}

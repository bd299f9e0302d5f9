//! The handle of one child: its pipes, its end, and how to bring that about.

use std::fmt;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};

use super::Isolation;
use super::status::Tail;
use crate::error::{Error, Result};
use crate::protocol::ErrorCode;

/// Orders to one child that wait to be passed on; they are passed on in microseconds.
pub(super) const ORDER_QUEUE: usize = 16;

/// Most bytes that a pipe holds, unless the administrator allows more.
const PIPE_BYTES: usize = 1 << 20;

/// How a program ended: one of the two is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// What the program returned, 0 to 255.
    pub code: Option<i32>,
    /// The number of the signal that ended it.
    pub signal: Option<i32>,
}

impl Exit {
    /// Ended by SIGKILL; also said of a program whose guard was lost and which was killed then.
    pub(super) fn killed() -> Self {
        Self::by_signal(9)
    }

    pub(super) fn by_signal(signal: i32) -> Self {
        Self { code: None, signal: Some(signal) }
    }

    /// Whether the program ended by itself with code 0.
    pub fn is_success(self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, signal) => write!(f, "signal {}", signal.unwrap_or_default()),
        }
    }
}

/// A signal for the process group of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, as Ctrl-C.
    Interrupt,
    /// SIGTERM: please end.
    Terminate,
    /// SIGKILL. To the group only; the rest of the tree ends because the program has ended.
    Kill,
}

impl Signal {
    pub(super) fn to_nix(self) -> nix::sys::signal::Signal {
        match self {
            Self::Interrupt => nix::sys::signal::Signal::SIGINT,
            Self::Terminate => nix::sys::signal::Signal::SIGTERM,
            Self::Kill => nix::sys::signal::Signal::SIGKILL,
        }
    }
}

/// An order of the handle to the monitor of the child. A closed queue means: kill the tree.
#[derive(Debug)]
pub(super) enum ChildOrder {
    Signal(Signal),
    Stop(Duration),
    Kill,
}

/// The stage of a child's life.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ChildState {
    Running,
    /// The program has ended; descendants may be dying.
    Ended(Exit),
    /// Nothing is left.
    Gone(Exit),
}

/// A running program and all processes that it starts. Dropping it kills them all.
#[derive(Debug)]
pub struct Child {
    /// Counts up in each supervisor, from 1; never reused.
    pub id: u64,
    /// The program's own process id, which is also its process group.
    pub pid: u32,
    /// With `StdinMode::Pipe`: write here; dropping it is end of file for the program.
    pub stdin: Option<pipe::Sender>,
    /// What the program writes. Not reading it makes the program wait when the pipe is full
    /// (64 KiB on Linux). Dropping it makes the program's next write fail.
    pub stdout: Option<pipe::Receiver>,
    /// As `stdout`; see [`drain_stderr`](Self::drain_stderr) where it is not read otherwise.
    pub stderr: Option<pipe::Receiver>,
    /// How it is held.
    pub isolation: Isolation,
    pub(super) orders: mpsc::Sender<ChildOrder>,
    pub(super) state: watch::Receiver<ChildState>,
    /// What status shows of its standard error.
    pub(super) tail: Tail,
    /// Closed when all is in the tail that was said before the child was gone; `None`: not drained here.
    pub(super) all_said: Option<watch::Receiver<()>>,
}

impl Child {
    /// Has its standard error read to the end by a task, which keeps the last lines for
    /// [`tail`](Self::tail) and for status. Does nothing when `stderr` was taken. Needs a running
    /// tokio.
    pub fn drain_stderr(&mut self) {
        self.drain_stderr_into(&Tail::default());
    }

    /// As `drain_stderr`, into a tail that outlives this run.
    pub fn drain_stderr_into(&mut self, kept: &Tail) {
        if let Some(stderr) = self.stderr.take() {
            let (caught_up, all_said) = watch::channel(());
            let tails = [kept.clone(), self.tail.clone()];
            tokio::spawn(drain_into(stderr, tails, self.state.clone(), caught_up));
            self.all_said = Some(all_said);
        }
    }

    /// The last lines of its standard error, where that is [drained](Self::drain_stderr) here. Another
    /// task reads them: for a child that ends, see [`last_words`](Self::last_words).
    pub fn tail(&self) -> Vec<String> {
        self.tail.lines()
    }

    /// Waits until the child is gone and all that it said is read; the last line with text in it.
    ///
    /// ```no_run
    /// # async fn example(mut child: a2e_core::children::Child) {
    /// child.drain_stderr();
    /// let exit = child.gone().await;
    /// let said = child.last_words().await.unwrap_or_default();
    /// println!("it ended with {exit}: {said}");
    /// # }
    /// ```
    pub async fn last_words(&self) -> Option<String> {
        self.gone().await;
        if let Some(mut all_said) = self.all_said.clone() {
            // Nothing is ever sent: this resolves when the reader has caught up.
            all_said.changed().await.ok();
        }
        self.tail().into_iter().rev().find(|line| !line.trim().is_empty())
    }

    /// Waits until the program has ended. Any number of tasks may wait, and cancel, at any time.
    /// Descendants are killed then; [`Child::gone`] waits for that as well.
    pub async fn wait(&self) -> Exit {
        self.reach(|state| !matches!(state, ChildState::Running)).await
    }

    /// Waits until the program has ended and no descendant is left.
    pub async fn gone(&self) -> Exit {
        self.reach(|state| matches!(state, ChildState::Gone(_))).await
    }

    /// How the program ended; `None` while it runs.
    pub fn exit(&self) -> Option<Exit> {
        match *self.state.borrow() {
            ChildState::Running => None,
            ChildState::Ended(exit) | ChildState::Gone(exit) => Some(exit),
        }
    }

    /// Sends a signal to the program's process group.
    ///
    /// Errors: `proc_dead` when the program has ended, `overloaded` when more than 16 orders wait.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if let Some(exit) = self.exit() {
            return Err(ended(exit));
        }
        self.orders.try_send(ChildOrder::Signal(signal)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Error::new(ErrorCode::Overloaded, "too many signals wait for this process")
            }
            mpsc::error::TrySendError::Closed(_) => ended(self.exit().unwrap_or(Exit::killed())),
        })
    }

    /// Asks the program to end with SIGTERM, kills the whole tree when `grace` is over, and
    /// returns when nothing is left. A grace of zero kills at once.
    pub async fn stop(&self, grace: Duration) -> Exit {
        // A closed queue: the child is gone or going.
        self.orders.send(ChildOrder::Stop(grace)).await.ok();
        self.gone().await
    }

    /// Kills the whole tree and returns when nothing is left.
    pub async fn kill(&self) -> Exit {
        self.orders.send(ChildOrder::Kill).await.ok();
        self.gone().await
    }

    async fn reach(&self, is_there: impl Fn(&ChildState) -> bool) -> Exit {
        let mut state = self.state.clone();
        // An error means that the watching task went away with its runtime; the guard sees the
        // same and kills, so that is what this is.
        state.wait_for(is_there).await.ok();
        self.exit().unwrap_or(Exit::killed())
    }
}

/// Reads to the end of file, which at level `group` can come long after the child is gone: a
/// descendant may hold the pipe. `caught_up` is dropped when all is read that was written by then.
async fn drain_into(
    mut stderr: pipe::Receiver,
    tails: [Tail; 2],
    mut state: watch::Receiver<ChildState>,
    caught_up: watch::Sender<()>,
) {
    let mut caught_up = Some(caught_up);
    let mut buffer = vec![0; 4096];
    loop {
        tokio::select! {
            read = stderr.read(&mut buffer) => match read {
                Ok(count @ 1..) => push(&tails, &buffer, count),
                _ => break,
            },
            // An error: the child went away with its runtime.
            _ = state.wait_for(|state| matches!(state, ChildState::Gone(_))),
                if caught_up.is_some() =>
            {
                read_what_is_there(&stderr, &tails, &mut buffer);
                caught_up = None;
            }
        }
    }
    for tail in &tails {
        tail.end();
    }
}

/// Asks the pipe itself: the runtime may not have heard yet of what was written to it.
fn read_what_is_there(stderr: impl AsFd, tails: &[Tail], buffer: &mut [u8]) {
    let mut total = 0;
    while total < PIPE_BYTES {
        match nix::unistd::read(&stderr, buffer) {
            Ok(count @ 1..) => {
                push(tails, buffer, count);
                total += count;
            }
            Err(Errno::EINTR) => {}
            // Empty, or at its end, which the next usual read meets again.
            _ => return,
        }
    }
}

fn push(tails: &[Tail], buffer: &[u8], count: usize) {
    for tail in tails {
        tail.push(buffer.get(..count).unwrap_or_default());
    }
}

fn ended(exit: Exit) -> Error {
    Error::new(ErrorCode::ProcDead, format!("the process has ended with {exit}"))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn the_last_words_are_read_when_the_child_is_gone_although_the_pipe_stays_open() {
        let (mut sender, stderr) = pipe::pipe().unwrap();
        let (states, state) = watch::channel(ChildState::Running);
        let (caught_up, mut all_said) = watch::channel(());
        let tails = [Tail::default(), Tail::default()];
        let drains = tokio::spawn(drain_into(stderr, tails.clone(), state, caught_up));
        // Both at once: the task runs only at the next wait.
        sender.write_all(b"one\nlast words").await.unwrap();
        states.send_replace(ChildState::Gone(Exit::killed()));
        all_said.changed().await.unwrap_err();
        for tail in &tails {
            assert_eq!(tail.lines(), ["one", "last words"]);
        }
        // A descendant that survived at level `group` is heard to its end.
        sender.write_all(b", and more\n").await.unwrap();
        drop(sender);
        drains.await.unwrap();
        assert_eq!(tails[0].lines(), ["one", "last words, and more"]);
    }

    #[tokio::test]
    async fn a_stream_that_never_ends_does_not_hold_up_the_end() {
        let endless = std::fs::File::open("/dev/zero").unwrap();
        let (mut buffer, tails) = (vec![0; 4096], [Tail::default()]);
        read_what_is_there(&endless, &tails, &mut buffer);
    }
}

//! The task that watches one child from launch to the last descendant.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::sys::signal::{Signal as Number, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::child::{Exit, Order, State};
use super::launcher::{Forked, GuardLine, Pipes};
use super::sweep::{known, sweep};
use super::wire::{END_TREE, MAX_LINE, Report};
use crate::error::Error;

/// Longest time from fork to the guard's first line.
const LAUNCH_BOUND: Duration = Duration::from_secs(10);
/// Longest time that a guard gets to kill its tree, before it is killed itself.
const KILL_BOUND: Duration = Duration::from_secs(5);

/// What happens to one child next.
enum Event {
    Order(Option<Order>),
    HostStops(Duration),
    Deadline,
    Report(Report),
    /// The guard is gone, or the program at level `group`.
    Closed,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Starting,
    Running,
    /// SIGTERM was sent.
    Asked,
    /// The tree is being killed.
    Killed,
    /// The guard itself was killed.
    Forced,
}

/// Told the caller of `spawn`, once.
pub(super) type Started = oneshot::Sender<Result<(u32, Pipes), Error>>;

/// Owns the process; every way of ending a child is a stage of this.
pub(super) struct Monitor {
    pub(super) forked: Forked,
    pub(super) pipes: Option<Pipes>,
    pub(super) started: Option<Started>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) state: watch::Sender<State>,
    /// The grace that children get, once the host stops.
    pub(super) host_stops: watch::Receiver<Option<Duration>>,
    pub(super) adopt_orphans: bool,
    /// Counts as a live child.
    pub(super) permit: OwnedSemaphorePermit,
}

/// Where the child's life is, and when that has to change.
struct Course {
    stage: Stage,
    deadline: Option<Instant>,
    /// The host's stop was heard; it is not a second time.
    host_stops: bool,
    exit: Option<Exit>,
    lines: Lines,
}

impl Monitor {
    /// Runs until nothing of the child is left.
    pub(super) async fn run(mut self) {
        let mut course = Course {
            stage: Stage::Starting,
            deadline: Some(Instant::now() + LAUNCH_BOUND),
            host_stops: false,
            exit: None,
            lines: Lines::default(),
        };
        if let Some(guard) = &mut self.forked.guard {
            // A guard that does not take it shows by its silence or its end.
            let block = std::mem::take(&mut guard.block);
            timeout(LAUNCH_BOUND, guard.socket.write_all(&block)).await.ok();
        } else {
            self.begun(&mut course, self.forked.pid.unsigned_abs());
        }
        loop {
            match self.next(&mut course).await {
                Event::Closed => break,
                Event::Report(report) => self.take_report(&mut course, report),
                Event::Order(Some(Order::Signal(signal))) => self.signal(signal.to_nix()),
                Event::Order(Some(Order::Stop(grace))) => self.ask(&mut course, grace),
                Event::Order(Some(Order::Kill) | None) => self.end_tree(&mut course),
                Event::HostStops(grace) => {
                    course.host_stops = true;
                    self.ask(&mut course, grace);
                }
                Event::Deadline if course.stage == Stage::Asked => self.end_tree(&mut course),
                Event::Deadline => {
                    self.forked.process.start_kill().ok();
                    (course.stage, course.deadline) = (Stage::Forced, None);
                }
            }
        }
        self.finish(course.exit).await;
    }

    /// Cancel-safe: nothing is lost when the other branches win.
    async fn next(&mut self, course: &mut Course) -> Event {
        let Self { forked, orders, host_stops, .. } = self;
        let is_mortal = matches!(course.stage, Stage::Starting | Stage::Running | Stage::Asked);
        let deadline = course.deadline;
        tokio::select! {
            event = forked.next(&mut course.lines) => event,
            order = orders.recv(), if is_mortal => Event::Order(order),
            grace = stops(host_stops), if is_mortal && !course.host_stops => {
                Event::HostStops(grace)
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                Event::Deadline
            }
        }
    }

    fn take_report(&mut self, course: &mut Course, report: Report) {
        match report {
            Report::Started(pid) => self.begun(course, pid),
            Report::Failed(errno, text) => {
                self.tell_started(Err(Error::runtime(text).with_detail("errno", errno)));
            }
            Report::Ended(exit) => {
                course.exit = Some(exit);
                (course.stage, course.deadline) =
                    (Stage::Killed, Some(Instant::now() + KILL_BOUND));
                self.state.send_replace(State::Ended(exit));
            }
        }
    }

    fn begun(&mut self, course: &mut Course, pid: u32) {
        if course.stage == Stage::Starting {
            (course.stage, course.deadline) = (Stage::Running, None);
        }
        if let Some(pipes) = self.pipes.take() {
            self.tell_started(Ok((pid, pipes)));
        }
    }

    fn tell_started(&mut self, outcome: Result<(u32, Pipes), Error>) {
        if let Some(started) = self.started.take() {
            // A caller that went away dropped the handle too: the queue of orders is closed.
            started.send(outcome).ok();
        }
    }

    /// Asks the program to end within `grace`, or within what is left of an earlier grace.
    fn ask(&mut self, course: &mut Course, grace: Duration) {
        let end = Instant::now() + grace;
        let earlier = course.deadline.filter(|_| course.stage == Stage::Asked);
        course.deadline = Some(earlier.map_or(end, |earlier| earlier.min(end)));
        course.stage = Stage::Asked;
        self.signal(Number::SIGTERM);
        // A stopped process would not see it.
        self.signal(Number::SIGCONT);
    }

    fn signal(&mut self, signal: Number) {
        match &mut self.forked.guard {
            Some(guard) => guard.order(u8::try_from(signal as i32).unwrap_or(END_TREE)),
            None => self.forked.signal_group(signal),
        }
    }

    fn end_tree(&mut self, course: &mut Course) {
        (course.stage, course.deadline) = (Stage::Killed, Some(Instant::now() + KILL_BOUND));
        match &mut self.forked.guard {
            Some(guard) => guard.order(END_TREE),
            None => self.forked.signal_group(Number::SIGKILL),
        }
    }

    async fn finish(mut self, exit: Option<Exit>) {
        // A guard that closed its socket has nothing left to do; a stuck one must not stay.
        self.forked.process.start_kill().ok();
        self.forked.process.wait().await.ok();
        let how = exit.unwrap_or(Exit::killed());
        let seen = self.forked.guard.as_ref().and_then(|guard| guard.seen);
        drop(self.forked);
        if let Some(started) = self.started.take() {
            let text = "the guard ended before it started the program";
            started.send(Err(Error::runtime(text))).ok();
        }
        if let (None, Some(guard)) = (exit, seen) {
            // Said at once; whatever is left is killed now.
            self.state.send_replace(State::Ended(how));
            let adopt_orphans = self.adopt_orphans;
            tokio::task::spawn_blocking(move || sweep(guard, adopt_orphans)).await.ok();
        }
        drop(self.permit);
        self.state.send_replace(State::Gone(how));
    }
}

impl GuardLine {
    /// A guard that does not take the byte is dead, which the reading side sees, or stuck, which
    /// the deadline ends: so this never waits.
    fn order(&self, byte: u8) {
        self.socket.try_write(&[byte]).ok();
    }
}

impl Forked {
    /// What the process tells next.
    async fn next(&mut self, lines: &mut Lines) -> Event {
        let Some(guard) = &mut self.guard else { return self.next_of_group().await };
        loop {
            match lines.take() {
                Line::Report(report) => return Event::Report(report),
                Line::Foreign => return Event::Closed,
                Line::Incomplete => {}
            }
            // An error is the reset that a guard leaves which ended with orders unread.
            if !matches!(guard.socket.read_buf(&mut lines.buffer).await, Ok(1..)) {
                return Event::Closed;
            }
        }
    }

    async fn next_of_group(&mut self) -> Event {
        if self.process.id().is_none() {
            return Event::Closed;
        }
        let Ok(status) = self.process.wait().await else { return Event::Closed };
        // The rest of the group. The id of the group is free for others only when none is left,
        // and then comes back only after all other ids were used.
        killpg(Pid::from_raw(self.pid), Number::SIGKILL).ok();
        Event::Report(Report::Ended(Exit { code: status.code(), signal: status.signal() }))
    }

    /// Does nothing when the process was waited for: its id may be another's.
    fn signal_group(&self, signal: Number) {
        if self.process.id().is_some() {
            killpg(Pid::from_raw(self.pid), signal).ok();
        }
    }
}

impl Drop for Forked {
    /// When a runtime is torn down, tasks are dropped where they stand. A guard sees its socket
    /// close; a group has nobody else.
    fn drop(&mut self) {
        if self.guard.is_none() {
            self.signal_group(Number::SIGKILL);
        }
        known().remove(&self.pid);
    }
}

/// Bytes from a guard that are not a whole line yet; at most [`MAX_LINE`] and one read.
#[derive(Default)]
struct Lines {
    buffer: Vec<u8>,
}

enum Line {
    Report(Report),
    Incomplete,
    /// This is not what a guard writes.
    Foreign,
}

impl Lines {
    fn take(&mut self) -> Line {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
            return if self.buffer.len() > MAX_LINE { Line::Foreign } else { Line::Incomplete };
        };
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        let report = line.strip_suffix(b"\n").and_then(Report::parse);
        report.map_or(Line::Foreign, Line::Report)
    }
}

/// Resolves when the host stops; a supervisor that was dropped gives no grace.
async fn stops(host_stops: &mut watch::Receiver<Option<Duration>>) -> Duration {
    match host_stops.wait_for(Option::is_some).await {
        Ok(grace) => grace.unwrap_or_default(),
        Err(_) => Duration::ZERO,
    }
}

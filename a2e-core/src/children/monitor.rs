//! The task that watches one child from launch to the last descendant.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::sys::signal::Signal as Number;
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::child::{ChildOrder, ChildState, Exit};
use super::forked::Forked;
use super::launcher::Pipes;
use super::sweep::sweep;
use super::wire::{END_TREE, Report};
use crate::error::Error;

/// Longest time from fork to the guard's first line.
const LAUNCH_BOUND: Duration = Duration::from_secs(10);
/// Longest time that a guard gets to kill its tree, before it is killed itself.
const KILL_BOUND: Duration = Duration::from_secs(5);

/// The next event in the life of one child.
enum Event {
    Order(Option<ChildOrder>),
    /// `None`: the supervisor was dropped.
    HostStops(Option<Duration>),
    Deadline,
    Report(Report),
    /// The guard is gone, or the program at level `group`.
    Closed,
}

#[derive(Clone, Copy, PartialEq)]
enum MonitorStage {
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
    pub(super) orders: mpsc::Receiver<ChildOrder>,
    pub(super) state: watch::Sender<ChildState>,
    /// The grace that children get, once the host stops.
    pub(super) host_stops: watch::Receiver<Option<Duration>>,
    pub(super) adopt_orphans: bool,
    /// Counts as a live child.
    pub(super) permit: OwnedSemaphorePermit,
}

/// The stage of the child's life, and its deadline.
struct Course {
    stage: MonitorStage,
    deadline: Option<Instant>,
    /// The host's stop was heard; it is not a second time.
    host_stops: bool,
    exit: Option<Exit>,
    /// The guard said that there is no program, or how it ended: it was not lost.
    is_accounted: bool,
}

impl Monitor {
    /// Runs until nothing of the child is left.
    pub(super) async fn run(mut self) {
        let mut course = Course {
            stage: MonitorStage::Starting,
            deadline: Some(Instant::now() + LAUNCH_BOUND),
            host_stops: false,
            exit: None,
            is_accounted: false,
        };
        if let Some(guard) = &mut self.forked.guard {
            // A guard that does not take it shows by its silence or its end.
            let block = std::mem::take(&mut guard.block);
            timeout(LAUNCH_BOUND, guard.socket.write_all(&block)).await.ok();
        } else {
            self.begun(&mut course, self.forked.pid.unsigned_abs());
        }
        loop {
            match self.next(&course).await {
                Event::Closed => break,
                Event::Report(report) => self.take_report(&mut course, report),
                Event::Order(Some(ChildOrder::Signal(signal))) => self.signal(signal.to_nix()),
                Event::Order(Some(ChildOrder::Stop(grace))) => self.ask(&mut course, grace),
                Event::Order(Some(ChildOrder::Kill) | None) | Event::HostStops(None) => {
                    self.end_tree(&mut course);
                }
                Event::HostStops(Some(grace)) => {
                    course.host_stops = true;
                    self.ask(&mut course, grace);
                }
                Event::Deadline if course.stage == MonitorStage::Asked => {
                    self.end_tree(&mut course);
                }
                Event::Deadline => {
                    self.forked.process.start_kill().ok();
                    (course.stage, course.deadline) = (MonitorStage::Forced, None);
                }
            }
        }
        self.finish(course).await;
    }

    /// Cancel-safe: nothing is lost when the other branches win.
    async fn next(&mut self, course: &Course) -> Event {
        let Self { forked, orders, host_stops, .. } = self;
        let is_mortal = matches!(
            course.stage,
            MonitorStage::Starting | MonitorStage::Running | MonitorStage::Asked
        );
        let deadline = course.deadline;
        tokio::select! {
            report = forked.next() => report.map_or(Event::Closed, Event::Report),
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
                course.is_accounted = true;
                self.tell_started(Err(Error::runtime(text).with_detail("errno", errno)));
            }
            Report::Ended(exit) => {
                (course.exit, course.is_accounted) = (Some(exit), true);
                (course.stage, course.deadline) =
                    (MonitorStage::Killed, Some(Instant::now() + KILL_BOUND));
                self.state.send_replace(ChildState::Ended(exit));
            }
        }
    }

    fn begun(&mut self, course: &mut Course, pid: u32) {
        if course.stage == MonitorStage::Starting {
            (course.stage, course.deadline) = (MonitorStage::Running, None);
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
        let earlier = course.deadline.filter(|_| course.stage == MonitorStage::Asked);
        course.deadline = Some(earlier.map_or(end, |earlier| earlier.min(end)));
        course.stage = MonitorStage::Asked;
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
        (course.stage, course.deadline) = (MonitorStage::Killed, Some(Instant::now() + KILL_BOUND));
        match &mut self.forked.guard {
            Some(guard) => guard.order(END_TREE),
            None => self.forked.signal_group(Number::SIGKILL),
        }
    }

    async fn finish(mut self, course: Course) {
        let is_killed = self.reap(&course).await;
        let how = course.exit.unwrap_or(Exit::killed());
        let seen = self.forked.guard.as_ref().and_then(|guard| guard.seen);
        drop(self.forked);
        if let Some(started) = self.started.take() {
            let text = "the guard ended before it started the program";
            started.send(Err(Error::runtime(text))).ok();
        }
        if let (true, Some(guard)) = (is_killed || !course.is_accounted, seen) {
            // Said at once; whatever is left is killed now.
            self.state.send_replace(ChildState::Ended(how));
            let adopt_orphans = self.adopt_orphans;
            tokio::task::spawn_blocking(move || sweep(guard, adopt_orphans)).await.ok();
        }
        drop(self.permit);
        self.state.send_replace(ChildState::Gone(how));
    }

    /// Waits for the process; true when it was killed, so that it may have left something.
    ///
    /// A guard closes its socket while it ends, and the holder of a PID namespace ends after its
    /// guard: a kill at the sight of the closed socket would leave that guard alive for a moment,
    /// and then a zombie of the host. So the process gets time to end; a stuck one must not stay.
    async fn reap(&mut self, course: &Course) -> bool {
        let process = &mut self.forked.process;
        let end = Instant::now() + KILL_BOUND;
        let end = course.deadline.map_or(end, |deadline| deadline.min(end));
        let status = if let Ok(status) = timeout_at(end, process.wait()).await {
            status
        } else {
            process.start_kill().ok();
            process.wait().await
        };
        status.map_or(true, |status| status.signal().is_some())
    }
}

/// Resolves when the host stops; with `None` when the supervisor was dropped.
async fn stops(host_stops: &mut watch::Receiver<Option<Duration>>) -> Option<Duration> {
    host_stops.wait_for(Option::is_some).await.ok().and_then(|grace| *grace)
}

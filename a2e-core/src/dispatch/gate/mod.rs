//! A plugin's permits: how many of its handlers run at a time, and what waits for them.

mod backlog;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::run::Job;
use crate::executor::Kernel;
use crate::plugin::Run;
use crate::protocol::ErrorCode;
use crate::session::Session;
use crate::{Error, Result};
use backlog::Backlog;

/// How many handlers of one plugin run at a time, by where they run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permits {
    pub(crate) pool: usize,
    pub(crate) blocking: usize,
    pub(crate) future: usize,
}

impl Permits {
    pub(crate) fn of(&self, run: Run) -> usize {
        match run {
            Run::Inline | Run::Pool => self.pool,
            Run::Blocking => self.blocking,
            Run::Future => self.future,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Gate {
    permits: Permits,
    max_queue: usize,
    state: Mutex<State>,
    /// Threads that hang in this plugin, beyond their permits.
    pub(super) stuck: AtomicUsize,
}

/// Pool, blocking, future.
const LANES: usize = 3;

#[derive(Debug)]
struct State {
    lanes: [Lane; LANES],
    /// Which lane was asked last.
    turn: usize,
    mode: Mode,
}

/// What runs in one kind of place, and what waits for it.
#[derive(Debug, Default)]
struct Lane {
    permits: usize,
    running: usize,
    backlog: Backlog,
}

/// What the gate does with a job that has not begun. One that goes on with work that an inline
/// handler began always runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// It runs when there is a permit.
    Open,
    /// It waits.
    Paused,
    /// It goes to whoever stands in the plugin's place.
    Closed,
}

impl Mode {
    fn lets(self, job: &Job) -> bool {
        self == Self::Open || job.is_continuation()
    }
}

impl Lane {
    fn has_permit(&self) -> bool {
        self.running < self.permits
    }
}

impl State {
    fn new(permits: Permits) -> Self {
        let lane = |permits| Lane { permits, ..Lane::default() };
        let lanes = [permits.pool, permits.blocking, permits.future].map(lane);
        Self { lanes, turn: 0, mode: Mode::Open }
    }

    fn lane(&mut self, run: Run) -> &mut Lane {
        let [pool, blocking, future] = &mut self.lanes;
        match run {
            Run::Inline | Run::Pool => pool,
            Run::Blocking => blocking,
            Run::Future => future,
        }
    }

    fn running(&self) -> usize {
        self.lanes.iter().map(|lane| lane.running).sum()
    }

    fn queued(&self) -> usize {
        self.lanes.iter().map(|lane| lane.backlog.len()).sum()
    }

    /// Counts a run in.
    fn take(&mut self, job: &Job) {
        self.lane(job.run).running += 1;
        job.call.0.session.note_running(1);
        job.call.0.kernel.running.fetch_add(1, Ordering::SeqCst);
    }

    fn enqueue(&mut self, job: Job) {
        job.call.0.kernel.waiting.fetch_add(1, Ordering::SeqCst);
        self.lane(job.run).backlog.push(job);
    }

    /// Takes out a job that may run now or has ended. Without a permit nobody is asked: who waits
    /// costs those nothing that run.
    fn dequeue(&mut self) -> Option<Job> {
        let mode = self.mode;
        let may_go = |job: &Job| job.call.0.has_ended() || (mode.lets(job) && job.may_run());
        let job = (0..LANES).find_map(|_| {
            // Where places are scarce, each kind has its turn.
            self.turn = (self.turn + 1) % LANES;
            let lane = self.lanes.get_mut(self.turn).filter(|lane| lane.has_permit())?;
            lane.backlog.pop(may_go)
        })?;
        job.call.0.kernel.waiting.fetch_sub(1, Ordering::SeqCst);
        Some(job)
    }

    /// Takes out all of this kind.
    fn take_out(&mut self, is_one: impl Fn(&Job) -> bool) -> Vec<Job> {
        let mut out = Vec::new();
        for lane in &mut self.lanes {
            lane.backlog.take_out(&is_one, &mut out);
        }
        for job in &out {
            job.call.0.kernel.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        out
    }
}

/// How a gate stands, for status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GateStatus {
    pub(crate) running: usize,
    pub(crate) queued: usize,
    pub(crate) stuck: usize,
    pub(crate) is_quarantined: bool,
}

impl Gate {
    pub(crate) fn new(permits: Permits, max_queue: usize) -> Arc<Self> {
        Arc::new(Self {
            permits,
            max_queue,
            state: Mutex::new(State::new(permits)),
            stuck: AtomicUsize::new(0),
        })
    }

    pub(crate) fn permits(&self) -> Permits {
        self.permits
    }

    /// Guards counts and queue; nothing runs under it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether so many threads hang in this plugin that it gets no more.
    pub(crate) fn is_quarantined(&self) -> bool {
        let stuck = self.stuck.load(Ordering::Acquire);
        stuck > 0 && stuck >= 2 * self.permits.pool.min(self.permits.blocking)
    }

    pub(crate) fn status(&self) -> GateStatus {
        let state = self.lock();
        GateStatus {
            running: state.running(),
            queued: state.queued(),
            stuck: self.stuck.load(Ordering::Acquire),
            is_quarantined: self.is_quarantined(),
        }
    }

    /// Runs a job now if it has a permit, else queues it.
    ///
    /// # Errors
    /// `unavailable` when the plugin is quarantined, `overloaded` when its queue is full.
    pub(crate) fn submit(self: &Arc<Self>, job: Job) -> Result<()> {
        if self.is_quarantined() {
            let text = format!("too many handlers of `{}` hang", job.slot.name);
            return Err(Error::new(ErrorCode::Unavailable, text));
        }
        let mut state = self.lock();
        if state.mode == Mode::Closed && !job.is_continuation() {
            drop(state);
            job.forward();
            return Ok(());
        }
        // A request that another of the same plugin waits for must not wait for that one's permit.
        let is_awaited = job.call.0.ancestry_holds(job.slot.number);
        let has_permit = state.lane(job.run).has_permit();
        if state.mode.lets(&job) && (is_awaited || (has_permit && job.may_run())) {
            state.take(&job);
            drop(state);
            job.launch();
            return Ok(());
        }
        if state.queued() >= self.max_queue {
            job.call.0.kernel.counters.overloaded.add();
            let text = format!("{} requests wait for `{}` already", self.max_queue, job.slot.name);
            return Err(Error::new(ErrorCode::Overloaded, text));
        }
        state.enqueue(job);
        drop(state);
        if has_permit {
            // Session or host had no room; if that changed just now, nobody else starts this job.
            self.pump();
        }
        Ok(())
    }

    /// Starts what waits and may run now.
    pub(crate) fn pump(self: &Arc<Self>) {
        loop {
            let mut state = self.lock();
            let Some(job) = state.dequeue() else { return };
            if job.call.0.has_ended() {
                drop(state);
                job.discard();
                continue;
            }
            if !job.is_continuation() && !job.slot.is_serving() {
                drop(state);
                job.forward();
                continue;
            }
            state.take(&job);
            drop(state);
            job.launch();
        }
    }

    /// Has jobs wait that have not begun, unless they go elsewhere already.
    pub(crate) fn pause(&self) {
        let mut state = self.lock();
        if state.mode == Mode::Open {
            state.mode = Mode::Paused;
        }
    }

    /// Starts jobs again.
    pub(crate) fn resume(self: &Arc<Self>) {
        {
            let mut state = self.lock();
            if state.mode == Mode::Paused {
                state.mode = Mode::Open;
            }
        }
        self.pump();
    }

    /// From now on jobs that have not begun go to whoever stands in the plugin's place, those that
    /// wait as well.
    pub(crate) fn close(&self) {
        let fresh = {
            let mut state = self.lock();
            state.mode = Mode::Closed;
            state.take_out(|job| !job.is_continuation())
        };
        for job in fresh {
            job.forward();
        }
    }

    /// Whether nothing of this plugin runs beyond readers, and nothing waits that has begun; with
    /// `queue`, nothing at all waits.
    pub(crate) fn is_idle(&self, queue: bool) -> bool {
        let state = self.lock();
        let waits = |job: &Job| queue || job.is_continuation();
        state.running() == 0 && !state.lanes.iter().any(|lane| lane.backlog.any(waits))
    }

    /// Takes out of the queue what nobody waits for any more.
    pub(crate) fn sweep(&self) {
        let ended = self.lock().take_out(|job| job.call.0.has_ended());
        for job in ended {
            job.discard();
        }
    }

    /// A run gives its permit back, and its places in session and host; what waited may begin.
    pub(super) fn give_back(self: &Arc<Self>, run: Run, session: &Session, kernel: &Kernel) {
        {
            let mut state = self.lock();
            let lane = state.lane(run);
            lane.running = lane.running.saturating_sub(1);
        }
        session.note_running(-1);
        kernel.running.fetch_sub(1, Ordering::SeqCst);
        kernel.pump(self);
    }
}

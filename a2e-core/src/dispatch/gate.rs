//! A plugin's permits: how many of its handlers run at a time, and what waits for them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::PluginSlot;
use super::run::Job;
use crate::executor::Kernel;
use crate::plugin::Run;
use crate::protocol::ErrorCode;
use crate::session::Session;
use crate::{Error, Result};

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
    stuck: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    /// Running now, by lane: pool, blocking, future.
    running: [usize; 3],
    queue: VecDeque<Job>,
    mode: Mode,
}

/// What the gate does with a job that has not begun. One that goes on with work that an inline
/// handler began always runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// It runs when there is a permit.
    #[default]
    Open,
    /// It waits.
    Paused,
    /// It goes to whoever stands in the plugin's place.
    Closed,
}

impl State {
    fn lets(&self, job: &Job) -> bool {
        self.mode == Mode::Open || job.is_continuation()
    }

    /// Counts a run in.
    fn take(&mut self, job: &Job) {
        if let Some(running) = self.running.get_mut(lane(job.run)) {
            *running += 1;
        }
        job.call.0.session.note_running(1);
        job.call.0.kernel.running.fetch_add(1, Ordering::SeqCst);
    }
}

fn lane(run: Run) -> usize {
    match run {
        Run::Inline | Run::Pool => 0,
        Run::Blocking => 1,
        Run::Future => 2,
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
        Arc::new(Self { permits, max_queue, state: Mutex::default(), stuck: AtomicUsize::new(0) })
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
            running: state.running.iter().sum(),
            queued: state.queue.len(),
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
        let may_start = is_awaited || (self.has_permit(&state, job.run) && job.may_run());
        if may_start && state.lets(&job) {
            state.take(&job);
            drop(state);
            job.launch();
            return Ok(());
        }
        if state.queue.len() >= self.max_queue {
            job.call.0.kernel.counters.overloaded.add();
            let text = format!("{} requests wait for `{}` already", self.max_queue, job.slot.name);
            return Err(Error::new(ErrorCode::Overloaded, text));
        }
        job.call.0.kernel.waiting.fetch_add(1, Ordering::SeqCst);
        let waits_for_a_place = self.has_permit(&state, job.run);
        state.queue.push_back(job);
        drop(state);
        if waits_for_a_place {
            // Session or host had no room; if that changed just now, nobody else starts this job.
            self.pump();
        }
        Ok(())
    }

    fn has_permit(&self, state: &State, run: Run) -> bool {
        let running = state.running.get(lane(run)).copied().unwrap_or(0);
        running < self.permits.of(run)
    }

    /// Starts what waits and may run now.
    pub(crate) fn pump(self: &Arc<Self>) {
        loop {
            let mut state = self.lock();
            let next = state.queue.iter().position(|job| {
                job.call.0.has_ended()
                    || (state.lets(job) && self.has_permit(&state, job.run) && job.may_run())
            });
            let Some(job) = next.and_then(|at| state.queue.remove(at)) else { return };
            job.call.0.kernel.waiting.fetch_sub(1, Ordering::SeqCst);
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
        let fresh: Vec<Job> = {
            let mut state = self.lock();
            state.mode = Mode::Closed;
            let queue = std::mem::take(&mut state.queue);
            let (begun, fresh): (VecDeque<Job>, VecDeque<Job>) =
                queue.into_iter().partition(Job::is_continuation);
            state.queue = begun;
            fresh.into()
        };
        for job in fresh {
            job.call.0.kernel.waiting.fetch_sub(1, Ordering::SeqCst);
            job.forward();
        }
    }

    /// Whether nothing of this plugin runs beyond readers, and nothing waits that has begun; with
    /// `queue`, nothing at all waits.
    pub(crate) fn is_idle(&self, queue: bool) -> bool {
        let state = self.lock();
        let waits = |job: &Job| queue || job.is_continuation();
        state.running.iter().all(|running| *running == 0) && !state.queue.iter().any(waits)
    }

    /// Takes out of the queue what nobody waits for any more.
    pub(crate) fn sweep(&self) {
        let ended: Vec<Job> = {
            let mut state = self.lock();
            let queue = std::mem::take(&mut state.queue);
            let (ended, waiting): (VecDeque<Job>, VecDeque<Job>) =
                queue.into_iter().partition(|job| job.call.0.has_ended());
            state.queue = waiting;
            ended.into()
        };
        for job in ended {
            job.call.0.kernel.waiting.fetch_sub(1, Ordering::SeqCst);
            job.discard();
        }
    }

    fn give_back(self: &Arc<Self>, ticket: &Ticket) {
        {
            let mut state = self.lock();
            if let Some(running) = state.running.get_mut(lane(ticket.run)) {
                *running = running.saturating_sub(1);
            }
        }
        ticket.session.note_running(-1);
        ticket.kernel.running.fetch_sub(1, Ordering::SeqCst);
        ticket.kernel.pump(self);
    }
}

/// On its way to a thread.
const LAUNCHED: u8 = 0;
const RUNNING: u8 = 1;
/// Given up while it ran: its thread counts as stuck.
const ABANDONED: u8 = 2;
/// Given up before it ran.
const PASSED_OVER: u8 = 3;
const DONE: u8 = 4;

/// One run of one handler beyond the reader: holds its permit until it returns or is given up.
pub(crate) struct Ticket {
    gate: Arc<Gate>,
    run: Run,
    state: AtomicU8,
    /// Which handler of the route it runs, and of which plugin.
    pub(super) step: usize,
    pub(super) slot: Arc<PluginSlot>,
    /// Which worker pool was in use when it was launched.
    pool: usize,
    session: Arc<Session>,
    kernel: Arc<Kernel>,
}

impl Ticket {
    pub(crate) fn new(job: &Job) -> Arc<Self> {
        Arc::new(Self {
            gate: Arc::clone(&job.slot.gate),
            run: job.run,
            state: AtomicU8::new(LAUNCHED),
            step: job.step,
            slot: Arc::clone(&job.slot),
            pool: job.call.0.kernel.pool.replacements(),
            session: Arc::clone(&job.call.0.session),
            kernel: Arc::clone(&job.call.0.kernel),
        })
    }

    fn is_on_pool(&self) -> bool {
        matches!(self.run, Run::Inline | Run::Pool)
    }

    /// The handler begins; false when the run was given up before, and must not begin.
    pub(crate) fn begin(&self) -> bool {
        self.state.compare_exchange(LAUNCHED, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The handler has returned, or is not called at all.
    pub(crate) fn done(&self) {
        match self.state.swap(DONE, Ordering::AcqRel) {
            LAUNCHED | RUNNING => self.gate.give_back(self),
            ABANDONED => {
                self.gate.stuck.fetch_sub(1, Ordering::AcqRel);
                if self.is_on_pool() {
                    self.kernel.pool.note_freed(self.pool);
                }
            }
            _ => {}
        }
    }

    /// Whether the run still has its permit.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state.load(Ordering::Acquire), LAUNCHED | RUNNING)
    }

    /// Gives the run up: its permit goes back, its thread counts as stuck until it returns.
    pub(crate) fn abandon(&self) {
        let was_launched =
            self.state.compare_exchange(LAUNCHED, PASSED_OVER, Ordering::AcqRel, Ordering::Acquire);
        if was_launched.is_ok() {
            // It waits for a thread; nothing of this plugin hangs.
            self.gate.give_back(self);
            return;
        }
        // Counted first: the run may return at this very moment and count itself out.
        self.gate.stuck.fetch_add(1, Ordering::AcqRel);
        let was_running =
            self.state.compare_exchange(RUNNING, ABANDONED, Ordering::AcqRel, Ordering::Acquire);
        if was_running.is_err() {
            self.gate.stuck.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        self.kernel.counters.stuck_runs.add();
        if self.is_on_pool() {
            self.kernel.pool.note_stuck(self.pool);
            if self.state.load(Ordering::Acquire) == DONE {
                // It came back between the two counts and found nothing to take off.
                self.kernel.pool.note_freed(self.pool);
            }
        }
        self.gate.give_back(self);
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("run", &self.run).finish_non_exhaustive()
    }
}

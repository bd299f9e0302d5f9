//! A plugin's gate: how many of its handlers run at a time, and the queue of what waits for them.

use std::sync::Arc;

use super::Run;
use super::backlog::Backlog;
use super::permit::Permit;
use super::place::{Place, Shortage};
use crate::protocol::ErrorCode;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::{Error, Result};

/// Work that needs a permit.
pub(crate) trait Job: Send {
    /// Where it runs.
    fn run(&self) -> Run;
    /// The number of its session: sessions wait in turns.
    fn session(&self) -> u64;
    /// Where its session runs.
    fn place(&self) -> &Arc<Place>;
    /// How many requests led to its request. One that another waits for needs no place of its own.
    fn depth(&self) -> usize;
    /// Whether it goes on with what an inline handler of this very instance began.
    fn is_continuation(&self) -> bool;
    /// Whether its request was answered meanwhile.
    fn has_ended(&self) -> bool;
    /// Sends it to where it runs.
    fn launch(self: Box<Self>, permit: Permit);
    /// Sends it to the instance that stands in the plugin's place, or refuses it.
    fn forward(self: Box<Self>);
    /// Drops it before it was started.
    fn discard(self: Box<Self>);
}

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
    shortage: Arc<Shortage>,
    /// Guards counts and queue; no job runs under it.
    state: Mutex<GateState>,
    /// Runs that hang in this plugin, beyond its permits.
    stuck: AtomicUsize,
}

/// Pool, blocking, future.
const LANES: usize = 3;

/// Requests lead to requests at most this deep, so a lane has this many levels, and one for
/// requests of clients.
pub(crate) const MAX_DEPTH: usize = 4;

/// A permit's seat: the lane and the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    run: Run,
    depth: usize,
}

#[derive(Debug)]
struct GateState {
    lanes: [Lane; LANES],
    /// The lane that was asked last.
    turn: usize,
    mode: Mode,
    /// A thread starts jobs; others that free a permit leave that to it.
    is_pumping: bool,
    /// Another thread has left it to that one since its last look.
    is_called: bool,
}

/// What runs in one kind of place, and what waits for it.
#[derive(Debug, Default)]
struct Lane {
    permits: usize,
    /// By depth. A request waits only for permits of requests as deep as itself, and those wait only
    /// for deeper ones: no circle of plugins that ask each other can wait for itself.
    running: [usize; MAX_DEPTH + 1],
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
    /// It goes to the instance that stands in the plugin's place.
    Closed,
}

/// What a job that is taken out of the queue does.
enum Next {
    /// Its request has ended.
    Drop,
    /// It runs: seat and places are taken.
    Launch,
}

impl Lane {
    fn try_sit(&mut self, depth: usize) -> bool {
        let permits = self.permits;
        let Some(running) = self.running.get_mut(depth).filter(|it| **it < permits) else {
            return false;
        };
        *running += 1;
        true
    }

    fn stand_up(&mut self, depth: usize) {
        if let Some(running) = self.running.get_mut(depth) {
            *running = running.saturating_sub(1);
        }
    }

    fn running(&self) -> usize {
        self.running.iter().sum()
    }

    /// Whether a job may run now; then its seat and its places are taken.
    fn admit(&mut self, job: &dyn Job, mode: Mode) -> Admitted {
        let is_let = mode == Mode::Open || job.is_continuation();
        if !is_let || !self.try_sit(job.depth()) {
            return Admitted::NoPermit;
        }
        if job.depth() > 0 {
            job.place().enter();
            return Admitted::Yes;
        }
        if job.place().try_enter() {
            return Admitted::Yes;
        }
        self.stand_up(job.depth());
        Admitted::NoPlace
    }
}

/// Whether a job may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admitted {
    Yes,
    NoPermit,
    /// Only its session, tenant or host has no room.
    NoPlace,
}

impl GateState {
    fn new(permits: Permits) -> Self {
        let lane = |permits| Lane { permits, ..Lane::default() };
        let lanes = [permits.pool, permits.blocking, permits.future].map(lane);
        Self { lanes, turn: 0, mode: Mode::Open, is_pumping: false, is_called: false }
    }

    fn lane(&mut self, run: Run) -> &mut Lane {
        let [pool, blocking, future] = &mut self.lanes;
        match run {
            Run::Inline | Run::Pool => pool,
            Run::Blocking => blocking,
            Run::Future => future,
        }
    }

    fn queued(&self) -> usize {
        self.lanes.iter().map(|lane| lane.backlog.len()).sum()
    }

    /// Takes out a job that may run now, or whose request has ended. Notes whether one lacks only a
    /// place.
    fn dequeue(&mut self, lacks_place: &mut bool) -> Option<(Box<dyn Job>, Next)> {
        let mode = self.mode;
        (0..LANES).find_map(|_| {
            // Where places are scarce, each kind has its turn.
            self.turn = (self.turn + 1) % LANES;
            let lane = self.lanes.get_mut(self.turn)?;
            let mut backlog = std::mem::take(&mut lane.backlog);
            let taken = backlog.pop(|job| {
                if job.has_ended() {
                    return Some(Next::Drop);
                }
                let admitted = lane.admit(job, mode);
                *lacks_place |= admitted == Admitted::NoPlace;
                (admitted == Admitted::Yes).then_some(Next::Launch)
            });
            lane.backlog = backlog;
            taken
        })
    }

    /// Takes out all of this kind.
    fn take_out(&mut self, is_one: impl Fn(&dyn Job) -> bool) -> Vec<Box<dyn Job>> {
        let mut out = Vec::new();
        for lane in &mut self.lanes {
            lane.backlog.take_out(&is_one, &mut out);
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
    pub(crate) fn new(permits: Permits, max_queue: usize, shortage: &Arc<Shortage>) -> Arc<Self> {
        Arc::new(Self {
            permits,
            max_queue,
            shortage: Arc::clone(shortage),
            state: Mutex::new(GateState::new(permits)),
            stuck: AtomicUsize::new(0),
        })
    }

    pub(crate) fn permits(&self) -> Permits {
        self.permits
    }

    /// Whether more runs hang in this plugin than the cap allows (R32: twice its permits).
    pub(crate) fn is_quarantined(&self) -> bool {
        let stuck = self.stuck.load(Ordering::SeqCst);
        stuck > 0 && stuck >= 2 * self.permits.pool.min(self.permits.blocking)
    }

    pub(crate) fn status(&self) -> GateStatus {
        let state = self.state.lock();
        GateStatus {
            running: state.lanes.iter().map(Lane::running).sum(),
            queued: state.queued(),
            stuck: self.stuck.load(Ordering::SeqCst),
            is_quarantined: self.is_quarantined(),
        }
    }

    /// Runs a job now if it has a permit, else queues it.
    /// Errors: `unavailable` when the plugin is quarantined, `overloaded` when its queue is full.
    pub(crate) fn submit(self: &Arc<Self>, job: Box<dyn Job>, plugin: &str) -> Result<()> {
        if self.is_quarantined() {
            let text = format!("too many handlers of `{plugin}` hang");
            return Err(Error::new(ErrorCode::Unavailable, text));
        }
        let seat = Seat { run: job.run(), depth: job.depth() };
        let mut state = self.state.lock();
        let mode = state.mode;
        if mode == Mode::Closed && !job.is_continuation() {
            drop(state);
            job.forward();
            return Ok(());
        }
        let admitted = state.lane(seat.run).admit(&*job, mode);
        if admitted == Admitted::Yes {
            drop(state);
            let permit = Permit::new(self, seat, job.place());
            job.launch(permit);
            return Ok(());
        }
        if state.queued() >= self.max_queue {
            let text = format!("{} requests wait for `{plugin}` already", self.max_queue);
            return Err(Error::new(ErrorCode::Overloaded, text));
        }
        self.shortage.note_waiting();
        state.lane(seat.run).backlog.push(job);
        drop(state);
        if admitted == Admitted::NoPlace {
            // A run that ends from now on looks here; one that ended just before has not.
            self.pump();
        }
        Ok(())
    }

    /// Starts what waits and may run now. One thread does it at a time; what another frees meanwhile
    /// is seen by that one, so that starting and ending never call each other without end.
    pub(crate) fn pump(self: &Arc<Self>) {
        {
            let mut state = self.state.lock();
            if state.is_pumping {
                state.is_called = true;
                return;
            }
            state.is_pumping = true;
        }
        let mut is_noted = false;
        loop {
            let mut state = self.state.lock();
            let mut lacks_place = false;
            let Some((job, next)) = state.dequeue(&mut lacks_place) else {
                if std::mem::take(&mut state.is_called) {
                    // The caller may have taken the note.
                    is_noted = false;
                    continue;
                }
                if lacks_place && !is_noted {
                    drop(state);
                    // Noted before the last look, so that no run ends unseen in between.
                    self.shortage.note(self);
                    is_noted = true;
                    continue;
                }
                // Nobody can have freed anything without the lock or the mark.
                state.is_pumping = false;
                return;
            };
            drop(state);
            is_noted = false;
            self.shortage.note_gone();
            match next {
                Next::Drop => job.discard(),
                Next::Launch => {
                    let seat = Seat { run: job.run(), depth: job.depth() };
                    let permit = Permit::new(self, seat, job.place());
                    job.launch(permit);
                }
            }
        }
    }

    /// Has jobs wait that have not begun, unless they go elsewhere already.
    pub(crate) fn pause(&self) {
        let mut state = self.state.lock();
        if state.mode == Mode::Open {
            state.mode = Mode::Paused;
        }
    }

    /// Starts jobs again.
    pub(crate) fn resume(self: &Arc<Self>) {
        {
            let mut state = self.state.lock();
            if state.mode == Mode::Paused {
                state.mode = Mode::Open;
            }
        }
        self.pump();
    }

    /// From now on jobs that have not begun go to the instance that stands in the plugin's place,
    /// those that wait as well.
    pub(crate) fn close(&self) {
        let fresh = {
            let mut state = self.state.lock();
            state.mode = Mode::Closed;
            state.take_out(|job| !job.is_continuation())
        };
        for job in fresh {
            self.shortage.note_gone();
            job.forward();
        }
    }

    /// Sends the jobs that wait where the plugin's phase sends new ones.
    pub(crate) fn forward_waiting(&self) {
        let fresh = self.state.lock().take_out(|job| !job.is_continuation());
        for job in fresh {
            self.shortage.note_gone();
            job.forward();
        }
    }

    /// Whether nothing of this plugin runs beyond readers, and nothing waits that has begun; with
    /// `queue`, nothing at all waits.
    pub(crate) fn is_idle(&self, queue: bool) -> bool {
        let state = self.state.lock();
        let waits = |job: &dyn Job| queue || job.is_continuation();
        state.lanes.iter().all(|lane| lane.running() == 0 && !lane.backlog.any(waits))
    }

    /// Takes the jobs out of the queue whose requests have ended.
    pub(crate) fn sweep(&self) {
        let ended = self.state.lock().take_out(|job| job.has_ended());
        for job in ended {
            self.shortage.note_gone();
            job.discard();
        }
    }

    /// A run leaves its seat; its places are left already. What waited may begin.
    pub(super) fn leave(self: &Arc<Self>, seat: Seat) {
        self.state.lock().lane(seat.run).stand_up(seat.depth);
        self.shortage.pump(self);
    }

    pub(super) fn note_stuck(&self) {
        self.stuck.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn note_freed(&self) {
        self.stuck.fetch_sub(1, Ordering::SeqCst);
    }
}

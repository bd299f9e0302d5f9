//! One run of one handler beyond the reader: it holds a permit until it returns or is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::PluginSlot;
use super::gate::Gate;
use super::run::Job;
use crate::executor::Kernel;
use crate::plugin::Run;
use crate::session::Session;

/// On its way to a thread.
const LAUNCHED: u8 = 0;
const RUNNING: u8 = 1;
/// Given up while it ran: its thread counts as stuck.
const ABANDONED: u8 = 2;
/// Given up before it ran.
const PASSED_OVER: u8 = 3;
const DONE: u8 = 4;

/// Where it runs: not on the worker pool, there, or there and counted as stuck.
const ELSEWHERE: u8 = 0;
const ON_POOL: u8 = 1;
const STUCK_THERE: u8 = 2;

/// One run of one handler beyond the reader: holds its permit until it returns or is given up.
pub(crate) struct Ticket {
    gate: Arc<Gate>,
    run: Run,
    state: AtomicU8,
    place: AtomicU8,
    /// Which handler of the route it runs, and of which plugin.
    pub(super) step: usize,
    pub(super) slot: Arc<PluginSlot>,
    /// Which worker pool was in use when it was launched.
    pool: usize,
    session: Arc<Session>,
    kernel: Arc<Kernel>,
}

impl Ticket {
    /// `is_on_pool`: it begins on a thread of the worker pool.
    pub(crate) fn new(job: &Job, is_on_pool: bool) -> Arc<Self> {
        Arc::new(Self {
            gate: Arc::clone(&job.slot.gate),
            run: job.run,
            state: AtomicU8::new(LAUNCHED),
            place: AtomicU8::new(if is_on_pool { ON_POOL } else { ELSEWHERE }),
            step: job.step,
            slot: Arc::clone(&job.slot),
            pool: job.call.0.kernel.pool.replacements(),
            session: Arc::clone(&job.call.0.session),
            kernel: Arc::clone(&job.call.0.kernel),
        })
    }

    /// Whether it is on a thread of the worker pool.
    pub(crate) fn is_on_pool(&self) -> bool {
        self.place.load(Ordering::Acquire) != ELSEWHERE
    }

    /// It is not on the pool any more.
    pub(crate) fn leave_pool(&self) {
        if self.place.swap(ELSEWHERE, Ordering::AcqRel) == STUCK_THERE {
            self.kernel.pool.note_freed(self.pool);
        }
    }

    /// The handler begins; false when the run was given up before, and must not begin.
    pub(crate) fn begin(&self) -> bool {
        self.state.compare_exchange(LAUNCHED, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The handler has returned, or is not called at all.
    pub(crate) fn done(&self) {
        match self.state.swap(DONE, Ordering::AcqRel) {
            LAUNCHED | RUNNING => self.give_back(),
            ABANDONED => {
                self.gate.stuck.fetch_sub(1, Ordering::AcqRel);
                self.leave_pool();
            }
            _ => {}
        }
    }

    fn give_back(&self) {
        self.gate.give_back(self.run, &self.session, &self.kernel);
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
            self.give_back();
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
            // Counted first, here as well.
            self.kernel.pool.note_stuck(self.pool);
            let is_there = self.place.compare_exchange(
                ON_POOL,
                STUCK_THERE,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if is_there.is_err() {
                self.kernel.pool.note_freed(self.pool);
            }
        }
        self.give_back();
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("run", &self.run).finish_non_exhaustive()
    }
}

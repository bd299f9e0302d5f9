//! The phase of a plugin, as the dispatcher reads it before each call: one atomic.

use std::sync::atomic::{AtomicU8, Ordering};

/// Whether a plugin takes calls. The order matters: from [`Failed`](Self::Failed) on it never serves
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    Serving = 0,
    /// Its breaker is open or tries a probe.
    Troubled = 1,
    /// It says itself that it cannot serve.
    Down = 2,
    /// Its calls wait, until its state is handed over to another instance.
    Paused = 3,
    Failed = 4,
    /// Another instance stands in its place, or none.
    Retired = 5,
}

/// The phase in force.
#[derive(Debug, Default)]
pub(super) struct PhaseCell(AtomicU8);

impl PhaseCell {
    pub(super) fn get(&self) -> Phase {
        match self.0.load(Ordering::SeqCst) {
            0 => Phase::Serving,
            1 => Phase::Troubled,
            2 => Phase::Down,
            3 => Phase::Paused,
            4 => Phase::Failed,
            _ => Phase::Retired,
        }
    }

    /// Goes from one phase to another; where another is in force, that one stands.
    pub(super) fn change(&self, from: Phase, to: Phase) {
        let (from, to) = (from as u8, to as u8);
        let _kept = self.0.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Goes on to a later phase; never back.
    pub(super) fn advance(&self, to: Phase) {
        self.0.fetch_max(to as u8, Ordering::SeqCst);
    }
}

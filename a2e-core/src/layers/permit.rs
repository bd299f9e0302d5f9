//! A permit: the right of one run to be in a plugin. It travels with the work and comes back when
//! the work is really gone.
//!
//! A run that goes on after its request was given up keeps its permit, which then counts as stuck:
//! the plugin may start another run in its place, up to the cap of the gate.

use std::sync::Arc;

use super::gate::{Gate, Seat};
use super::place::Place;
use crate::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// The run holds a seat in its lane.
const HELD: u8 = 0;
/// The run was given up and counts as stuck.
const STUCK: u8 = 1;
/// The run is gone.
const RETURNED: u8 = 2;

/// The run is on no thread of the worker pool.
const NOT_ON_POOL: usize = usize::MAX;

/// The right of one run; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<PermitState>);

/// What the watchdog holds of a permit.
#[derive(Clone, Debug)]
pub(crate) struct StuckMark(Arc<PermitState>);

#[derive(Debug)]
struct PermitState {
    gate: Arc<Gate>,
    seat: Seat,
    place: Arc<Place>,
    state: AtomicU8,
    /// The generation of the worker pool whose thread runs it.
    pool: AtomicUsize,
}

impl Permit {
    /// A permit for a seat and places that are taken already.
    pub(super) fn new(gate: &Arc<Gate>, seat: Seat, place: &Arc<Place>) -> Self {
        Self(Arc::new(PermitState {
            gate: Arc::clone(gate),
            seat,
            place: Arc::clone(place),
            state: AtomicU8::new(HELD),
            pool: AtomicUsize::new(NOT_ON_POOL),
        }))
    }

    pub(crate) fn mark(&self) -> StuckMark {
        StuckMark(Arc::clone(&self.0))
    }

    /// The run begins on a thread of the worker pool of this generation.
    pub(crate) fn note_pool(&self, generation: usize) {
        self.0.pool.store(generation, Ordering::SeqCst);
    }

    /// Gives the permit back. Returns the pool's generation where the run counted as stuck there.
    pub(crate) fn give_back(self) -> Option<usize> {
        self.0.give_back()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// A thread that a stuck run holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StuckThread {
    /// One of the worker pool of this generation.
    OfPool(usize),
    /// One that is nobody's, or none: a future.
    Other,
}

impl StuckMark {
    /// Counts the run as stuck; `None` when it is gone.
    pub(crate) fn mark_stuck(&self) -> Option<StuckThread> {
        let PermitState { gate, seat, place, state, pool } = &*self.0;
        // Counted first: the run may return at this very moment and count itself out.
        gate.note_stuck();
        let marked = state.compare_exchange(HELD, STUCK, Ordering::SeqCst, Ordering::SeqCst);
        if marked.is_err() {
            gate.note_freed();
            return None;
        }
        place.leave();
        gate.leave(*seat);
        Some(match pool.load(Ordering::SeqCst) {
            NOT_ON_POOL => StuckThread::Other,
            generation => StuckThread::OfPool(generation),
        })
    }

    /// Whether the run still holds its seat.
    pub(crate) fn is_held(&self) -> bool {
        self.0.state.load(Ordering::SeqCst) == HELD
    }
}

impl PermitState {
    fn give_back(&self) -> Option<usize> {
        match self.state.swap(RETURNED, Ordering::SeqCst) {
            HELD => {
                self.place.leave();
                self.gate.leave(self.seat);
                None
            }
            STUCK => {
                self.gate.note_freed();
                let generation = self.pool.load(Ordering::SeqCst);
                (generation != NOT_ON_POOL).then_some(generation)
            }
            _ => None,
        }
    }
}

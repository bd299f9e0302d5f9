//! Places: how many handlers run at a time in a session, a tenant, the host. Limits nest, and a run
//! takes a place in each.

use std::sync::Arc;

use super::gate::Gate;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Handlers that run in one session, tenant or host, and how many may.
#[derive(Debug)]
pub(crate) struct Place {
    running: AtomicUsize,
    limit: usize,
    /// The place that this one lies in.
    outer: Option<Arc<Place>>,
    /// Shared by all places that lie in the same outermost one; held to look at a place and take it.
    /// A look that fails is never seen by another: that one would wait, and no run would end for it.
    entry: Arc<Mutex<()>>,
}

impl Place {
    /// A place for `limit` runs inside another.
    pub(crate) fn new(limit: usize, outer: Option<Arc<Place>>) -> Arc<Self> {
        let entry = outer.as_ref().map_or_else(Arc::default, |outer| Arc::clone(&outer.entry));
        Arc::new(Self { running: AtomicUsize::new(0), limit, outer, entry })
    }

    /// Handlers that run here now.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// Takes a place here and in every outer one, or none.
    pub(super) fn try_enter(&self) -> bool {
        let _entry = self.entry.lock();
        let has_room = self.has_room();
        if has_room {
            self.enter();
        }
        has_room
    }

    fn has_room(&self) -> bool {
        self.running() < self.limit && self.outer.as_ref().is_none_or(|outer| outer.has_room())
    }

    /// Takes a place beyond the limit: for a run that another one waits for.
    pub(super) fn enter(&self) {
        self.running.fetch_add(1, Ordering::SeqCst);
        if let Some(outer) = &self.outer {
            outer.enter();
        }
    }

    /// Gives the places back.
    pub(super) fn leave(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
        if let Some(outer) = &self.outer {
            outer.leave();
        }
    }
}

/// The gates where a job has a permit and waits for a place alone. A run that ends anywhere in the
/// host looks here.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    /// Each gate once; guarded while one is added or all are taken.
    gates: Mutex<Vec<Arc<Gate>>>,
    has_gates: AtomicBool,
    /// Jobs that wait, in all gates.
    waiting: AtomicUsize,
}

impl Shortage {
    pub(super) fn note(&self, gate: &Arc<Gate>) {
        let mut gates = self.gates.lock();
        if !gates.iter().any(|known| Arc::ptr_eq(known, gate)) {
            gates.push(Arc::clone(gate));
        }
        drop(gates);
        self.has_gates.store(true, Ordering::SeqCst);
    }

    pub(super) fn note_waiting(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn note_gone(&self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// Jobs that wait for a permit or a place.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// A run has ended: jobs that wait may begin, those of its own gate first.
    pub(super) fn pump(&self, first: &Arc<Gate>) {
        if self.waiting() == 0 {
            return;
        }
        first.pump();
        if self.has_gates.swap(false, Ordering::SeqCst) {
            let gates = std::mem::take(&mut *self.gates.lock());
            for gate in gates {
                gate.pump();
            }
        }
    }
}

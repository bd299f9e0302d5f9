//! The processes of one session: those that run, and the last of those that have ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::child::Process;
use super::protocol::ProcessInfo;

/// Ended processes that are remembered; the oldest is forgotten first.
pub(super) const KEPT: usize = 256;

/// The table of one session. At most `max_procs` that run and [`KEPT`] records, so a search by id
/// is a walk along the list.
#[derive(Debug)]
pub(super) struct Procs {
    /// One permit per process that may still start.
    slots: Arc<Semaphore>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// In the order of their start.
    list: Vec<Arc<Process>>,
    /// The session is over: nothing is added any more.
    is_closed: bool,
}

impl Procs {
    pub(super) fn new(max: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(max)), table: Mutex::default() }
    }

    /// Guards the table; held for a walk, never across a wait.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more that runs; `None` when all are taken. It is given back by dropping it.
    pub(super) fn reserve(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    /// Adds a process; false when the session is over.
    pub(super) fn add(&self, process: Arc<Process>) -> bool {
        let mut table = self.table();
        if table.is_closed {
            return false;
        }
        table.list.push(process);
        table.forget_old();
        true
    }

    pub(super) fn remove(&self, id: &str) {
        self.table().list.retain(|process| process.id != id);
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Process>> {
        self.table().list.iter().find(|process| process.id == id).cloned()
    }

    pub(super) fn infos(&self) -> Vec<ProcessInfo> {
        let mut table = self.table();
        table.forget_old();
        table.list.iter().map(|process| process.info()).collect()
    }

    /// The session is over: gives back all that it has, and takes no more.
    pub(super) fn close(&self) -> Vec<Arc<Process>> {
        let mut table = self.table();
        table.is_closed = true;
        std::mem::take(&mut table.list)
    }
}

impl Table {
    fn forget_old(&mut self) {
        let ended = self.list.iter().filter(|process| process.is_told()).count();
        let mut surplus = ended.saturating_sub(KEPT);
        self.list.retain(|process| {
            let is_kept = surplus == 0 || !process.is_told();
            surplus -= usize::from(!is_kept);
            is_kept
        });
    }
}

//! Where handlers run beyond the reader.

use std::sync::Arc;

use super::futures::FutureThreads;
use super::pool::WorkerPool;
use super::walk::Walk;
use super::watchdog;
use crate::counters::Count;
use crate::layers::{Permit, StuckMark, StuckThread, catch};
use crate::request::Services;
use crate::sync::Mutex;
use crate::{Error, Result};

/// The threads of a host.
#[derive(Debug)]
pub(crate) struct Runners {
    pub(crate) services: Arc<Services>,
    pub(crate) pool: WorkerPool,
    pub(crate) futures: FutureThreads,
}

impl Runners {
    pub(crate) fn new(services: &Arc<Services>) -> Arc<Self> {
        let pool = WorkerPool::new(services.config.limits.max_workers);
        Arc::new(Self { services: Arc::clone(services), pool, futures: FutureThreads::default() })
    }

    /// Starts the watchdog. It ends when the runners are gone or its list is stopped.
    /// Errors: When its thread cannot be started.
    pub(crate) fn start_watchdog(self: &Arc<Self>) -> Result<()> {
        watchdog::start(self)
    }

    /// Runs `work` on a thread that may block; gives it back when there is none.
    pub(super) fn spawn_blocking<W: Send + 'static>(
        &self,
        work: W,
        run: impl FnOnce(W) + Send + 'static,
    ) -> Result<(), (W, Error)> {
        let parcel = Parcel::new(work);
        let theirs = parcel.clone();
        // Without a thread to be had, tokio panics.
        let spawned = catch(|| {
            self.services.runtime.spawn_blocking(move || {
                theirs.take().map(run);
            })
        });
        match spawned {
            Ok(_) => Ok(()),
            Err(panic) => parcel
                .take()
                .map_or(Ok(()), |work| Err((work, Error::internal(format!("no thread: {panic}"))))),
        }
    }

    /// Gives a permit back; the worker pool learns that a thread of its own is free again.
    pub(super) fn give_back(&self, permit: Permit) {
        if let Some(generation) = permit.give_back() {
            self.pool.note_freed(generation);
        }
    }

    /// Counts a run as stuck that goes on although it was given up.
    pub(super) fn mark_stuck(self: &Arc<Self>, mark: &StuckMark) {
        let Some(thread) = mark.mark_stuck() else { return };
        self.services.counters.add(Count::StuckRun);
        if let StuckThread::OfPool(generation) = thread {
            let this = Arc::clone(self);
            // A new pool may have to be started; the watchdog does not wait for that.
            self.services.runtime.spawn(async move { this.pool.note_stuck(generation) });
        }
    }

    /// Whether handlers cannot run as they should any more.
    pub(crate) fn trouble(&self) -> Option<String> {
        if self.pool.is_failed() {
            return Some("the worker pool was replaced too often; its threads hang".to_owned());
        }
        self.futures.trouble()
    }
}

/// Something that waits for one of several threads; the first takes it.
pub(super) struct Parcel<T>(Arc<Mutex<Option<T>>>);

impl<T> Parcel<T> {
    pub(super) fn new(it: T) -> Self {
        Self(Arc::new(Mutex::new(Some(it))))
    }

    pub(super) fn take(&self) -> Option<T> {
        self.0.lock().take()
    }
}

impl<T> Clone for Parcel<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl Parcel<Walk> {
    pub(super) fn runners(&self) -> Option<Arc<Runners>> {
        self.0.lock().as_ref().map(|walk| Arc::clone(&walk.runners))
    }
}

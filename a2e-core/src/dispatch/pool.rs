//! The worker pool: rayon threads, replaced whole when too many of them hang.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{Error, Result};

/// After this many replacements the host calls its own health failed.
const MAX_REPLACEMENTS: usize = 3;

/// Threads for CPU-bound and short work. They are started when the first work comes.
#[derive(Debug)]
pub(crate) struct WorkerPool {
    threads: usize,
    /// Guards which pool is in use; held to clone the handle.
    current: Mutex<Option<Arc<ThreadPool>>>,
    /// Hung threads of the pool in use.
    stuck: AtomicUsize,
    replacements: AtomicUsize,
}

impl WorkerPool {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads,
            current: Mutex::new(None),
            stuck: AtomicUsize::new(0),
            replacements: AtomicUsize::new(0),
        }
    }

    /// Runs `work` on a thread of the pool.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub(crate) fn spawn(&self, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let pool = {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            match &*current {
                Some(pool) => Arc::clone(pool),
                None => Arc::clone(current.insert(Arc::new(self.build()?))),
            }
        };
        pool.spawn(work);
        Ok(())
    }

    fn build(&self) -> Result<ThreadPool> {
        ThreadPoolBuilder::new()
            .num_threads(self.threads)
            .thread_name(|number| format!("a2e-worker-{number}"))
            // Without a handler a panic that got this far would abort the process.
            .panic_handler(|panic| {
                let panic = super::contain::text_of(panic);
                tracing::error!(panic, "a worker thread panicked");
            })
            .build()
            .map_err(|error| Error::internal(format!("no worker threads: {error}")))
    }

    /// A thread of the pool hangs. When half of them do, a new pool takes over; the old one's free
    /// threads finish what they have and end.
    pub(crate) fn note_stuck(&self) {
        let stuck = self.stuck.fetch_add(1, Ordering::AcqRel) + 1;
        if stuck * 2 < self.threads.max(2) || self.is_failed() {
            return;
        }
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let replacement = self.replacements.fetch_add(1, Ordering::AcqRel) + 1;
        tracing::error!(
            stuck,
            replacement,
            "half of the worker threads hang; a new pool takes over"
        );
        self.stuck.store(0, Ordering::Release);
        let old = current.take();
        drop(current);
        // Dropping a pool waits for nothing: rayon threads end by themselves.
        drop(old);
    }

    /// A thread that hung came back.
    pub(crate) fn note_freed(&self) {
        let less = |stuck: usize| stuck.checked_sub(1);
        // Already 0 when it belonged to a pool that was replaced.
        let _already_zero = self.stuck.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// How many times the pool was replaced.
    pub(crate) fn replacements(&self) -> usize {
        self.replacements.load(Ordering::Acquire)
    }

    /// Whether it was replaced too often.
    pub(crate) fn is_failed(&self) -> bool {
        self.replacements() >= MAX_REPLACEMENTS
    }
}

//! The worker pool: rayon threads, replaced whole when too many of them hang.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{Error, Result};

/// After this many replacements the host calls its own health failed.
const MAX_REPLACEMENTS: usize = 3;

type Work = Box<dyn FnOnce() + Send>;

/// Threads for CPU-bound and short work. They are started when the first work comes.
pub(crate) struct WorkerPool {
    threads: usize,
    /// Guards which pool is in use; held to clone the handle.
    current: Mutex<Option<Arc<ThreadPool>>>,
    /// What no thread has begun, oldest first; bounded by the permits of all plugins. It belongs to no
    /// pool, so that it does not wait in one whose threads all hang.
    waiting: Arc<Mutex<VecDeque<Work>>>,
    /// Hung threads of the pool in use.
    stuck: AtomicUsize,
    replacements: AtomicUsize,
}

impl std::fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerPool")
            .field("threads", &self.threads)
            .field("replacements", &self.replacements)
            .finish_non_exhaustive()
    }
}

impl WorkerPool {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads,
            current: Mutex::new(None),
            waiting: Arc::default(),
            stuck: AtomicUsize::new(0),
            replacements: AtomicUsize::new(0),
        }
    }

    /// Runs `work` on a thread of the pool.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub(crate) fn spawn(&self, work: impl FnOnce() + Send + 'static) -> Result<()> {
        self.pool()?;
        lock(&self.waiting).push_back(Box::new(work));
        // Asked for again: a pool that was replaced meanwhile may have no free thread.
        let pool = self.pool()?;
        self.take_one(&pool);
        Ok(())
    }

    /// The pool in use. A new one also gets a turn for everything that waits.
    fn pool(&self) -> Result<Arc<ThreadPool>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = &*current {
            return Ok(Arc::clone(pool));
        }
        let pool = Arc::clone(current.insert(Arc::new(self.build()?)));
        drop(current);
        let waiting = lock(&self.waiting).len();
        for _ in 0..waiting {
            self.take_one(&pool);
        }
        Ok(pool)
    }

    /// Lets one thread of this pool take the oldest work, if there still is any by then.
    fn take_one(&self, pool: &ThreadPool) {
        let waiting = Arc::clone(&self.waiting);
        pool.spawn(move || {
            let work = lock(&waiting).pop_front();
            if let Some(work) = work {
                work();
            }
        });
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

    /// A thread hangs, of the pool that was in use after so many replacements. When half of a pool
    /// do, a new one takes over; the old one's free threads finish what they have and end.
    pub(crate) fn note_stuck(&self, generation: usize) {
        if generation != self.replacements() {
            return;
        }
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
        if !lock(&self.waiting).is_empty()
            && let Err(error) = self.pool()
        {
            tracing::error!(%error, "no new worker threads yet");
        }
    }

    /// A thread that hung came back.
    pub(crate) fn note_freed(&self, generation: usize) {
        if generation == self.replacements() {
            let less = |stuck: usize| stuck.checked_sub(1);
            // 0 when the pool is being replaced at this moment.
            let _at_least_0 = self.stuck.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        }
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

/// Guards the queue; held to add or take one.
fn lock(waiting: &Mutex<VecDeque<Work>>) -> MutexGuard<'_, VecDeque<Work>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

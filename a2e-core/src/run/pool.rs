//! The worker pool: rayon threads, replaced whole when too many of them hang.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicU64, AtomicUsize, Ordering};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::runners::Parcel;
use crate::layers::{catch, text_of};
use crate::sync::Mutex;
use crate::{Error, Result};

/// After this many replacements the host calls its own health failed.
const MAX_REPLACEMENTS: usize = 3;

/// Threads for CPU-bound and short work. They are started when the first work comes.
#[derive(Clone)]
pub(crate) struct WorkerPool(Arc<PoolState>);

struct PoolState {
    threads: usize,
    /// The pool in use; held to clone the handle or to replace it.
    current: Mutex<Option<Arc<ThreadPool>>>,
    /// Work that no thread has begun, by number: what a replaced pool will never begin goes to the
    /// next one. Bounded by the permits of all plugins.
    waiting: Mutex<HashMap<u64, StartOrder>>,
    next: AtomicU64,
    /// Threads of the pool in use that hang.
    stuck: AtomicIsize,
    replacements: AtomicUsize,
}

/// Runs one piece of work on a thread of the pool of this generation.
type StartOrder = Box<dyn FnOnce(usize) + Send>;

show!(WorkerPool, threads: |it| it.0.threads, replacements: |it| it.0.replacements);

impl WorkerPool {
    pub(crate) fn new(threads: usize) -> Self {
        Self(Arc::new(PoolState {
            threads,
            current: Mutex::new(None),
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
            stuck: AtomicIsize::new(0),
            replacements: AtomicUsize::new(0),
        }))
    }

    /// Runs `work` on a thread of the pool; gives it back when the threads cannot be started.
    pub(super) fn spawn<W: Send + 'static>(
        &self,
        work: W,
        run: impl FnOnce(W, usize) + Send + 'static,
    ) -> Result<(), (W, Error)> {
        let parcel = Parcel::new(work);
        let theirs = parcel.clone();
        let begin: StartOrder = Box::new(move |generation| {
            if let Some(work) = theirs.take() {
                run(work, generation);
            }
        });
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        // Listed first: a pool that takes over from now on is given it.
        self.0.waiting.lock().insert(number, begin);
        let error = match self.pool() {
            Ok((pool, generation)) => {
                self.call(&pool, generation, number);
                return Ok(());
            }
            Err(error) => error,
        };
        drop(self.0.waiting.lock().remove(&number));
        parcel.take().map_or(Ok(()), |work| Err((work, error)))
    }

    /// Has a thread of this pool begin the work of this number, unless another has.
    fn call(&self, pool: &Arc<ThreadPool>, generation: usize, number: u64) {
        let this = self.clone();
        pool.spawn(move || {
            let begin = this.0.waiting.lock().remove(&number);
            if let Some(Err(panic)) = begin.map(|begin| catch(|| begin(generation))) {
                // Plugin code is contained where it is called.
                tracing::error!(panic, "a worker thread panicked");
            }
        });
    }

    /// The pool in use, and its generation.
    fn pool(&self) -> Result<(Arc<ThreadPool>, usize)> {
        let mut current = self.0.current.lock();
        let pool = match &*current {
            Some(pool) => Arc::clone(pool),
            None => Arc::clone(current.insert(Arc::new(self.build()?))),
        };
        Ok((pool, self.replacements()))
    }

    fn build(&self) -> Result<ThreadPool> {
        ThreadPoolBuilder::new()
            .num_threads(self.0.threads)
            .thread_name(|number| format!("a2e-worker-{number}"))
            // Without a handler a panic that got this far would abort the process.
            .panic_handler(|panic| {
                let panic = text_of(panic);
                tracing::error!(panic, "a worker thread panicked");
            })
            .build()
            .map_err(|error| Error::internal(format!("no worker threads: {error}")))
    }

    /// A thread of the pool of this generation hangs. When half of a pool do, a new one takes over,
    /// with the work that the old one has not begun; the old one's free threads end.
    pub(super) fn note_stuck(&self, generation: usize) {
        let mut current = self.0.current.lock();
        if generation != self.replacements() {
            return;
        }
        let shared = &self.0;
        let stuck = shared.stuck.fetch_add(1, Ordering::AcqRel) + 1;
        let half = isize::try_from(shared.threads.max(2).div_ceil(2)).unwrap_or(isize::MAX);
        if stuck < half || self.is_failed() {
            return;
        }
        let next = match self.build() {
            Ok(next) => Arc::new(next),
            // Tried again when the next thread hangs.
            Err(error) => return tracing::error!(%error, "half of the worker threads hang"),
        };
        let replacement = shared.replacements.fetch_add(1, Ordering::AcqRel) + 1;
        tracing::error!(
            stuck,
            replacement,
            "half of the worker threads hang; a new pool takes over"
        );
        shared.stuck.store(0, Ordering::Release);
        // Dropping a pool waits for nothing: rayon threads end by themselves.
        *current = Some(Arc::clone(&next));
        drop(current);
        let numbers: Vec<u64> = self.0.waiting.lock().keys().copied().collect();
        for number in numbers {
            self.call(&next, replacement, number);
        }
    }

    /// A thread that hung came back.
    pub(super) fn note_freed(&self, generation: usize) {
        let _current = self.0.current.lock();
        if generation == self.replacements() {
            self.0.stuck.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// How many times the pool was replaced.
    pub(crate) fn replacements(&self) -> usize {
        self.0.replacements.load(Ordering::Acquire)
    }

    /// Whether it was replaced too often.
    pub(crate) fn is_failed(&self) -> bool {
        self.replacements() >= MAX_REPLACEMENTS
    }
}

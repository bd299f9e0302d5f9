//! The worker pool: rayon threads, replaced whole when too many of them hang.

mod queue;

use std::cell::{Cell, RefCell};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::contain::catch;
use crate::session::ReplySink;
use crate::{Error, Result};
use queue::{Call, Queue, Turn};

/// After this many replacements the host calls its own health failed.
const MAX_REPLACEMENTS: usize = 3;

/// How long a thread waits for more work before it goes back to rayon. There it could help with what a
/// handler splits up; but rayon's own wait gives its turn away 32 times before it sleeps, which on
/// a busy processor costs more than most work.
const WAIT: Duration = Duration::from_millis(5);

thread_local! {
    /// Whether a reader on this thread is about to bring more work.
    static IS_MORE_COMING: Cell<bool> = const { Cell::new(false) };
    /// Where answers of work on this thread wait to be sent.
    static UNSENT: RefCell<Vec<Arc<ReplySink>>> = const { RefCell::new(Vec::new()) };
}

/// Has the answers of a session sent when this thread of the pool is through with the short work
/// that waits: a send for each answer would cost more than the work.
pub(crate) fn send_with_batch(sink: &Arc<ReplySink>) {
    UNSENT.with_borrow_mut(|unsent| {
        if !unsent.iter().any(|it| Arc::ptr_eq(it, sink)) {
            unsent.push(Arc::clone(sink));
        }
    });
}

fn send_batch() {
    for sink in UNSENT.take() {
        sink.flush();
    }
}

/// While what is given back lives, work that comes from this thread of the pool calls no other for a
/// little of it: this one is about to look for more itself.
pub(crate) fn about_to_look() -> AboutToLook {
    AboutToLook(IS_MORE_COMING.replace(true))
}

/// Puts the way of calling back as it was.
pub(crate) struct AboutToLook(bool);

impl Drop for AboutToLook {
    fn drop(&mut self) {
        IS_MORE_COMING.set(self.0);
    }
}

/// Ends a batch of work when it is dropped.
pub(crate) struct Batch<'a>(&'a WorkerPool);

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        IS_MORE_COMING.set(false);
        let shared = &self.0.0;
        self.0.call_or_say(shared.queue.call(shared.threads));
    }
}

/// Threads for CPU-bound and short work. They are started when the first work comes.
#[derive(Clone)]
pub(crate) struct WorkerPool(Arc<Shared>);

struct Shared {
    threads: usize,
    /// Guards which pool is in use; held to clone the handle.
    current: Mutex<Option<Arc<ThreadPool>>>,
    queue: Queue,
    /// Hung threads of the pool in use.
    stuck: AtomicUsize,
    replacements: AtomicUsize,
}

impl std::fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerPool")
            .field("threads", &self.0.threads)
            .field("replacements", &self.0.replacements)
            .finish_non_exhaustive()
    }
}

impl WorkerPool {
    pub(crate) fn new(threads: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self(Arc::new(Shared {
            threads,
            current: Mutex::new(None),
            queue: Queue::new(processors),
            stuck: AtomicUsize::new(0),
            replacements: AtomicUsize::new(0),
        }))
    }

    /// Runs `work` on a thread of the pool. `is_quick`: answers that wait on that thread may wait
    /// until it is done.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub(crate) fn spawn(&self, is_quick: bool, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let shared = &self.0;
        let (number, call) =
            shared.queue.push(is_quick, Box::new(work), shared.threads, IS_MORE_COMING.get());
        self.call(call).or_else(|(error, generation)| {
            // Another thread may have taken it all the same.
            shared.queue.take_back(number, generation).map_or(Ok(()), |_| Err(error))
        })
    }

    /// Whether what comes now has a thread soon, behind quick work at most.
    pub(crate) fn is_free(&self) -> bool {
        self.0.queue.is_free(self.0.threads)
    }

    /// Brings work in a batch: until what is given back is dropped, a little of it may wait.
    pub(crate) fn batch(&self) -> Batch<'_> {
        IS_MORE_COMING.set(true);
        Batch(self)
    }

    /// Calls a thread if work waits for one, by the watchdog: in the midst of a batch an inline handler
    /// may take its time, and so may work that was quick before.
    pub(crate) fn call_waiting(&self) {
        self.call_or_say(self.0.queue.look(self.0.threads));
    }

    fn call_or_say(&self, call: Call) {
        if let Err((error, generation)) = self.call(call) {
            tracing::error!(%error, "no worker thread");
            self.0.queue.take_back(u64::MAX, generation);
        }
    }

    /// Calls a thread.
    fn call(&self, call: Call) -> std::result::Result<(), (Error, usize)> {
        match call {
            Call::Nobody => {}
            Call::Waiting(waiter) => waiter.wake(),
            Call::Another(generation) => {
                // Looked up only here: a pool that was replaced meanwhile may have no free thread.
                let pool = self.pool().map_err(|error| (error, generation))?;
                let this = self.clone();
                pool.spawn(move || this.take(generation));
            }
        }
        Ok(())
    }

    /// The life of a thread of the pool, from a call until nothing was to be done for a while.
    fn take(&self, generation: usize) {
        let Shared { queue, threads, .. } = &*self.0;
        queue.arrive(generation);
        let me = Arc::default();
        let mut was_long = false;
        loop {
            match queue.next(generation, *threads, was_long) {
                Turn::Work(work, call) => {
                    was_long = !work.is_quick;
                    // If nobody can be called, what waits has us.
                    self.call_or_say(call);
                    if !work.is_quick {
                        send_batch();
                    }
                    // Plugin code is contained where it is called. This keeps the count of threads right.
                    if let Err(panic) = catch(work.run) {
                        tracing::error!(panic, "a worker thread panicked");
                    }
                }
                Turn::Pause => {
                    was_long = false;
                    send_batch();
                    if !queue.wait(generation, WAIT, &me) {
                        return;
                    }
                }
                Turn::Leave => return send_batch(),
            }
        }
    }

    /// The pool in use.
    fn pool(&self) -> Result<Arc<ThreadPool>> {
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = &*current {
            return Ok(Arc::clone(pool));
        }
        Ok(Arc::clone(current.insert(Arc::new(self.build()?))))
    }

    fn build(&self) -> Result<ThreadPool> {
        ThreadPoolBuilder::new()
            .num_threads(self.0.threads)
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
        let shared = &self.0;
        let stuck = shared.stuck.fetch_add(1, Ordering::AcqRel) + 1;
        if stuck * 2 < shared.threads.max(2) || self.is_failed() {
            return;
        }
        let mut current = shared.current.lock().unwrap_or_else(PoisonError::into_inner);
        let replacement = shared.replacements.fetch_add(1, Ordering::AcqRel) + 1;
        tracing::error!(
            stuck,
            replacement,
            "half of the worker threads hang; a new pool takes over"
        );
        shared.stuck.store(0, Ordering::Release);
        let old = current.take();
        let call = shared.queue.replace(shared.threads);
        drop(current);
        // Dropping a pool waits for nothing: rayon threads end by themselves.
        drop(old);
        if let Err((error, generation)) = self.call(call) {
            tracing::error!(%error, "no new worker threads yet");
            shared.queue.take_back(u64::MAX, generation);
        }
    }

    /// A thread that hung came back.
    pub(crate) fn note_freed(&self, generation: usize) {
        if generation == self.replacements() {
            let less = |stuck: usize| stuck.checked_sub(1);
            // 0 when the pool is being replaced at this moment.
            let _at_least_0 = self.0.stuck.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
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

//! The thread of an audit log: it seals, flushes in mode `buffered`, syncs in mode `sync`, and tries
//! failed writes again. Without such work it sleeps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use super::AuditMode;
use super::queue::{Queue, RETRY_US};
use super::seal::Sealer;
use crate::{Clock, Result, SystemClock};

/// How old the first record of a block gets before it is sealed.
pub(super) const SEAL_AFTER: Duration = Duration::from_millis(100);

/// Mode `buffered`: how long records wait in memory. Half of what may be lost; the rest is for a
/// thread that is woken late and a disk that takes a moment.
const FLUSH_AFTER: Duration = Duration::from_millis(25);

/// After a failure, when the next try is due. Requests may try before, see [`Queue::commit`].
const RETRY_AFTER: Duration = Duration::from_micros(RETRY_US);

/// Wakes the thread. Cheap while it is awake.
#[derive(Debug, Default)]
pub(super) struct Bell {
    thread: OnceLock<Thread>,
    /// Rung and not heard yet; spares ringing again.
    is_rung: AtomicBool,
    /// Mode `buffered`: a flush is on the thread's list, so no commit need ring for one.
    is_flush_due: AtomicBool,
    /// The same for a flush that does not wait for its time.
    is_flush_urgent: AtomicBool,
    is_stopped: AtomicBool,
}

impl Bell {
    pub(super) fn ring(&self) {
        if !self.is_rung.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Rings once for each flush, and once more when it is to be at once.
    pub(super) fn ring_for_flush(&self, is_urgent: bool) {
        if !self.is_flush_due.swap(true, Ordering::AcqRel)
            || (is_urgent && !self.is_flush_urgent.swap(true, Ordering::AcqRel))
        {
            self.ring();
        }
    }
}

/// The running thread; ends with its last work done when dropped.
#[derive(Debug)]
pub(super) struct Worker {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(super) fn start(queue: &Arc<Queue>) -> Result<Self> {
        let work = Arc::clone(queue);
        let run = move || {
            work.bell.thread.get_or_init(thread::current);
            run(&work);
        };
        let thread = thread::Builder::new().name("a2e-audit".into()).spawn(run)?;
        Ok(Self { queue: Arc::clone(queue), thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.queue.bell.is_stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It does not panic; if it did, its last work is done by the log's own drop.
            let _ended = thread.join();
        }
    }
}

fn run(queue: &Queue) {
    let clock = SystemClock::new();
    if let Some(sealer) = &queue.sealer {
        // What an earlier life of the log left unsealed waits no longer.
        queue.seal(sealer);
    }
    let mut due = Due::default();
    while !queue.bell.is_stopped.load(Ordering::Acquire) {
        queue.bell.is_rung.store(false, Ordering::SeqCst);
        match due.work(queue, clock.now().mono) {
            Pause::Now => {}
            Pause::In(wait) => thread::park_timeout(wait),
            Pause::Rung => thread::park(),
        }
    }
    queue.finish();
}

/// The times of the next flush, seal and retry, on the monotonic scale.
#[derive(Debug, Default)]
struct Due {
    flush: Option<Duration>,
    seal: Option<Duration>,
    retry: Option<Duration>,
}

enum Pause {
    Now,
    In(Duration),
    Rung,
}

impl Due {
    fn work(&mut self, queue: &Queue, now: Duration) -> Pause {
        if queue.is_failing() || queue.durable.is_failing() {
            let at = *self.retry.get_or_insert(now + RETRY_AFTER);
            let wait = at.saturating_sub(now);
            if !wait.is_zero() {
                return Pause::In(wait);
            }
        }
        self.retry = None;
        if let Some(sealer) = &queue.sealer
            && !self.seal(queue, sealer, now)
        {
            return Pause::Now;
        }
        if queue.mode == AuditMode::Buffered && self.flush.is_none() {
            // A commit after this rings again; an earlier one is seen below.
            queue.bell.is_flush_urgent.store(false, Ordering::SeqCst);
            queue.bell.is_flush_due.store(false, Ordering::SeqCst);
        }
        let is_behind = queue.settled() < queue.appended();
        match queue.mode {
            AuditMode::Sync if queue.durable.reached() < queue.appended() => {
                queue.sync(true);
                return Pause::Now;
            }
            AuditMode::Buffered if is_behind => {
                queue.bell.is_flush_due.store(true, Ordering::SeqCst);
                let at = *self.flush.get_or_insert(now + FLUSH_AFTER);
                if at <= now || queue.is_filling() {
                    self.flush = None;
                    queue.commit(true);
                    return Pause::Now;
                }
            }
            // What failed, when no request comes to try again.
            AuditMode::Write if is_behind && queue.is_failing() => {
                queue.commit(true);
                return Pause::Now;
            }
            // Another thread has flushed; the bell has to be checked again.
            _ if self.flush.take().is_some() => return Pause::Now,
            _ => {}
        }
        let first = self.flush.into_iter().chain(self.seal).min();
        match first {
            Some(at) => Pause::In(at.saturating_sub(now)),
            None if queue.is_failing() || queue.durable.is_failing() => Pause::Now,
            None => Pause::Rung,
        }
    }
}

impl Due {
    /// Seals when that is due; false when there is more to look at right now.
    ///
    /// The next write seals a full block, see [`Queue::commit`]: so no writer ever waits for this thread to
    /// get its turn while it holds the file.
    fn seal(&mut self, queue: &Queue, sealer: &Sealer, now: Duration) -> bool {
        let unsealed = sealer.unsealed();
        match self.seal {
            None if unsealed == 0 => {
                sealer.sleeps();
                return sealer.unsealed() == 0;
            }
            None => self.seal = Some(now + SEAL_AFTER),
            Some(at) if at <= now => {
                // While records keep coming the timer runs on, and the first record of a block wakes no thread.
                self.seal = (unsealed > 0).then_some(now + SEAL_AFTER);
                if unsealed == 0 {
                    return false;
                }
                queue.seal(sealer);
            }
            Some(_) => drop(sealer.block()),
        }
        true
    }
}

impl Queue {
    /// Writes, seals and syncs everything; true when all of it worked.
    pub(super) fn finish(&self) -> bool {
        let is_written = self.commit(true);
        let is_sealed = self.sealer.as_ref().is_none_or(|sealer| self.seal(sealer));
        let is_synced = self.mode != AuditMode::Sync || self.sync(true);
        is_written && is_sealed && is_synced
    }
}

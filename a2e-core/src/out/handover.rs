//! A shared buffer that any thread appends to and one at a time writes.
//!
//! The one rule: a buffer is written when it is large enough, and when nobody holds it. The reader
//! of a session holds it while it works on a batch of lines, and writes at the end of the batch.
//! A thread that appends while another writes leaves its lines to that one.

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// A buffer with at most one writer.
#[derive(Debug)]
pub(crate) struct Handover<B> {
    /// Guards the buffer; held while a line is formatted into it, never while one is written.
    shared: Mutex<Shared<B>>,
    is_held: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct Shared<B> {
    pub(crate) buffer: B,
    writer: Writer,
    /// The number of the next turn.
    next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// Nobody writes.
    Free,
    /// The thread or task with this turn writes.
    Busy(u64),
    /// Nobody writes any more.
    Closed,
}

/// The right to write until [`Handover::end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn(u64);

/// What came of asking for a turn.
#[derive(Debug)]
pub(crate) enum Begun<R> {
    /// Another writes, and will find what was appended.
    Busy,
    /// There is nothing to write.
    Empty,
    /// The caller writes this.
    Mine(Turn, R),
}

impl<B> Shared<B> {
    /// Whether the next call of [`Handover::begin`] may write.
    pub(crate) fn is_free(&self) -> bool {
        self.writer == Writer::Free
    }
}

impl<B> Handover<B> {
    pub(crate) fn new(buffer: B) -> Self {
        let shared = Shared { buffer, writer: Writer::Free, next: 0 };
        Self { shared: Mutex::new(shared), is_held: AtomicBool::new(false) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared<B>> {
        self.shared.lock()
    }

    /// Takes a turn if nobody has one and `take` finds something to write.
    pub(crate) fn begin<R>(&self, take: impl FnOnce(&mut B) -> Option<R>) -> Begun<R> {
        let mut shared = self.lock();
        if shared.writer != Writer::Free {
            return Begun::Busy;
        }
        let Some(taken) = take(&mut shared.buffer) else { return Begun::Empty };
        let turn = shared.next;
        shared.next += 1;
        shared.writer = Writer::Busy(turn);
        Begun::Mine(Turn(turn), taken)
    }

    /// Ends a turn; false when it was taken away meanwhile. The caller looks once more whether
    /// something was appended.
    pub(crate) fn end(&self, turn: Turn) -> bool {
        let mut shared = self.lock();
        let is_mine = shared.writer == Writer::Busy(turn.0);
        if is_mine {
            shared.writer = Writer::Free;
        }
        is_mine
    }

    /// Whether this turn still stands.
    pub(crate) fn is_mine(&self, turn: Turn) -> bool {
        self.lock().writer == Writer::Busy(turn.0)
    }

    /// Takes the turn away from its owner and changes the buffer; false when it is closed.
    pub(crate) fn interrupt(&self, change: impl FnOnce(&mut B)) -> bool {
        let mut shared = self.lock();
        if shared.writer == Writer::Closed {
            return false;
        }
        shared.writer = Writer::Free;
        change(&mut shared.buffer);
        true
    }

    /// Lets nobody write any more.
    pub(crate) fn close(&self, change: impl FnOnce(&mut B)) {
        let mut shared = self.lock();
        shared.writer = Writer::Closed;
        change(&mut shared.buffer);
    }

    /// From now on others leave what they append to the holder.
    pub(crate) fn hold(&self) {
        self.is_held.store(true, Ordering::SeqCst);
    }

    /// Ends [`hold`](Self::hold). The caller writes next: a thread that saw the hold has appended
    /// before the caller can take the lock.
    pub(crate) fn release(&self) {
        self.is_held.store(false, Ordering::Release);
    }

    pub(crate) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::SeqCst)
    }
}

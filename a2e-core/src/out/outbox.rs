//! The outbox: the only writer of a session.
//!
//! A thread that appends may become the writer: it takes the buffer, writes without the lock, and
//! repeats until the buffer is empty. When the transport takes no more, a task goes on in its
//! place. A session that outlives its connections keeps its outbox: a sink is attached and
//! detached, and numbered lines are sent again.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::Ring;
use super::handover::{Handover, Shared};
use crate::audit::AuditLog;
use crate::sync::wait_until;
use crate::transport::ByteSink;

/// A batch of this size is written while more input is being worked on, so that both sides of a
/// pipe work at once.
const FLUSH_AT: usize = 8 * 1024;

/// What happens when the connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnLoss {
    /// The outbox is closed.
    Close,
    /// The outbox waits for another connection, with the lines that its ring keeps.
    Detach,
}

/// How much an outbox holds, and how long it waits for its reader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// At this many unsent bytes the session is no longer read from.
    pub(crate) bytes: usize,
    /// A reader that takes nothing for this long is cut; `None` on stdio, where it is only held back.
    pub(crate) stall: Option<Duration>,
    pub(crate) on_loss: OnLoss,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    pub(super) lines: Handover<Lines>,
    pub(super) audit: Arc<AuditLog>,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) bounds: Bounds,
    /// Bytes appended and not yet taken by the transport.
    pub(super) unsent: AtomicUsize,
    pub(super) is_dead: AtomicBool,
    /// Wakes tasks that wait for room, or for the end of all output.
    pub(super) changed: Notify,
    /// Wakes tasks that wait for the connection's loss alone: a reader that waits for input is not
    /// to be woken by each batch that is sent.
    pub(super) died: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) pending: Batch,
    /// `None` while nothing is attached.
    pub(super) sink: Option<Arc<dyn ByteSink>>,
    /// Of a resumable session: what was sent last, also once the connection is lost.
    pub(super) ring: Option<Box<Ring>>,
}

/// Lines that are sent together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    /// Whether audit records stand behind any of them.
    pub(super) is_audited: bool,
    /// The answers that must not go out without their records; empty unless the audit refuses.
    pub(super) answers: Vec<Range<usize>>,
    /// Whether lines of the ring are sent again, of which nobody knows the answers.
    pub(super) is_replay: bool,
}

impl Outbox {
    pub(crate) fn new(
        sink: Option<Arc<dyn ByteSink>>,
        audit: Arc<AuditLog>,
        runtime: tokio::runtime::Handle,
        bounds: Bounds,
    ) -> Arc<Self> {
        Arc::new(Self {
            lines: Handover::new(Lines { sink, ..Lines::default() }),
            audit,
            runtime,
            bounds,
            unsent: AtomicUsize::new(0),
            is_dead: AtomicBool::new(false),
            changed: Notify::new(),
            died: Notify::new(),
        })
    }

    // --- appending

    /// Appends what `write` puts into the buffer. The line leaves with the next [`flush`](Self::flush),
    /// or at once where the batch is large enough.
    pub(crate) fn append(self: &Arc<Self>, write: impl FnOnce(&mut Vec<u8>)) {
        if self.append_only(write) {
            self.write_pending();
        }
    }

    /// As [`append`](Self::append), for callers that hold a lock: true when a write is due.
    pub(crate) fn append_only(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.append_line(write, true, |_, _| {})
    }

    /// Appends a line whose audit record `write` appends, and writes nothing: true when a write is due.
    /// An answer to work that was done is withheld when its record cannot be kept and the audit refuses.
    pub(crate) fn append_audited(&self, is_answer: bool, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let may_withhold = is_answer && self.audit.refuses();
        // Over a socket, an answer that may yet be withheld is not sent again from the ring either: it is
        // a gap. A session that waits for its next connection keeps it, and ends when its record is lost.
        let is_kept = !may_withhold || self.bounds.on_loss == OnLoss::Detach;
        self.append_line(write, is_kept, |batch, line| {
            batch.is_audited = true;
            if may_withhold && !line.is_empty() {
                batch.answers.push(line);
            }
        })
    }

    fn append_line(
        &self,
        write: impl FnOnce(&mut Vec<u8>),
        is_kept: bool,
        note: impl FnOnce(&mut Batch, Range<usize>),
    ) -> bool {
        let mut shared = self.lines.lock();
        let Lines { pending, ring, .. } = &mut shared.buffer;
        let before = pending.bytes.len();
        write(&mut pending.bytes);
        if let Some(ring) = ring {
            ring.push(pending.bytes.get(before..).unwrap_or_default(), is_kept);
        }
        let after = pending.bytes.len();
        note(pending, before..after);
        self.appended(&mut shared, before)
    }

    /// Appends a line that has no number, and lets `write` begin, end or replay the ring behind it.
    /// Sends nothing by itself.
    pub(crate) fn append_unnumbered(
        &self,
        write: impl FnOnce(&mut Vec<u8>, &mut Option<Box<Ring>>),
    ) {
        let mut shared = self.lines.lock();
        let Lines { pending, ring, .. } = &mut shared.buffer;
        let before = pending.bytes.len();
        write(&mut pending.bytes, ring);
        // What is sent again may be answers whose records are not on the disk yet.
        pending.is_audited = true;
        self.appended(&mut shared, before);
    }

    /// Counts what was appended, or takes it back when nobody will send it; true when a write is due.
    fn appended(&self, shared: &mut Shared<Lines>, before: usize) -> bool {
        let is_free = shared.is_free();
        let Lines { pending, sink, ring } = &mut shared.buffer;
        let after = pending.bytes.len();
        let is_dead = self.is_dead.load(Ordering::Relaxed);
        if sink.is_none() || is_dead {
            pending.bytes.truncate(before);
            pending.answers.retain(|answer| answer.end <= before);
            if ring.is_some() && !is_dead {
                // It waits in the ring for the next connection; senders wait before it overflows.
                self.unsent.fetch_add(after - before, Ordering::Relaxed);
            }
            self.changed.notify_waiters();
            return false;
        }
        self.unsent.fetch_add(after - before, Ordering::Relaxed);
        after >= FLUSH_AT && is_free
    }

    // --- numbered lines

    /// Begins to number lines.
    pub(crate) fn begin_ring(&self, ring: Box<Ring>) {
        self.lines.lock().buffer.ring = Some(ring);
    }

    /// Ends the numbering of lines: what is appended from now on is lost with the connection.
    pub(crate) fn take_ring(&self) -> Option<Box<Ring>> {
        self.lines.lock().buffer.ring.take()
    }

    /// Keeps the ring within its share of the host's room.
    pub(crate) fn trim_ring(&self) {
        if let Some(ring) = &mut self.lines.lock().buffer.ring {
            ring.trim();
        }
    }

    /// How many lines have been numbered; `None` where the session is not resumable.
    pub(crate) fn numbered(&self) -> Option<u64> {
        self.lines.lock().buffer.ring.as_ref().map(|ring| ring.sent())
    }

    // --- how it stands

    /// Whether the connection was lost or given up for good.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    /// Bytes that wait to be sent.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.load(Ordering::Relaxed)
    }

    /// Whether the reader of this session is too slow to be sent more.
    pub(crate) fn is_full(&self) -> bool {
        self.unsent() >= self.bounds.bytes
    }

    /// Whether pushes have to wait. They get half of the room: however much a plugin has to say,
    /// the session is read on and its requests are answered.
    pub(crate) fn is_full_for_pushes(&self) -> bool {
        self.unsent() >= self.bounds.bytes / 2
    }

    /// Whether the peer can no longer read.
    pub(crate) async fn peer_is_gone(&self) -> bool {
        let sink = self.lines.lock().buffer.sink.clone();
        match sink {
            _ if self.is_dead() => true,
            Some(sink) => sink.peer_is_gone().await,
            None => self.bounds.on_loss == OnLoss::Close,
        }
    }

    /// Waits until there is room for more; false when the connection is lost.
    pub(crate) async fn room(&self) -> bool {
        self.wait(|| !self.is_full()).await
    }

    /// Waits until there is room for pushes; false when the connection is lost.
    pub(crate) async fn room_for_pushes(&self) -> bool {
        self.wait(|| !self.is_full_for_pushes()).await
    }

    /// Waits until everything was taken by the transport; false when the connection is lost.
    pub(crate) async fn sent(self: &Arc<Self>) -> bool {
        self.write_pending();
        self.wait(|| self.unsent() == 0).await
    }

    /// Waits until the connection is lost for good.
    pub(crate) async fn death(&self) {
        wait_until(&self.died, || self.is_dead()).await;
    }

    /// Waits until this holds; false when the connection is lost.
    pub(super) async fn wait(&self, done: impl Fn() -> bool) -> bool {
        wait_until(&self.changed, || self.is_dead() || done()).await;
        !self.is_dead()
    }
}

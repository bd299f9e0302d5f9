//! The outbox: the only writer of a session.
//!
//! A thread that appends may become the writer: it takes the buffer, writes without the lock, and
//! repeats until the buffer is empty. When the transport takes no more, a task goes on in its
//! place. A session that outlives its connections keeps its outbox: a sink is attached and
//! detached, and numbered lines are sent again.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::Ring;
use super::handover::{Begin, Handover, Shared, Turn};
use super::withheld;
use crate::audit::{AuditLog, Commit};
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
    lines: Handover<Lines>,
    audit: Arc<AuditLog>,
    runtime: tokio::runtime::Handle,
    bounds: Bounds,
    /// Bytes appended and not yet taken by the transport.
    unsent: AtomicUsize,
    is_dead: AtomicBool,
    /// Wakes tasks that wait for room, or for the end of all output.
    changed: Notify,
    /// Wakes tasks that wait for the connection's loss alone: a reader that waits for input is not
    /// to be woken by each batch that is sent.
    died: Notify,
}

#[derive(Debug, Default)]
struct Lines {
    pending: Batch,
    /// `None` while nothing is attached.
    sink: Option<Arc<dyn ByteSink>>,
    /// Of a resumable session: what was sent last, also once the connection is lost.
    ring: Option<Box<Ring>>,
}

/// Lines that are sent together.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Whether audit records stand behind any of them.
    is_audited: bool,
    /// The answers that must not go out without their records; empty unless the audit refuses.
    answers: Vec<Range<usize>>,
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
    pub(crate) fn append_audited(
        &self,
        is_answer: bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        // An answer that may yet be withheld is not sent again from the ring either: it is a gap.
        let may_withhold = is_answer && self.audit.refuses();
        self.append_line(write, !may_withhold, |batch, line| {
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
        let Lines { pending, sink, .. } = &mut shared.buffer;
        if sink.is_none() || self.is_dead.load(Ordering::Relaxed) {
            pending.bytes.truncate(before);
            pending.answers.retain(|answer| answer.end <= before);
            self.changed.notify_waiters();
            return false;
        }
        let after = pending.bytes.len();
        self.unsent.fetch_add(after - before, Ordering::Relaxed);
        after >= FLUSH_AT && is_free
    }

    // --- writing

    /// While the reader works on a batch of lines, others leave their lines to it.
    pub(crate) fn hold(&self) {
        self.lines.hold();
    }

    /// Whether the reader works on a batch of lines.
    pub(crate) fn is_held(&self) -> bool {
        self.lines.is_held()
    }

    /// Ends [`hold`](Self::hold) and writes what was appended meanwhile.
    pub(crate) fn release(self: &Arc<Self>) {
        self.lines.release();
        self.write_pending();
    }

    /// Writes what was appended, unless the reader is about to do so with its batch.
    pub(crate) fn flush(self: &Arc<Self>) {
        if !self.lines.is_held() {
            self.write_pending();
        }
    }

    /// Has what was appended written by a task, for callers that must not wait for a transport.
    pub(crate) fn flush_soon(self: &Arc<Self>) {
        let this = Arc::clone(self);
        self.runtime.spawn(async move { this.write_pending() });
    }

    /// Whether lines wait that nobody writes.
    pub(crate) fn has_pending(&self) -> bool {
        let shared = self.lines.lock();
        shared.is_free() && !shared.buffer.pending.bytes.is_empty()
    }

    /// Writes everything that the transport takes now; a task writes the rest.
    pub(crate) fn write_pending(self: &Arc<Self>) {
        loop {
            let taken = self.lines.begin(|lines| {
                let sink = lines.sink.clone().filter(|_| !lines.pending.bytes.is_empty())?;
                Some((std::mem::take(&mut lines.pending), sink))
            });
            let (turn, mut batch, sink) = match taken {
                Begin::Busy => return,
                Begin::Empty => {
                    // Records of what is never answered wait for no reply.
                    self.audit.begin_commit();
                    return;
                }
                Begin::Mine(turn, (batch, sink)) => (turn, batch, sink),
            };
            // What a reply acknowledges is in the audit before the reply is out.
            match self.audit.begin_commit() {
                Commit::Done(is_kept) => self.withhold(&mut batch, is_kept),
                // Pongs and events wait for no disk, unless they stand behind what does.
                Commit::Later(_) if !batch.is_audited => {}
                Commit::Later(seq) => {
                    let this = Arc::clone(self);
                    self.runtime
                        .spawn(async move { this.write_when_durable(turn, batch, sink, seq).await });
                    return;
                }
            }
            let bytes = batch.bytes;
            match self.write(&*sink, &bytes, 0) {
                Ok(sent) if sent == bytes.len() => {
                    if !self.written(turn) {
                        return;
                    }
                }
                Ok(sent) => {
                    let this = Arc::clone(self);
                    self.runtime.spawn(async move { this.write_rest(turn, bytes, sink, sent).await });
                    return;
                }
                Err(error) => return self.lost(turn, &error),
            }
        }
    }

    /// Sends a batch once its records are on the disk. No thread waits: what is answered meanwhile
    /// becomes the next batch.
    async fn write_when_durable(
        self: Arc<Self>,
        turn: Turn,
        mut batch: Batch,
        sink: Arc<dyn ByteSink>,
        seq: u64,
    ) {
        let is_kept = tokio::select! {
            is_kept = self.audit.until_durable(seq) => is_kept,
            () = self.death() => return,
        };
        self.withhold(&mut batch, is_kept);
        self.write_rest(turn, batch.bytes, sink, 0).await;
    }

    /// Puts errors in the place of answers whose records were not kept. Exactly one for each.
    fn withhold(&self, batch: &mut Batch, is_kept: bool) {
        if is_kept || batch.answers.is_empty() {
            return;
        }
        let before = batch.bytes.len();
        batch.bytes = withheld::replace(&batch.bytes, &batch.answers);
        let after = batch.bytes.len();
        self.unsent.fetch_add(after.saturating_sub(before), Ordering::Relaxed);
        self.note_sent(before.saturating_sub(after));
    }

    /// Writes until nothing more is taken; returns how far it came.
    fn write(&self, sink: &dyn ByteSink, bytes: &[u8], mut sent: usize) -> io::Result<usize> {
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            match sink.try_write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    sent += taken;
                    self.note_sent(taken);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    fn note_sent(&self, taken: usize) {
        // The count is 0 already when the connection was given up meanwhile.
        let less = |unsent: usize| Some(unsent.saturating_sub(taken));
        let _always = self.unsent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Ends a turn; false when another connection has taken its place.
    fn written(&self, turn: Turn) -> bool {
        let is_mine = self.lines.end(turn);
        self.changed.notify_waiters();
        is_mine
    }

    /// Goes on where [`write_pending`](Self::write_pending) had to stop.
    async fn write_rest(
        self: Arc<Self>,
        turn: Turn,
        bytes: Vec<u8>,
        sink: Arc<dyn ByteSink>,
        mut sent: usize,
    ) {
        if sent == 0 {
            match self.write(&*sink, &bytes, 0) {
                Ok(now) => sent = now,
                Err(error) => return self.lost(turn, &error),
            }
        }
        while sent < bytes.len() {
            let waited = tokio::select! {
                waited = self.until_ready(&*sink) => waited,
                // Given up, or another connection came: what is held here keeps the descriptor open.
                () = self.lost_turn(turn) => return,
            };
            match waited.and_then(|()| self.write(&*sink, &bytes, sent)) {
                Ok(now) => {
                    if now > sent {
                        self.changed.notify_waiters();
                    }
                    sent = now;
                }
                Err(error) => return self.lost(turn, &error),
            }
        }
        if self.written(turn) {
            self.write_pending();
        }
    }

    async fn until_ready(&self, sink: &dyn ByteSink) -> io::Result<()> {
        let Some(limit) = self.bounds.stall else { return sink.ready().await };
        tokio::time::timeout(limit, sink.ready()).await.unwrap_or_else(|_| {
            let text = "the reader took nothing for too long";
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
    }

    /// Resolves when this turn is no longer the writer's.
    async fn lost_turn(&self, turn: Turn) {
        loop {
            let died = self.died.notified();
            tokio::pin!(died);
            died.as_mut().enable();
            if !self.lines.is_mine(turn) {
                return;
            }
            died.await;
        }
    }

    // --- connections come and go

    /// Gives the outbox another sink, which is sent every kept numbered line after the first
    /// `received`. Returns how many lines are lost; `None` when fewer were ever sent, or the outbox
    /// is closed. The sink before is closed.
    pub(crate) fn attach(self: &Arc<Self>, sink: Arc<dyn ByteSink>, received: u64) -> Option<u64> {
        let mut gap = None;
        self.lines.interrupt(|lines| {
            let Some(ring) = &mut lines.ring else { return };
            gap = ring.gap(received);
            if gap.is_none() {
                return;
            }
            lines.pending = Batch { is_audited: true, ..Batch::default() };
            ring.replay(received, &mut lines.pending.bytes);
            self.unsent.store(lines.pending.bytes.len(), Ordering::Relaxed);
            if let Some(before) = lines.sink.replace(sink) {
                before.close();
            }
        });
        self.died.notify_waiters();
        self.write_pending();
        gap
    }

    /// Takes the sink away. Lines are numbered and kept on; nothing is sent until another comes.
    pub(crate) fn detach(&self) {
        let mut gone = None;
        self.lines.interrupt(|lines| {
            gone = lines.sink.take();
            lines.pending = Batch::default();
            self.unsent.store(0, Ordering::Relaxed);
        });
        if let Some(sink) = gone {
            sink.close();
        }
        self.died.notify_waiters();
        self.changed.notify_waiters();
    }

    /// Whether a connection has it.
    pub(crate) fn is_attached(&self) -> bool {
        self.lines.lock().buffer.sink.is_some()
    }

    /// The kept lines after the first `received`, and how many between are lost.
    pub(crate) fn read_after(&self, received: u64) -> Option<(u64, Vec<u8>)> {
        let shared = self.lines.lock();
        let ring = shared.buffer.ring.as_ref()?;
        let gap = ring.gap(received)?;
        let mut bytes = Vec::new();
        ring.copy_after(received, &mut bytes);
        Some((gap, bytes))
    }

    /// Waits until more than the first `received` lines were sent; false when the outbox is closed.
    pub(crate) async fn sent_beyond(&self, received: u64) -> bool {
        self.wait(|| self.numbered().is_some_and(|sent| sent > received)).await
    }

    fn lost(&self, turn: Turn, error: &io::Error) {
        tracing::debug!(%error, "connection lost while writing");
        if !self.lines.is_mine(turn) {
            return;
        }
        match self.bounds.on_loss {
            OnLoss::Close => self.kill(),
            OnLoss::Detach => self.detach(),
        }
    }

    /// Gives the connection up: nothing more is sent, every waiting task is woken.
    pub(crate) fn kill(&self) {
        let mut sink = None;
        self.lines.close(|lines| {
            self.is_dead.store(true, Ordering::Relaxed);
            lines.pending = Batch::default();
            sink = lines.sink.take();
        });
        self.unsent.store(0, Ordering::Relaxed);
        if let Some(sink) = sink {
            sink.close();
        }
        self.died.notify_waiters();
        self.changed.notify_waiters();
    }

    /// Ends the output stream after what was sent.
    pub(crate) fn close(&self) {
        let sink = self.lines.lock().buffer.sink.clone();
        if let Some(sink) = sink {
            sink.close();
        }
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
        self.wait_on(&self.died, || false).await;
    }

    async fn wait(&self, done: impl Fn() -> bool) -> bool {
        self.wait_on(&self.changed, done).await
    }

    async fn wait_on(&self, told: &Notify, done: impl Fn() -> bool) -> bool {
        loop {
            let changed = told.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_dead() {
                return false;
            }
            if done() {
                return true;
            }
            changed.await;
        }
    }
}

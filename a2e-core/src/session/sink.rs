//! The reply sink: the only writer of a session.
//!
//! Whoever appends while no one is writing may become the writer: it swaps the buffer out, writes
//! without the lock, and repeats until the buffer is empty. When the transport takes no more, a task
//! goes on in its place. Early flushing (at [`FLUSH_AT`]) lets both sides of a pipe work at once.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::resume::Ring;
use super::withheld;
use crate::audit::{AuditLog, Commit};
use crate::transport::ByteSink;

/// When a batch is sent while more input is being worked on: both sides then work at once.
#[derive(Clone, Copy, Debug)]
struct FlushAt {
    bytes: usize,
    lines: usize,
}

/// On a pipe 1 to 4 KiB are best: sent after each read of 64 requests of 200 bytes, the same program
/// answered half as many. Of answers of 4 KiB, a send for every fourth or eighth gave 1.1 to 1.7 times as
/// many as one for each.
const FLUSH_AT: FlushAt = FlushAt { bytes: 2 * 1024, lines: 6 };

/// With an audit that is written first, each send costs a write to the file as well, which takes as long as
/// a request or two. At 2, 4, 8, 16, 32 KiB the program answered 231, 267, 304, 245, 230 thousand requests
/// of 200 bytes a second. Of 4 and 16 KiB, a send for every twelfth gave 1.2 to 1.4 times as many as one for
/// each; of 64 KiB over a Unix socket, one for every second gave twice as many.
const FLUSH_AUDITED_AT: FlushAt = FlushAt { bytes: 8 * 1024, lines: 12 };

/// So many bytes are sent however few lines they are: as many as a socket takes at a time.
const FLUSH_MOST: usize = 128 * 1024;

/// A batch buffer that grew beyond this is not kept. One that is less than that is: to give the memory of
/// a long message back and take it anew can cost more than all else that is done with it.
const KEEP: usize = 256 * 1024;

/// So many are kept by each thread.
const SPARES: usize = 2;

thread_local! {
    /// Buffers of batches that were sent, for whichever session is next: an idle one needs none, and these
    /// are still in the cache.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
pub(crate) struct ReplySink {
    state: Mutex<State>,
    out: Arc<dyn ByteSink>,
    audit: Arc<AuditLog>,
    runtime: tokio::runtime::Handle,
    /// Bytes appended and not yet taken by the transport.
    unsent: AtomicUsize,
    /// At this many unsent bytes the session is no longer read from.
    limit: usize,
    flush_at: FlushAt,
    /// A reader that takes nothing for this long is cut; `None` on stdio, where it is only held back.
    stall: Option<Duration>,
    is_dead: AtomicBool,
    /// Whether it is to be sent together with others.
    pub(super) is_waiting: AtomicBool,
    /// Wakes whoever waits for room, or for the end of all output.
    changed: Notify,
    /// Wakes whoever waits for the connection's loss alone: a reader that waits for input is not to be
    /// woken by each batch that is sent.
    died: Notify,
}

#[derive(Debug, Default)]
struct State {
    pending: Batch,
    is_writing: bool,
    /// Of a resumable session: what was sent last, also once the connection is lost.
    ring: Option<Box<Ring>>,
}

/// Lines that are sent together.
#[derive(Debug, Default)]
struct Batch {
    lines: Vec<u8>,
    /// How many they are.
    count: usize,
    /// Whether audit records stand behind any of them.
    is_audited: bool,
    /// Which of them are answers that must not go out without their records; empty unless the audit refuses.
    answers: Vec<Range<usize>>,
}

impl ReplySink {
    pub(crate) fn new(
        out: Arc<dyn ByteSink>,
        audit: Arc<AuditLog>,
        runtime: tokio::runtime::Handle,
        limit: usize,
        stall: Option<Duration>,
    ) -> Arc<Self> {
        let flush_at = if audit.writes_first() { FLUSH_AUDITED_AT } else { FLUSH_AT };
        Arc::new(Self {
            state: Mutex::default(),
            out,
            audit,
            runtime,
            unsent: AtomicUsize::new(0),
            limit,
            flush_at,
            stall,
            is_dead: AtomicBool::new(false),
            is_waiting: AtomicBool::new(false),
            changed: Notify::new(),
            died: Notify::new(),
        })
    }

    /// Guards the buffers; held while a line is formatted into them, never while one is written.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends what `write` puts into the buffer. Sends nothing unless the batch is large enough.
    pub(crate) fn append(self: &Arc<Self>, write: impl FnOnce(&mut Vec<u8>)) {
        if self.append_only(write) {
            self.flush();
        }
    }

    /// As [`append`](Self::append), for a line whose audit record `write` appends. An answer to work that
    /// was done is withheld when its record cannot be kept and the audit refuses.
    pub(crate) fn append_audited(
        self: &Arc<Self>,
        is_answer: bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut state = self.lock();
        let before = state.pending.lines.len();
        // An answer that may yet be withheld is not sent again from the ring either: it is a gap.
        let may_withhold = is_answer && self.audit.refuses();
        let is_due = self.append_to(&mut state, write, !may_withhold);
        let after = state.pending.lines.len();
        state.pending.is_audited = true;
        if may_withhold && after > before {
            state.pending.answers.push(before..after);
        }
        drop(state);
        if is_due {
            self.flush();
        }
    }

    /// As [`append`](Self::append), for callers that hold a lock: true when a flush is due.
    pub(crate) fn append_only(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.append_to(&mut self.lock(), write, true)
    }

    /// Appends a line that has no number, and lets `write` begin, end or replay the ring behind it.
    /// Sends nothing by itself.
    pub(crate) fn append_unnumbered(
        &self,
        write: impl FnOnce(&mut Vec<u8>, &mut Option<Box<Ring>>),
    ) {
        let mut state = self.lock();
        let before = state.pending.lines.len();
        let State { pending, ring, .. } = &mut *state;
        write(&mut pending.lines, ring);
        // What is sent again may be answers whose records are not on the disk yet.
        pending.is_audited = true;
        self.appended(&mut state, before);
    }

    /// Ends the numbering of lines: what is appended from now on is lost with the connection.
    pub(crate) fn take_ring(&self) -> Option<Box<Ring>> {
        self.lock().ring.take()
    }

    /// Keeps the ring within its share of the host's room.
    pub(crate) fn trim_ring(&self) {
        if let Some(ring) = &mut self.lock().ring {
            ring.trim();
        }
    }

    /// How many lines have been numbered; `None` where the session is not resumable.
    pub(crate) fn numbered(&self) -> Option<u64> {
        self.lock().ring.as_ref().map(|ring| ring.sent())
    }

    /// Appends lines; `is_kept`: a resume may send them again.
    fn append_to(
        &self,
        state: &mut State,
        write: impl FnOnce(&mut Vec<u8>),
        is_kept: bool,
    ) -> bool {
        if state.pending.lines.capacity() == 0 {
            state.pending.lines = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        let before = state.pending.lines.len();
        write(&mut state.pending.lines);
        let State { pending, ring, .. } = &mut *state;
        if let Some(ring) = ring {
            ring.push(pending.lines.get(before..).unwrap_or_default(), is_kept);
        }
        self.appended(state, before)
    }

    /// Counts what was appended, or takes it back when the connection is lost.
    fn appended(&self, state: &mut State, before: usize) -> bool {
        let Batch { lines, count, .. } = &mut state.pending;
        if self.is_dead.load(Ordering::Relaxed) {
            lines.truncate(before);
            return false;
        }
        let after = lines.len();
        self.unsent.fetch_add(after - before, Ordering::Relaxed);
        *count += 1;
        let FlushAt { bytes, lines } = self.flush_at;
        let is_due = after >= bytes && *count >= lines || after >= FLUSH_MOST;
        is_due && !state.is_writing
    }

    /// Sends everything that the transport takes now; a task sends the rest.
    pub(crate) fn flush(self: &Arc<Self>) {
        loop {
            let mut state = self.lock();
            if state.is_writing {
                return;
            }
            if state.pending.lines.is_empty() {
                drop(state);
                // Records of what is never answered wait for no reply.
                self.audit.begin_commit();
                return;
            }
            state.is_writing = true;
            let mut batch = std::mem::take(&mut state.pending);
            drop(state);
            // What a reply acknowledges is in the audit before the reply is out.
            match self.audit.begin_commit() {
                Commit::Done(is_kept) => self.withhold(&mut batch, is_kept),
                // Pongs and events wait for no disk, unless they stand behind what does.
                Commit::Later(_) if !batch.is_audited => {}
                Commit::Later(seq) => {
                    let sink = Arc::clone(self);
                    self.runtime.spawn(async move { sink.write_when_durable(batch, seq).await });
                    return;
                }
            }
            let batch = batch.lines;
            match self.write(&batch, 0) {
                Ok(sent) if sent == batch.len() => self.written(batch),
                Ok(sent) => {
                    let sink = Arc::clone(self);
                    self.runtime.spawn(async move { sink.write_rest(batch, sent).await });
                    return;
                }
                Err(error) => return self.lost(&error),
            }
        }
    }

    /// Sends a batch once its records are on the disk. No thread waits: what is answered meanwhile
    /// becomes the next batch.
    async fn write_when_durable(self: Arc<Self>, mut batch: Batch, seq: u64) {
        let is_kept = tokio::select! {
            is_kept = self.audit.until_durable(seq) => is_kept,
            () = self.death() => return,
        };
        self.withhold(&mut batch, is_kept);
        self.write_rest(batch.lines, 0).await;
    }

    /// Puts errors in the place of answers whose records were not kept. Exactly one for each.
    fn withhold(&self, batch: &mut Batch, is_kept: bool) {
        if is_kept || batch.answers.is_empty() {
            return;
        }
        let before = batch.lines.len();
        batch.lines = withheld::replace(&batch.lines, &batch.answers);
        let after = batch.lines.len();
        self.unsent.fetch_add(after.saturating_sub(before), Ordering::Relaxed);
        self.note_sent(before.saturating_sub(after));
    }

    /// Writes until nothing more is taken; returns how far it came.
    fn write(&self, batch: &[u8], mut sent: usize) -> io::Result<usize> {
        while let Some(rest) = batch.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.out.try_write(rest) {
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

    fn written(&self, mut batch: Vec<u8>) {
        self.lock().is_writing = false;
        batch.clear();
        if batch.capacity() <= KEEP {
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARES {
                    spare.push(batch);
                }
            });
        }
        self.changed.notify_waiters();
    }

    /// Goes on where `flush` had to stop.
    async fn write_rest(self: Arc<Self>, batch: Vec<u8>, mut sent: usize) {
        if sent == 0 {
            match self.write(&batch, 0) {
                Ok(now) => sent = now,
                Err(error) => return self.lost(&error),
            }
        }
        while sent < batch.len() {
            let ready = self.out.ready();
            let ready = async {
                tokio::select! {
                    ready = ready => ready,
                    // Given up: what is held here keeps the descriptor open.
                    () = self.death() => Err(io::ErrorKind::BrokenPipe.into()),
                }
            };
            let waited = match self.stall {
                Some(limit) => tokio::time::timeout(limit, ready).await.unwrap_or_else(|_| {
                    Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the reader took nothing for too long",
                    ))
                }),
                None => ready.await,
            };
            if self.is_dead() {
                return;
            }
            match waited.and_then(|()| self.write(&batch, sent)) {
                Ok(now) => {
                    if now > sent {
                        self.changed.notify_waiters();
                    }
                    sent = now;
                }
                Err(error) => return self.lost(&error),
            }
        }
        self.written(batch);
        self.flush();
    }

    fn lost(&self, error: &io::Error) {
        tracing::debug!(%error, "connection lost while writing");
        self.kill();
    }

    /// Gives the connection up: nothing more is sent, whoever waits is woken.
    pub(crate) fn kill(&self) {
        let mut state = self.lock();
        self.is_dead.store(true, Ordering::Relaxed);
        state.pending = Batch::default();
        state.is_writing = true;
        drop(state);
        self.unsent.store(0, Ordering::Relaxed);
        self.out.close();
        self.died.notify_waiters();
        self.changed.notify_waiters();
    }

    /// Whether the connection was lost or given up.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    /// Bytes that wait to be sent.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.load(Ordering::Relaxed)
    }

    /// Whether the reader of this session is too slow to be sent more.
    pub(crate) fn is_full(&self) -> bool {
        self.unsent() >= self.limit
    }

    /// Whether the peer can no longer read.
    pub(crate) async fn peer_is_gone(&self) -> bool {
        self.is_dead() || self.out.peer_is_gone().await
    }

    /// Waits until there is room for more; false when the connection is lost.
    pub(crate) async fn room(&self) -> bool {
        self.wait(|| !self.is_full()).await
    }

    /// Whether pushes have to wait. They get half of the room: however much a plugin has to say,
    /// the session is read on and its requests are answered.
    pub(crate) fn is_full_for_pushes(&self) -> bool {
        self.unsent() >= self.limit / 2
    }

    /// Waits until there is room for pushes; false when the connection is lost.
    pub(crate) async fn room_for_pushes(&self) -> bool {
        self.wait(|| !self.is_full_for_pushes()).await
    }

    /// Waits until everything was taken by the transport; false when the connection is lost.
    pub(crate) async fn sent(self: &Arc<Self>) -> bool {
        self.flush();
        self.wait(|| self.unsent() == 0).await
    }

    /// Waits until the connection is lost.
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

    /// Ends the output stream after what was sent.
    pub(crate) fn close(&self) {
        self.out.close();
    }
}

//! The outbox: the only writer of a connection.
//!
//! A caller that appends while no one is writing becomes the writer: it swaps the buffer out, writes
//! without the lock, and repeats until the buffer is empty. When the transport takes no more, a task
//! goes on in its place. While the reader hands out a batch of replies, lines only gather: the calls
//! that it wakes answer with further requests, and these leave in one write.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;

use a2e_core::transport::ByteSink;

/// Gathered lines leave at this many bytes, so that both sides of a pipe work at once.
const FLUSH_AT: usize = 2 * 1024;

/// A batch buffer that grew beyond this is not kept.
const KEEP: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    sink: Arc<dyn ByteSink>,
    runtime: tokio::runtime::Handle,
    /// Which connection of its client this is, from 0.
    pub(crate) number: u64,
    /// Bytes appended and not yet taken by the transport.
    unsent: AtomicUsize,
    /// At this many unsent bytes callers wait before they append.
    limit: usize,
    /// The reader hands out a batch and flushes at its end.
    is_gathering: AtomicBool,
    is_dead: AtomicBool,
    /// Why it is dead, where writing failed.
    failure: OnceLock<Arc<io::Error>>,
    /// Wakes the tasks that wait for room, for the end of all output, or for the loss of the connection.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    pending: Vec<u8>,
    spare: Vec<u8>,
    is_writing: bool,
    /// The stream was ended on this side; nothing more is taken.
    is_ended: bool,
}

impl Outbox {
    /// Needs a running tokio.
    pub(crate) fn new(sink: Arc<dyn ByteSink>, limit: usize, number: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            sink,
            runtime: tokio::runtime::Handle::current(),
            number,
            unsent: AtomicUsize::new(0),
            limit,
            is_gathering: AtomicBool::new(false),
            is_dead: AtomicBool::new(false),
            failure: OnceLock::new(),
            changed: Notify::new(),
        })
    }

    /// Guards the buffers; held while a line is copied into them, never while one is written.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a line and sends it with what else waits; false when the connection is lost.
    pub(crate) fn append(self: &Arc<Self>, line: &[u8]) -> bool {
        let mut state = self.lock();
        if self.is_dead() || state.is_ended {
            return false;
        }
        state.pending.extend_from_slice(line);
        self.unsent.fetch_add(line.len(), Ordering::Relaxed);
        // The reader clears the flag before it flushes, so a caller that still sees it set has appended in time.
        let is_due = state.pending.len() >= FLUSH_AT || !self.is_gathering.load(Ordering::Relaxed);
        let is_due = is_due && !state.is_writing;
        drop(state);
        if is_due {
            self.flush();
        }
        true
    }

    /// Lines gather until [`release`](Self::release).
    pub(crate) fn gather(&self) {
        self.is_gathering.store(true, Ordering::Relaxed);
    }

    /// Sends what has gathered, and from now on each line at once.
    pub(crate) fn release(self: &Arc<Self>) {
        self.is_gathering.store(false, Ordering::Relaxed);
        self.flush();
    }

    /// Sends everything that the transport takes now; a task sends the rest.
    fn flush(self: &Arc<Self>) {
        loop {
            let mut state = self.lock();
            if state.is_writing || state.pending.is_empty() || self.is_dead() {
                return;
            }
            state.is_writing = true;
            let spare = std::mem::take(&mut state.spare);
            let batch = std::mem::replace(&mut state.pending, spare);
            drop(state);
            match self.write(&batch, 0) {
                Ok(sent) if sent == batch.len() => self.written(batch),
                Ok(sent) => {
                    let outbox = Arc::clone(self);
                    self.runtime.spawn(async move { outbox.write_rest(batch, sent).await });
                    return;
                }
                Err(error) => return self.lost(error),
            }
        }
    }

    /// Writes until nothing more is taken; returns how far it came.
    fn write(&self, batch: &[u8], mut sent: usize) -> io::Result<usize> {
        while let Some(rest) = batch.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.sink.try_write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    sent += taken;
                    self.unsent.fetch_sub(taken, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    fn written(&self, mut batch: Vec<u8>) {
        batch.clear();
        if batch.capacity() > KEEP {
            batch = Vec::new();
        }
        let mut state = self.lock();
        state.spare = batch;
        state.is_writing = false;
        drop(state);
        self.changed.notify_waiters();
    }

    /// Goes on where `flush` had to stop.
    async fn write_rest(self: Arc<Self>, batch: Vec<u8>, mut sent: usize) {
        while sent < batch.len() {
            let ready = tokio::select! {
                ready = self.sink.ready() => ready,
                () = self.death() => return,
            };
            match ready.and_then(|()| self.write(&batch, sent)) {
                Ok(now) => {
                    if now > sent {
                        self.changed.notify_waiters();
                    }
                    sent = now;
                }
                Err(error) => return self.lost(error),
            }
        }
        self.written(batch);
        self.flush();
    }

    fn lost(&self, error: io::Error) {
        tracing::debug!(%error, "connection lost while writing");
        // Only the first failure is the reason.
        drop(self.failure.set(Arc::new(error)));
        self.kill();
    }

    /// Gives the connection up: nothing more is sent, and all waiting tasks are woken.
    pub(crate) fn kill(&self) {
        let mut state = self.lock();
        self.is_dead.store(true, Ordering::Release);
        state.pending = Vec::new();
        drop(state);
        self.sink.close();
        self.changed.notify_waiters();
    }

    /// Whether the connection was lost or given up.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Acquire)
    }

    /// Why writing failed, if it did.
    pub(crate) fn failure(&self) -> Option<Arc<io::Error>> {
        self.failure.get().cloned()
    }

    /// Bytes that wait to be sent; none wait when the connection is lost.
    pub(crate) fn unsent(&self) -> usize {
        if self.is_dead() { 0 } else { self.unsent.load(Ordering::Relaxed) }
    }

    /// Waits until there is room for more; false when the connection is lost.
    pub(crate) async fn room(&self) -> bool {
        self.room_below(self.limit).await
    }

    /// As [`room`](Self::room) for short lines, which need not stand in line with long ones.
    pub(crate) async fn room_for_short(&self) -> bool {
        self.room_below(self.limit.saturating_mul(2)).await
    }

    async fn room_below(&self, limit: usize) -> bool {
        if self.unsent() < limit && !self.is_dead() {
            return true;
        }
        self.wait(|| self.unsent() < limit).await
    }

    /// Waits until everything was taken by the transport; false when the connection is lost.
    pub(crate) async fn sent(self: &Arc<Self>) -> bool {
        self.release();
        self.wait(|| self.unsent() == 0).await
    }

    /// Waits until the connection is lost for writing.
    pub(crate) async fn death(&self) {
        self.wait(|| false).await;
    }

    async fn wait(&self, done: impl Fn() -> bool) -> bool {
        loop {
            let changed = self.changed.notified();
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
    pub(crate) fn end(&self) {
        self.lock().is_ended = true;
        self.sink.close();
    }
}

//! Writing: one thread or task at a time, in batches, after the audit.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::handover::{Begun, Turn};
use super::outbox::{Batch, OnLoss, Outbox};
use super::withheld;
use crate::audit::Commit;
use crate::sync::wait_until;
use crate::transport::ByteSink;

impl Outbox {
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
                Begun::Busy => return,
                Begun::Empty => {
                    // Records of what is never answered wait for no reply.
                    let commit = self.audit.begin_commit();
                    return self.guard_kept(commit);
                }
                Begun::Mine(turn, (batch, sink)) => (turn, batch, sink),
            };
            // What a reply acknowledges is in the audit before the reply is out.
            match self.audit.begin_commit() {
                Commit::Done(is_kept) => self.withhold(&mut batch, is_kept),
                // Pongs and events wait for no disk, unless they stand behind what does.
                Commit::Later(_) if !batch.is_audited => {}
                Commit::Later(seq) => {
                    let this = Arc::clone(self);
                    self.runtime.spawn(async move {
                        this.write_when_durable(turn, batch, sink, seq).await;
                    });
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
                    self.runtime
                        .spawn(async move { this.write_rest(turn, bytes, sink, sent).await });
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

    /// Waits until what was recorded so far is as safe as the mode has it. Where the audit refuses and
    /// that fails, a session that waits for its next connection ends: no answer may leave it any more.
    pub(crate) async fn committed(&self) -> bool {
        if !self.audit.refuses() {
            return true;
        }
        let is_kept = match self.audit.begin_commit() {
            Commit::Done(is_kept) => is_kept,
            Commit::Later(seq) => self.audit.until_durable(seq).await,
        };
        if !is_kept && self.bounds.on_loss == OnLoss::Detach {
            self.kill();
        }
        is_kept
    }

    /// What is kept for the next connection must not stay when its records are lost.
    fn guard_kept(self: &Arc<Self>, commit: Commit) {
        let is_safe = commit == Commit::Done(true) || !self.audit.refuses();
        if is_safe || self.bounds.on_loss == OnLoss::Close || self.is_attached() {
            return;
        }
        let this = Arc::clone(self);
        self.runtime.spawn(async move { this.committed().await });
    }

    /// Puts errors in the place of answers whose records were not kept. Exactly one for each.
    fn withhold(&self, batch: &mut Batch, is_kept: bool) {
        if is_kept {
            return;
        }
        if batch.is_replay && self.audit.refuses() {
            batch.bytes.clear();
            return self.kill();
        }
        if batch.answers.is_empty() {
            return;
        }
        if let Some(ring) = &mut self.lines.lock().buffer.ring {
            // What is sent in their place has no copy: it is a gap to the next connection.
            ring.empty();
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
        wait_until(&self.died, || !self.lines.is_mine(turn)).await;
    }

    fn lost(&self, turn: Turn, error: &io::Error) {
        tracing::debug!(%error, "connection lost while writing");
        if !self.lines.is_mine(turn) {
            return;
        }
        match self.bounds.on_loss {
            OnLoss::Close => self.kill(),
            OnLoss::Detach => self.detach(None),
        }
    }
}

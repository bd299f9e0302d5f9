//! Connections come to an outbox and leave it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::outbox::{Batch, Lines, Outbox};
use crate::transport::ByteSink;

impl Outbox {
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
            let mut bytes = Vec::new();
            ring.replay(received, &mut bytes);
            let is_replay = !bytes.is_empty();
            lines.pending = Batch { bytes, is_audited: true, is_replay, ..Batch::default() };
            self.unsent.store(lines.pending.bytes.len(), Ordering::Relaxed);
            if let Some(before) = lines.sink.replace(sink) {
                before.close();
            }
        });
        self.died.notify_waiters();
        self.write_pending();
        gap
    }

    /// Takes the sink away: any, or this one alone. Lines are numbered and kept on; nothing is sent
    /// until another comes.
    pub(crate) fn detach(&self, which: Option<&Arc<dyn ByteSink>>) {
        let is_it = |sink: &Arc<dyn ByteSink>| which.is_none_or(|it| Arc::ptr_eq(it, sink));
        if !self.lines.lock().buffer.sink.as_ref().is_some_and(is_it) {
            return;
        }
        let mut gone = None;
        self.lines.interrupt(|lines| {
            if !lines.sink.as_ref().is_some_and(is_it) {
                return;
            }
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

    pub(crate) fn is_attached(&self) -> bool {
        self.lines.lock().buffer.sink.is_some()
    }

    /// The kept lines after the first `received`, and how many between are lost. Without a sink, what
    /// comes before no longer counts as unsent.
    pub(crate) fn read_after(&self, received: u64) -> Option<(u64, Vec<u8>)> {
        let shared = self.lines.lock();
        let Lines { ring, sink, .. } = &shared.buffer;
        let ring = ring.as_ref()?;
        let gap = ring.gap(received)?;
        let mut bytes = Vec::new();
        ring.copy_after(received, &mut bytes);
        if sink.is_none() {
            self.unsent.store(bytes.len(), Ordering::Relaxed);
            self.changed.notify_waiters();
        }
        Some((gap, bytes))
    }

    /// Waits until more than the first `received` lines were sent; false when the outbox is closed.
    pub(crate) async fn sent_beyond(&self, received: u64) -> bool {
        self.wait(|| self.numbered().is_some_and(|sent| sent > received)).await
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
}

//! The end of a connection, and its losses.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::error::{ClientError, Closed};
use crate::link::Link;
use crate::reconnect::state::ConnectionState;

/// Whether a client is to end, and has.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// This side wants the end.
    is_wanted: AtomicBool,
    /// Why it has ended.
    reason: OnceLock<Closed>,
    /// Wakes the tasks that wait for either.
    changed: Notify,
}

impl End {
    async fn wait<T>(&self, look: impl Fn() -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(seen) = look() {
                return seen;
            }
            changed.await;
        }
    }

    /// Waits until this side wants the end.
    pub(crate) async fn wanted(&self) {
        self.wait(|| self.is_wanted.load(Ordering::Acquire).then_some(())).await;
    }
}

impl Link {
    /// Why the connection has ended for good, if it has.
    pub(crate) fn end_reason(&self) -> Option<&Closed> {
        self.end.reason.get()
    }

    /// Whether this side wants the end.
    pub(crate) fn is_closing(&self) -> bool {
        self.end.is_wanted.load(Ordering::Acquire)
    }

    /// An error when no further call may start.
    pub(crate) fn check_open(&self) -> Result<(), ClientError> {
        let is_open = self.end_reason().is_none() && !self.is_closing();
        if is_open { Ok(()) } else { Err(self.why_closed()) }
    }

    pub(crate) fn why_closed(&self) -> ClientError {
        let closed = match (self.end_reason(), self.outbox().failure()) {
            (Some(closed), _) => closed.clone(),
            (None, Some(error)) => Closed::Lost(error),
            (None, None) => Closed::ByUs,
        };
        closed.into()
    }

    /// Refuses new calls; those that wait may still be answered. A lost connection stays lost.
    pub(crate) fn begin_close(&self) {
        self.end.is_wanted.store(true, Ordering::Release);
        self.permits.close();
        self.end.changed.notify_waiters();
    }

    /// Waits until this side wants the end.
    pub(crate) async fn close_wanted(&self) {
        self.end.wanted().await;
    }

    /// The connection was lost and is to be made again: every call that waits fails now, but those
    /// that may be sent again.
    pub(crate) fn interrupt(&self, reason: &Closed) {
        // Dead before the table is looked through: a call that registers later cannot send on it.
        self.outbox().kill();
        let failed = self.pending.interrupt(&ClientError::Interrupted(reason.clone()));
        self.counters.interrupted.add_many(failed as u64);
        tracing::info!(%reason, failed, kept = self.pending.len(), "connection lost");
    }

    /// The connection is no more: every call that waits fails now. The first reason stays.
    pub(crate) fn end(&self, reason: Closed) {
        let reason = if self.is_closing() { Closed::ByUs } else { reason };
        // Set before the table is emptied: a call that registers later sees it.
        if self.end.reason.set(reason.clone()).is_err() {
            return;
        }
        self.outbox().kill();
        self.permits.close();
        let failed = self.pending.fail(|_| true, &ClientError::Closed(reason.clone()));
        self.pushes.close();
        self.tell(ConnectionState::Closed(reason.clone()));
        self.end.changed.notify_waiters();
        tracing::debug!(%reason, failed, "connection ended");
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) -> Closed {
        self.end.wait(|| self.end_reason().cloned()).await
    }
}

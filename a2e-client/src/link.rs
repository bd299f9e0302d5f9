//! What the reader and all callers of one connection share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use a2e_core::codec::envelope::{encode_message, write_message};
use a2e_core::protocol::{Cancel, IdSource, Message};
use a2e_core::transport::ByteSink;
use a2e_core::{Clock, SystemClock};

use crate::error::{ClientError, Closed};
use crate::options::Options;
use crate::outbox::Outbox;
use crate::pending::PendingTable;
use crate::push::PushTable;
use crate::stats::{Counters, Stats};

/// One connection, without its reading end.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) ids: IdSource,
    pub(crate) options: Options,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) pending: PendingTable,
    pub(crate) pushes: Arc<PushTable>,
    pub(crate) counters: Counters,
    clock: SystemClock,
    /// One for each call that may wait for an answer at a time.
    permits: Semaphore,
    /// This side wants the end.
    is_closing: AtomicBool,
    /// Why the connection has ended.
    end: OnceLock<Closed>,
    /// Wakes whoever waits for the end.
    ended: Notify,
}

impl Link {
    pub(crate) fn new(sink: Arc<dyn ByteSink>, options: Options) -> Arc<Self> {
        Arc::new(Self {
            ids: IdSource::new(),
            outbox: Outbox::new(sink, options.max_unsent_bytes),
            pending: PendingTable::default(),
            pushes: Arc::default(),
            counters: Counters::default(),
            clock: SystemClock::new(),
            permits: Semaphore::new(options.max_pending.min(Semaphore::MAX_PERMITS)),
            is_closing: AtomicBool::new(false),
            end: OnceLock::new(),
            ended: Notify::new(),
            options,
        })
    }

    /// Waits until one more call may wait for an answer.
    pub(crate) async fn permit(&self) -> Result<SemaphorePermit<'_>, ClientError> {
        self.permits.acquire().await.map_err(|_| self.why_closed())
    }

    /// Gives back a permit that was forgotten.
    pub(crate) fn return_permit(&self) {
        self.permits.add_permits(1);
    }

    /// Waits until the transport is not too far behind.
    pub(crate) async fn room(&self) -> Result<(), ClientError> {
        if self.outbox.room().await { self.check_open() } else { Err(self.why_closed()) }
    }

    /// As [`room`](Self::room), for messages that are short and should not wait for long ones.
    pub(crate) async fn room_for_short(&self) -> Result<(), ClientError> {
        let has_room = self.outbox.room_for_short().await;
        if has_room { self.check_open() } else { Err(self.why_closed()) }
    }

    /// The line of a message.
    pub(crate) fn encode<T: Serialize + ?Sized>(
        &self,
        id: &str,
        wire_type: &str,
        req_id: Option<&str>,
        body: &T,
    ) -> Result<Vec<u8>, ClientError> {
        let mut line = Vec::with_capacity(256);
        encode_message(&mut line, id, self.clock.now(), wire_type, req_id, body)?;
        // The newline does not count.
        let (bytes, limit) = (line.len() - 1, self.options.max_line_bytes);
        if bytes > limit {
            return Err(ClientError::TooLong { bytes, limit });
        }
        Ok(line)
    }

    /// Sends a line that was encoded.
    pub(crate) fn send(&self, line: &[u8]) -> Result<(), ClientError> {
        if self.outbox.append(line) { Ok(()) } else { Err(self.why_closed()) }
    }

    /// Sends `cancel`. It does not wait for room: at most one goes with each request that did.
    pub(crate) fn cancel(&self, req_id: &str) -> bool {
        let mut line = Vec::with_capacity(160);
        let now = self.clock.now();
        write_message(&mut line, &self.ids, now, Cancel::TYPE, Some(req_id), &[]);
        let is_sent = self.outbox.append(&line);
        if is_sent {
            self.counters.cancels.add();
        }
        is_sent
    }

    // --- the end

    /// Why the connection has ended, if it has.
    pub(crate) fn end_reason(&self) -> Option<&Closed> {
        self.end.get()
    }

    /// An error when no further call may start.
    pub(crate) fn check_open(&self) -> Result<(), ClientError> {
        let is_open = self.end.get().is_none() && !self.is_closing.load(Ordering::Acquire);
        if is_open { Ok(()) } else { Err(self.why_closed()) }
    }

    fn why_closed(&self) -> ClientError {
        let closed = match (self.end.get(), self.outbox.failure()) {
            (Some(closed), _) => closed.clone(),
            (None, Some(error)) => Closed::Lost(error),
            (None, None) => Closed::ByUs,
        };
        closed.into()
    }

    /// Refuses new calls; those that wait may still be answered.
    pub(crate) fn begin_close(&self) {
        self.is_closing.store(true, Ordering::Release);
        self.permits.close();
    }

    /// The connection is no more: every call that waits fails now. The first reason stays.
    pub(crate) fn end(&self, reason: Closed) {
        let is_closing = self.is_closing.load(Ordering::Acquire);
        let reason = if is_closing { Closed::ByUs } else { reason };
        // Set before the table is emptied: a call that registers later sees it.
        if self.end.set(reason.clone()).is_err() {
            return;
        }
        self.outbox.kill();
        self.permits.close();
        let failed = self.pending.fail(|_| true, &ClientError::Closed(reason.clone()));
        self.pushes.close();
        self.ended.notify_waiters();
        tracing::debug!(%reason, failed, "connection ended");
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) -> Closed {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if let Some(reason) = self.end.get() {
                return reason.clone();
            }
            ended.await;
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        self.counters.look(self.pending.len(), self.outbox.unsent())
    }
}

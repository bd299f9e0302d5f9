//! Answers of many sessions, sent together.
//!
//! With many connections each batch is one answer, and each answer would cost a write to the audit
//! file. So the sessions that are ready at the same time are worked on first, and then all are sent:
//! the first of them commits the records of all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::ReplySink;
use crate::audit::AuditLog;

/// From so many sessions on. With fewer, to wait for others costs more than it saves.
const MANY: usize = 32;

#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Whether a commit costs a write to the file; else there is nothing to share.
    is_worth_it: bool,
    /// Guards the sinks that wait to be sent, each once; held to add one or to take all.
    waiting: Mutex<Vec<Arc<ReplySink>>>,
    has_many: AtomicBool,
}

impl Outgoing {
    pub(crate) fn new(audit: &AuditLog) -> Self {
        Self {
            is_worth_it: audit.writes_first(),
            waiting: Mutex::default(),
            has_many: AtomicBool::new(false),
        }
    }

    /// Notes how many sessions there are.
    pub(crate) fn note_sessions(&self, count: usize) {
        self.has_many.store(self.is_worth_it && count >= MANY, Ordering::Relaxed);
    }

    /// Sends what was answered: at once, or with what other sessions answer just now.
    pub(crate) fn send(self: &Arc<Self>, sink: &Arc<ReplySink>, runtime: &tokio::runtime::Handle) {
        if !self.has_many.load(Ordering::Relaxed) {
            return sink.flush();
        }
        self.send_soon(sink, runtime);
    }

    /// Sends what was answered when the tasks that are ready have had their turn.
    pub(crate) fn send_soon(
        self: &Arc<Self>,
        sink: &Arc<ReplySink>,
        runtime: &tokio::runtime::Handle,
    ) {
        if sink.is_waiting.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = waiting.is_empty();
        waiting.push(Arc::clone(sink));
        drop(waiting);
        if is_first {
            let this = Arc::clone(self);
            runtime.spawn(async move {
                // What is ready has its turn first.
                tokio::task::yield_now().await;
                this.send_waiting();
            });
        }
    }

    /// Sends everything that waits. Also by the watchdog, for the thread that is to do so may hang in a
    /// handler.
    pub(crate) fn send_waiting(&self) {
        let waiting =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for sink in waiting {
            sink.is_waiting.store(false, Ordering::Release);
            sink.flush();
        }
    }
}

//! What was counted on a connection.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often one kind of event happened.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.add_many(1);
    }

    pub(crate) fn add_many(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) calls: Counter,
    pub(crate) answered: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) cancels: Counter,
    pub(crate) late_replies: Counter,
    pub(crate) unclaimed: Counter,
    pub(crate) bad_lines: Counter,
    pub(crate) bad_events: Counter,
    pub(crate) events_dropped: Counter,
    pub(crate) pushes_dropped: Counter,
    pub(crate) handler_panics: Counter,
    pub(crate) reconnects: Counter,
    pub(crate) interrupted: Counter,
    pub(crate) repeated: Counter,
    pub(crate) lines_lost: Counter,
}

/// A look at a connection. Counts are since it was made first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that wait for their answer now.
    pub pending: usize,
    /// Calls that wait for the connection to come back now.
    pub waiting: usize,
    /// Bytes that the transport has not taken yet.
    pub unsent_bytes: usize,
    /// Calls that were sent.
    pub calls: u64,
    /// Replies and errors that reached a waiting call.
    pub answered: u64,
    /// Calls that ended without an answer in time.
    pub timeouts: u64,
    /// `cancel` messages that were sent.
    pub cancels: u64,
    /// Answers to calls that have ended, and second answers; dropped.
    pub late_replies: u64,
    /// Messages that no call and no handler took; dropped.
    pub unclaimed: u64,
    /// Lines that are no message: too long, not JSON, no type; dropped.
    pub bad_lines: u64,
    /// Events whose fields are not those of an event; dropped.
    pub bad_events: u64,
    /// Events that were dropped because they were not taken in time.
    pub events_dropped: u64,
    /// Messages that a [`PushStream`](crate::PushStream) dropped because they were not taken in time.
    pub pushes_dropped: u64,
    /// Handlers of pushes and states that panicked.
    pub handler_panics: u64,
    /// Times that a lost connection was made again.
    pub reconnects: u64,
    /// Calls that failed because the connection was lost while they waited, where it is made again.
    pub interrupted: u64,
    /// Times that a repeatable call was sent again.
    pub repeated: u64,
    /// Lines of the host that were lost for good, as far as the host knows.
    pub lines_lost: u64,
}

impl Counters {
    pub(crate) fn look(&self, pending: usize, waiting: usize, unsent_bytes: usize) -> Stats {
        Stats {
            pending,
            waiting,
            unsent_bytes,
            calls: self.calls.get(),
            answered: self.answered.get(),
            timeouts: self.timeouts.get(),
            cancels: self.cancels.get(),
            late_replies: self.late_replies.get(),
            unclaimed: self.unclaimed.get(),
            bad_lines: self.bad_lines.get(),
            bad_events: self.bad_events.get(),
            events_dropped: self.events_dropped.get(),
            pushes_dropped: self.pushes_dropped.get(),
            handler_panics: self.handler_panics.get(),
            reconnects: self.reconnects.get(),
            interrupted: self.interrupted.get(),
            repeated: self.repeated.get(),
            lines_lost: self.lines_lost.get(),
        }
    }
}

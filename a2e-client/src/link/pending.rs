//! The calls that wait for their answers, by id.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use a2e_core::protocol::{ErrorCode, MessageId};
use dashmap::DashMap;
use tokio::sync::oneshot;

use crate::error::ClientError;
use crate::link::mailbox::Mailbox;
use crate::message::Received;

/// How often a call is sent again: one that ends the host each time must not do so for ever.
const MOST_REPEATS: u32 = 3;

/// How a call ends.
pub(crate) type Outcome = Result<Received, ClientError>;

#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Outcome>,
    events: Option<Arc<Mailbox>>,
    /// Length of the request's line.
    sent_bytes: usize,
    /// The number of the connection that it was sent on.
    sent_on: u64,
    /// The line, where it may be sent again, and how often it was.
    kept: Option<(Arc<[u8]>, u32)>,
}

/// A call that is about to wait.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) id: MessageId,
    pub(crate) events: Option<Arc<Mailbox>>,
    pub(crate) sent_bytes: usize,
    pub(crate) sent_on: u64,
    /// The line, where it may be sent again.
    pub(crate) line: Option<Arc<[u8]>>,
}

/// Whether a call waits, and for its events too.
#[derive(Debug)]
pub(crate) enum Listener {
    /// No such call waits.
    Nobody,
    /// It waits for its answer only.
    ReplyOnly,
    /// It takes events.
    Events(Arc<Mailbox>),
}

/// An entry is made before its request is sent and goes with its answer, its time-out, the drop of
/// its call, or the connection. Bounded by the permits of the [`Link`](crate::link::Link).
#[derive(Debug, Default)]
pub(crate) struct PendingTable {
    calls: DashMap<MessageId, Waiting>,
    /// Bytes of all lines that are kept.
    kept_bytes: AtomicUsize,
}

impl PendingTable {
    /// Puts a call in; its line is kept only while all kept lines are within `most_kept` bytes.
    pub(crate) fn register(&self, call: Candidate, most_kept: usize) -> oneshot::Receiver<Outcome> {
        let (reply, receiver) = oneshot::channel();
        let kept = call.line.filter(|line| self.keep(line.len(), most_kept)).map(|line| (line, 0));
        let Candidate { id, events, sent_bytes, sent_on, .. } = call;
        let before = self.calls.insert(id, Waiting { reply, events, sent_bytes, sent_on, kept });
        self.release(before.as_ref());
        receiver
    }

    fn keep(&self, bytes: usize, most: usize) -> bool {
        let add = |kept: usize| Some(kept.saturating_add(bytes)).filter(|sum| *sum <= most);
        self.kept_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    fn release(&self, gone: Option<&Waiting>) {
        if let Some((line, _)) = gone.and_then(|waiting| waiting.kept.as_ref()) {
            self.kept_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        }
    }

    /// Ends a call with what `outcome` makes; false when no such call waits.
    pub(crate) fn complete(&self, id: &str, outcome: impl FnOnce() -> Outcome) -> bool {
        let Some((_, waiting)) = self.calls.remove(id) else { return false };
        self.release(Some(&waiting));
        // The answer stands before the end of the events is seen.
        let is_heard = waiting.reply.send(outcome()).is_ok();
        if let Some(events) = waiting.events {
            events.close();
        }
        is_heard
    }

    /// Whether this outcome, heard on the connection `number`, only tells that the host has cancelled
    /// the call because an earlier connection was lost. The call will be sent again.
    pub(crate) fn is_echo_of_loss(&self, id: &str, outcome: &Outcome, number: u64) -> bool {
        let is_cancelled =
            matches!(outcome, Err(error) if error.code() == Some(&ErrorCode::Cancelled));
        is_cancelled
            && self.calls.get(id).is_some_and(|it| it.kept.is_some() && it.sent_on < number)
    }

    /// The listener for the events of a call.
    pub(crate) fn listener(&self, id: &str) -> Listener {
        match self.calls.get(id) {
            None => Listener::Nobody,
            Some(waiting) => match &waiting.events {
                Some(events) => Listener::Events(Arc::clone(events)),
                None => Listener::ReplyOnly,
            },
        }
    }

    /// Removes a call that was given up; false when it has ended before.
    pub(crate) fn forget(&self, id: &str) -> bool {
        let gone = self.calls.remove(id);
        self.release(gone.as_ref().map(|(_, waiting)| waiting));
        gone.is_some()
    }

    /// Forgets a call that could not be sent on the connection `number`; false when it has ended, or was
    /// sent on a later one.
    pub(crate) fn forget_unsent(&self, id: &str, number: u64) -> bool {
        let gone = self.calls.remove_if(id, |_, waiting| waiting.sent_on == number);
        self.release(gone.as_ref().map(|(_, waiting)| waiting));
        gone.is_some()
    }

    /// Ends every call for which the length of its request satisfies `is_meant`.
    pub(crate) fn fail(&self, is_meant: impl Fn(usize) -> bool, error: &ClientError) -> usize {
        self.fail_those(|waiting| is_meant(waiting.sent_bytes), error)
    }

    /// The connection was lost: ends every call but those that may be sent again.
    pub(crate) fn interrupt(&self, error: &ClientError) -> usize {
        let may_repeat = |waiting: &Waiting| {
            waiting.kept.as_ref().is_some_and(|(_, repeats)| *repeats < MOST_REPEATS)
        };
        self.fail_those(|waiting| !may_repeat(waiting), error)
    }

    fn fail_those(&self, is_meant: impl Fn(&Waiting) -> bool, error: &ClientError) -> usize {
        // Ids first: what a waker does must not happen under a lock of the map.
        let meant: Vec<MessageId> = self
            .calls
            .iter()
            .filter(|entry| is_meant(entry.value()))
            .map(|entry| entry.key().clone())
            .collect();
        meant.iter().filter(|id| self.complete(id.as_str(), || Err(error.clone()))).count()
    }

    /// The calls that were kept over a loss and not yet sent on the connection `number`, oldest first.
    pub(crate) fn to_repeat(&self, number: u64) -> Vec<MessageId> {
        let is_due = |waiting: &Waiting| waiting.kept.is_some() && waiting.sent_on < number;
        let mut due: Vec<MessageId> = self
            .calls
            .iter()
            .filter(|entry| is_due(entry.value()))
            .map(|entry| entry.key().clone())
            .collect();
        // Ids rise in the order in which the calls were made.
        due.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        due
    }

    /// Claims a call for sending on connection `number`. Gives its line to the first claim only.
    pub(crate) fn claim(&self, id: &str, number: u64) -> Option<Arc<[u8]>> {
        let mut waiting = self.calls.get_mut(id)?;
        if waiting.sent_on >= number {
            return None;
        }
        let (line, repeats) = waiting.kept.as_mut()?;
        *repeats += 1;
        let line = Arc::clone(line);
        waiting.sent_on = number;
        Some(line)
    }

    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }
}

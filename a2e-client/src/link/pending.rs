//! The calls that wait for their answers, by id.

use std::sync::Arc;

use a2e_core::protocol::MessageId;
use dashmap::DashMap;
use tokio::sync::oneshot;

use crate::error::ClientError;
use crate::link::mailbox::Mailbox;
use crate::message::Received;

/// How a call ends.
pub(crate) type Outcome = Result<Received, ClientError>;

#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Outcome>,
    events: Option<Arc<Mailbox>>,
    /// Length of the request's line.
    sent_bytes: usize,
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
}

impl PendingTable {
    pub(crate) fn register(
        &self,
        id: MessageId,
        events: Option<Arc<Mailbox>>,
        sent_bytes: usize,
    ) -> oneshot::Receiver<Outcome> {
        let (reply, receiver) = oneshot::channel();
        self.calls.insert(id, Waiting { reply, events, sent_bytes });
        receiver
    }

    /// Ends a call with what `outcome` makes; false when no such call waits.
    pub(crate) fn complete(&self, id: &str, outcome: impl FnOnce() -> Outcome) -> bool {
        let Some((_, waiting)) = self.calls.remove(id) else { return false };
        // The answer stands before the end of the events is seen.
        let is_heard = waiting.reply.send(outcome()).is_ok();
        if let Some(events) = waiting.events {
            events.close();
        }
        is_heard
    }

    /// Who listens to the events of a call.
    pub(crate) fn listener(&self, id: &str) -> Listener {
        match self.calls.get(id) {
            None => Listener::Nobody,
            Some(waiting) => match &waiting.events {
                Some(events) => Listener::Events(Arc::clone(events)),
                None => Listener::ReplyOnly,
            },
        }
    }

    /// Forgets a call that nobody waits for any more; false when it has ended before.
    pub(crate) fn forget(&self, id: &str) -> bool {
        self.calls.remove(id).is_some()
    }

    /// Ends every call for which the length of its request satisfies `is_meant`.
    pub(crate) fn fail(&self, is_meant: impl Fn(usize) -> bool, error: &ClientError) -> usize {
        // Ids first: what a waker does must not happen under a lock of the map.
        let meant: Vec<MessageId> = self
            .calls
            .iter()
            .filter(|entry| is_meant(entry.value().sent_bytes))
            .map(|entry| entry.key().clone())
            .collect();
        meant.iter().filter(|id| self.complete(id.as_str(), || Err(error.clone()))).count()
    }

    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }
}

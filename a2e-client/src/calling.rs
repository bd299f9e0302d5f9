//! A call under way: its events, then its reply.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use a2e_core::protocol::{Message, MessageId};

use crate::client::Inner;
use crate::error::ClientError;
use crate::link::mailbox::Mailbox;
use crate::link::pending::Outcome;
use crate::message::{EventMessage, Received};

/// A call that was sent and waits for its answer.
///
/// Its events wait in a queue of their own, which [`Options::event_bound`](crate::Options::event_bound)
/// bounds, so that a call whose events are not taken never holds up another. In a full queue
/// `progress`, `log` and `status` events are dropped and counted; the gap shows in `seq`. When an event
/// of another kind finds no room even so, the call ends with [`ClientError::EventsNotTaken`].
///
/// Dropping it sends `cancel`.
#[derive(Debug)]
#[must_use = "dropping it cancels the call"]
pub struct Calling<R> {
    entry: Entry,
    reply: oneshot::Receiver<Outcome>,
    events: Option<Arc<Mailbox>>,
    wire_type: Cow<'static, str>,
    limit: TimeLimit,
    read: fn(Received) -> Result<R, ClientError>,
}

/// When a call ends without an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimit {
    after: Duration,
    /// `None` when it never does.
    at: Option<Instant>,
}

impl TimeLimit {
    pub(crate) fn new(after: Option<Duration>) -> Self {
        let at = after.and_then(|after| Instant::now().checked_add(after));
        Self { after: after.unwrap_or(Duration::MAX), at }
    }

    /// The result of `work`, or `None` when the time is up.
    pub(crate) async fn hold<T>(self, work: impl Future<Output = T>) -> Option<T> {
        match self.at {
            Some(at) => timeout_at(at, work).await.ok(),
            None => Some(work.await),
        }
    }

    pub(crate) fn error(self, wire_type: &str) -> ClientError {
        ClientError::Timeout { wire_type: wire_type.into(), after: self.after }
    }
}

impl<R> Calling<R> {
    pub(crate) fn new(
        entry: Entry,
        reply: oneshot::Receiver<Outcome>,
        events: Option<Arc<Mailbox>>,
        wire_type: Cow<'static, str>,
        limit: TimeLimit,
        read: fn(Received) -> Result<R, ClientError>,
    ) -> Self {
        Self { entry, reply, events, wire_type, limit, read }
    }

    /// The id of the request, as [`Client::cancel`](crate::Client::cancel) takes it.
    pub fn id(&self) -> &str {
        self.entry.id.as_str()
    }

    /// The next event, in order; `None` when the call has ended and all events were taken. Then, or at
    /// any time, [`reply`](Self::reply) gives the answer. May be dropped and called again.
    ///
    /// Events whose fields are not those of an event are counted and left out.
    pub async fn next_event(&mut self) -> Option<EventMessage> {
        let events = self.events.as_ref()?;
        loop {
            let message = self.limit.hold(events.next()).await??;
            match EventMessage::try_from(message) {
                Ok(event) => return Some(event),
                Err(error) => {
                    self.entry.inner.link.counters.bad_events.add();
                    tracing::warn!(%error, "the host sent a bad event");
                }
            }
        }
    }

    /// How many events were dropped because they were not taken in time.
    pub fn events_dropped(&self) -> u64 {
        self.events.as_ref().map_or(0, |events| events.dropped())
    }

    /// The answer. Events that were not taken are dropped.
    ///
    /// # Errors
    /// The host's error, the time-out of the call, the loss of the connection, or an answer that is
    /// not what the protocol says.
    pub async fn reply(mut self) -> Result<R, ClientError> {
        let outcome = match self.limit.hold(&mut self.reply).await {
            Some(outcome) => outcome,
            // The time is up; an answer that came at the same moment still counts.
            None if self.entry.end() => {
                self.entry.inner.link.counters.timeouts.add();
                return Err(self.limit.error(&self.wire_type));
            }
            None => (&mut self.reply).await,
        };
        self.entry.is_over = true;
        match outcome {
            Ok(outcome) => (self.read)(outcome?),
            Err(_) => Err(ClientError::protocol("the call was forgotten")),
        }
    }
}

/// Reads the answer to a typed request.
pub(crate) fn read_typed<R: Message + DeserializeOwned>(reply: Received) -> Result<R, ClientError> {
    if reply.wire_type() != R::TYPE {
        let text = format!("`{}` came where `{}` is due", reply.wire_type(), R::TYPE);
        return Err(ClientError::protocol(text));
    }
    reply.decode()
}

/// The entry of a call in the table of waiting calls; removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    inner: Arc<Inner>,
    id: MessageId,
    has_permit: bool,
    is_over: bool,
}

impl Entry {
    /// Takes the place over from here on; `has_permit` when a permit was forgotten for it.
    pub(crate) fn new(inner: &Arc<Inner>, id: MessageId, has_permit: bool) -> Self {
        Self { inner: Arc::clone(inner), id, has_permit, is_over: false }
    }

    pub(crate) fn id(&self) -> &MessageId {
        &self.id
    }

    /// Stops waiting for the answer; false when it has come already.
    fn end(&mut self) -> bool {
        let was_waiting = !self.is_over && self.inner.link.pending.forget(self.id.as_str());
        self.is_over = true;
        if was_waiting {
            self.inner.link.cancel(self.id.as_str());
        }
        was_waiting
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.end();
        if self.has_permit {
            self.inner.link.return_permit();
        }
    }
}

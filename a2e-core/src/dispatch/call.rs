//! What a handler sees of its request: identity, deadline, cancellation, events, pushes.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serialize;

use super::active::Active;
use crate::codec::encode_fields;
use crate::codec::envelope::write_message;
use crate::protocol::{Event, Message, SessionId};
use crate::session::{Hold, Session};
use crate::{Error, Result, Time};

/// The request that a handler works on. Cheap to clone.
#[derive(Clone)]
pub struct Call(pub(crate) Arc<Active>);

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What became of an event or push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Queued,
    /// The reader is slow and the kind may be dropped; counted, the gap shows in `seq`.
    Dropped,
    /// The sender asked for no events.
    Muted,
}

/// Why an event or push was not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The request was answered before; counted.
    #[error("the request has ended")]
    Ended,
    /// The session is gone.
    #[error("the session is gone")]
    Gone,
    /// The reader is slow and the kind may not be dropped: wait, or try later.
    #[error("the reader is too slow; wait for room")]
    Full,
    /// The content has no form on the wire.
    #[error("not encoded: {0}")]
    Encode(String),
}

impl Call {
    /// The request's id.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The session that it belongs to.
    pub fn session_id(&self) -> &SessionId {
        self.0.session.id()
    }

    /// The agent, as its handshake named it; empty before one.
    pub fn agent_id(&self) -> Arc<str> {
        self.0.session.agent_id()
    }

    /// The request's type.
    pub fn wire_type(&self) -> &str {
        &self.0.route.spec.wire_type
    }

    /// When the request was accepted; for an inline handler that is now, without a clock read.
    pub fn accepted_at(&self) -> Time {
        self.0.accepted
    }

    /// Time that is left; `None` when the request never ends by itself.
    pub fn remaining(&self) -> Option<Duration> {
        let deadline = self.0.deadline_us;
        (deadline != super::active::NEVER).then(|| {
            let now = self.0.kernel.clock.now().mono_us();
            Duration::from_micros(deadline.saturating_sub(now))
        })
    }

    /// Whether nobody waits for the answer any more: cancelled, timed out, client gone, shutting down.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until [`is_cancelled`](Self::is_cancelled). Futures of handlers are dropped then anyway.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }

    /// Drops all events of this request from now on; for requests with `streaming: false`.
    pub fn mute(&self) {
        self.0.events().is_muted = true;
    }

    /// Sends an event of this request. The host sets `req_id` and `seq`. Never waits.
    ///
    /// # Errors
    /// [`EmitError::Ended`] after the answer, [`EmitError::Full`] when the reader is slow and the
    /// event is of a kind that must not be dropped.
    pub fn emit(&self, event: Event) -> Result<Sent, EmitError> {
        let mut fields = Vec::with_capacity(96);
        encode_fields(&event_body(&event), &mut fields)
            .map_err(|error| EmitError::Encode(error.to_string()))?;
        let session = &self.0.session;
        let counters = &self.0.kernel.counters;
        let now = self.0.kernel.clock.now();
        let mut events = self.0.events();
        if events.has_ended {
            counters.late_events.add();
            return Err(EmitError::Ended);
        }
        if events.is_muted {
            return Ok(Sent::Muted);
        }
        if session.sink.is_dead() {
            return Err(EmitError::Gone);
        }
        if session.sink.is_full() {
            if !event.kind.is_droppable() {
                return Err(EmitError::Full);
            }
            events.next_seq += 1;
            counters.dropped_events.add();
            return Ok(Sent::Dropped);
        }
        fields.extend_from_slice(br#","seq":"#);
        fields.extend_from_slice(events.next_seq.to_string().as_bytes());
        events.next_seq += 1;
        let ids = &self.0.kernel.ids;
        let is_due = session.sink.append_only(|out| {
            write_message(out, ids, now, &event.wire_type, Some(&self.0.id), &fields);
        });
        drop(events);
        if is_due {
            session.sink.flush();
        } else {
            session.flush_unless_reading();
        }
        Ok(Sent::Queued)
    }

    /// As [`emit`](Self::emit), but waits for room instead of failing with `Full`.
    ///
    /// # Errors
    /// As `emit`, without `Full`.
    pub async fn emit_wait(&self, event: Event) -> Result<Sent, EmitError> {
        loop {
            match self.emit(event.clone()) {
                Err(EmitError::Full) => {
                    if !self.0.session.sink.room().await {
                        return Err(EmitError::Gone);
                    }
                }
                other => return other,
            }
        }
    }

    /// The session, for messages that outlive this request.
    pub fn session(&self) -> SessionHandle {
        SessionHandle { session: Arc::downgrade(&self.0.session), id: self.0.session.id().clone() }
    }

    /// This plugin's own data for this session: made on first use, gone with the session, in no snapshot.
    /// What is to be kept is given by [`Plugin::save`](crate::plugin::Plugin::save).
    pub fn state<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let plugin = self.0.slot().map_or(usize::MAX, |slot| slot.number);
        self.0.session.plugin_state(plugin, make)
    }

    /// Runs `hook` right after the answer is queued, so that what it pushes comes later on the wire.
    /// The hook is told whether the answer was a reply (true) or the request ended otherwise.
    pub fn after_reply(&self, hook: impl FnOnce(bool) + Send + 'static) {
        self.0.after_reply(Box::new(hook));
    }
}

#[derive(Serialize)]
struct EventBody<'a> {
    kind: &'a str,
    data: &'a serde_json::Map<String, serde_json::Value>,
}

fn event_body(event: &Event) -> EventBody<'_> {
    EventBody { kind: event.kind.as_str(), data: &event.data }
}

/// A session as plugins hold it: it may end while they do.
#[derive(Clone, Debug)]
pub struct SessionHandle {
    session: Weak<Session>,
    id: SessionId,
}

impl SessionHandle {
    /// The session's id.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Whether the session still stands.
    pub fn is_open(&self) -> bool {
        self.session.upgrade().is_some_and(|session| session.is_open())
    }

    /// Sends a message that answers no request. `req_id` may name a request that has ended.
    /// Never waits. Pushes may fill half of the session's outbound room; the rest is for replies.
    ///
    /// # Errors
    /// [`EmitError::Full`] when the reader is slow, [`EmitError::Gone`] when the session has ended.
    pub fn push<M: Message + Serialize>(
        &self,
        message: &M,
        req_id: Option<&str>,
    ) -> Result<(), EmitError> {
        self.push_as(M::TYPE, message, req_id)
    }

    /// As [`push`](Self::push), under a type that is known only at run time.
    ///
    /// # Errors
    /// As `push`.
    pub fn push_as<T: Serialize + ?Sized>(
        &self,
        wire_type: &str,
        body: &T,
        req_id: Option<&str>,
    ) -> Result<(), EmitError> {
        let session = self.with_room()?;
        session.push(wire_type, body, req_id)
    }

    /// As [`push`](Self::push), for many messages at a time: they leave in batches, the last of
    /// them with [`flush`](Self::flush).
    ///
    /// # Errors
    /// As `push`.
    pub fn queue<M: Message + Serialize>(
        &self,
        message: &M,
        req_id: Option<&str>,
    ) -> Result<(), EmitError> {
        self.with_room()?.queue(M::TYPE, message, req_id)
    }

    /// Sends what was [queued](Self::queue).
    pub fn flush(&self) {
        if let Some(session) = self.session.upgrade() {
            session.flush_unless_reading();
        }
    }

    /// Waits until there is room for a push; false when the session has ended.
    pub async fn room(&self) -> bool {
        let sink = self.session.upgrade().map(|session| Arc::clone(&session.sink));
        match sink {
            Some(sink) => sink.room_for_pushes().await,
            None => false,
        }
    }

    /// As [`push`](Self::push), but waits for room.
    ///
    /// # Errors
    /// As `push`, without `Full`.
    pub async fn push_wait<M: Message + Serialize>(
        &self,
        message: &M,
        req_id: Option<&str>,
    ) -> Result<(), EmitError> {
        loop {
            match self.push(message, req_id) {
                Err(EmitError::Full) if self.room().await => {}
                Err(EmitError::Full) => return Err(EmitError::Gone),
                other => return other,
            }
        }
    }

    fn with_room(&self) -> Result<Arc<Session>, EmitError> {
        let session = self.session.upgrade().ok_or(EmitError::Gone)?;
        if session.sink.is_dead() {
            return Err(EmitError::Gone);
        }
        if session.sink.is_full_for_pushes() {
            return Err(EmitError::Full);
        }
        Ok(session)
    }

    /// Keeps the session from closing while something that it started goes on (a child whose exit
    /// is not told yet), up to the drain's deadline.
    pub fn hold(&self) -> Option<Hold> {
        self.session.upgrade().map(|session| Hold::new(&session))
    }
}

impl From<EmitError> for Error {
    fn from(error: EmitError) -> Self {
        Error::runtime(error.to_string())
    }
}

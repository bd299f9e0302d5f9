//! What a handler sees of its request: identity, deadline, cancellation, events, pushes.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc::error::TrySendError;

use super::asker::{Asker, Caller};
use super::request::Request;
use super::session::SessionHandle;
use crate::codec::envelope::write_message;
use crate::codec::{RawJson, encode_fields};
use crate::counters::Count;
use crate::layers::NEVER;
use crate::protocol::{Event, EventKind, SessionId, TraceContext};
use crate::transport::Identity;
use crate::{Error, Result, Time};

/// The request that a handler works on. Cheap to clone.
#[derive(Clone)]
pub struct Call(pub(crate) Arc<Request>);

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

    /// The identity of the session: as the front gave it, or that of the principal whose token came with
    /// the handshake.
    pub fn identity(&self) -> &Identity {
        self.0.session.identity()
    }

    /// The agent's own mark of the request that this one is, or was made for.
    pub fn correlation_id(&self) -> Option<&str> {
        self.0.notes.correlation_id.as_deref()
    }

    /// The request's type.
    pub fn wire_type(&self) -> &str {
        &self.0.spec.wire_type
    }

    /// The place of this request in the trace that its sender named (W3C trace context): what a handler gives to
    /// those that it asks beyond this host, as `traceparent`. Requests to other plugins have it by themselves.
    pub fn trace(&self) -> Option<TraceContext> {
        self.0.notes.trace.as_ref().map(|trace| trace.context())
    }

    /// The `tracestate` that goes with [`trace`](Self::trace).
    pub fn trace_state(&self) -> Option<&str> {
        self.0.notes.trace.as_ref()?.state()
    }

    /// When the request was accepted; for an inline handler that is now, without a clock read.
    pub fn accepted_at(&self) -> Time {
        self.0.accepted
    }

    /// Time that is left; `None` when the request never ends by itself.
    pub fn remaining(&self) -> Option<Duration> {
        let deadline = self.0.deadline_us();
        (deadline != NEVER).then(|| {
            let now = self.0.session.services.clock.now().mono_us();
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

    /// Runs `hook` when nobody waits for the answer any more, on a thread that may block; also after
    /// the answer. For synchronous handlers that can be interrupted (a wasm guest, a database).
    pub fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) {
        self.0.on_cancel(Box::new(hook));
    }

    /// Adds a fact to the subject of this request's audit record, beside the fields that its type declares: one
    /// that the handler alone knows. `value` is asked for where subjects are recorded. Secrets that have
    /// a name (`token=…`) are taken out.
    pub fn note_subject(&self, field: &str, value: impl FnOnce() -> String) {
        self.0.note_subject(field, value);
    }

    /// Drops all events of this request from now on; for requests with `streaming: false`.
    pub fn mute(&self) {
        self.0.course.lock().is_muted = true;
    }

    /// Sends an event of this request. The host sets `req_id` and `seq`. Never waits. Events of a
    /// request that another handler made go to that handler.
    ///
    /// # Errors
    /// [`EmitError::Ended`] after the answer, [`EmitError::Full`] when the reader is slow and the
    /// event is of a kind that must not be dropped.
    pub fn emit(&self, event: Event) -> Result<Sent, EmitError> {
        match &self.0.asker {
            Asker::Client => {
                let body = EventBody { kind: event.kind.as_str(), data: &event.data };
                self.emit_to_client(&event.wire_type, &event.kind, &body)
            }
            Asker::Caller(caller) => self.emit_to_caller(caller, event),
        }
    }

    /// As [`emit`](Self::emit), with data that was never decoded.
    ///
    /// # Errors
    /// As `emit`; [`EmitError::Encode`] when the data is no object.
    pub fn emit_raw(
        &self,
        wire_type: &str,
        kind: &EventKind,
        data: &RawJson,
    ) -> Result<Sent, EmitError> {
        match &self.0.asker {
            Asker::Client => {
                let body = EventBody { kind: kind.as_str(), data };
                self.emit_to_client(wire_type, kind, &body)
            }
            Asker::Caller(caller) => {
                let data = data.decode().map_err(|error| EmitError::Encode(error.to_string()))?;
                let event =
                    Event { wire_type: wire_type.to_owned().into(), kind: kind.clone(), data };
                self.emit_to_caller(caller, event)
            }
        }
    }

    /// As [`emit`](Self::emit), for a type whose events have fields beside those of every event: `fields` has
    /// them, and `kind` and `data` too. A handler that asked gets them as the event's data.
    ///
    /// # Errors
    /// As `emit`; [`EmitError::Encode`] when `fields` is no object.
    pub fn emit_fields<T: Serialize>(
        &self,
        wire_type: &str,
        kind: &EventKind,
        fields: &T,
    ) -> Result<Sent, EmitError> {
        let Asker::Caller(caller) = &self.0.asker else {
            return self.emit_to_client(wire_type, kind, fields);
        };
        let unfit = |error: serde_json::Error| EmitError::Encode(error.to_string());
        let data = serde_json::to_value(fields).and_then(serde_json::from_value).map_err(unfit)?;
        let event = Event { wire_type: wire_type.to_owned().into(), kind: kind.clone(), data };
        self.emit_to_caller(caller, event)
    }

    fn emit_to_client<T: Serialize>(
        &self,
        wire_type: &str,
        kind: &EventKind,
        body: &T,
    ) -> Result<Sent, EmitError> {
        let mut fields = Vec::with_capacity(96);
        encode_fields(body, &mut fields).map_err(|error| EmitError::Encode(error.to_string()))?;
        let session = &self.0.session;
        let services = &session.services;
        let now = services.clock.now();
        let mut progress = self.0.course.lock();
        if progress.state.has_answer() {
            services.counters.add(Count::LateEvent);
            return Err(EmitError::Ended);
        }
        if progress.is_muted {
            return Ok(Sent::Muted);
        }
        if session.outbox.is_dead() {
            return Err(EmitError::Gone);
        }
        if session.outbox.is_full() {
            if !kind.is_droppable() {
                return Err(EmitError::Full);
            }
            progress.next_seq += 1;
            services.counters.add(Count::DroppedEvent);
            return Ok(Sent::Dropped);
        }
        fields.extend_from_slice(br#","seq":"#);
        fields.extend_from_slice(progress.next_seq.to_string().as_bytes());
        progress.next_seq += 1;
        // Under the lock of the end: no event follows the answer.
        let is_due = session.outbox.append_only(|out| {
            write_message(out, &services.ids.wire, now, wire_type, Some(&self.0.id), &fields);
        });
        drop(progress);
        if is_due {
            session.outbox.write_pending();
        } else {
            session.outbox.flush();
        }
        Ok(Sent::Queued)
    }

    fn emit_to_caller(&self, caller: &Caller, event: Event) -> Result<Sent, EmitError> {
        let counters = &self.0.session.services.counters;
        let progress = self.0.course.lock();
        if progress.state.has_answer() {
            counters.add(Count::LateEvent);
            return Err(EmitError::Ended);
        }
        let Some(events) = caller.events.as_ref().filter(|_| !progress.is_muted) else {
            return Ok(Sent::Muted);
        };
        match events.try_send(event) {
            Ok(()) => Ok(Sent::Queued),
            Err(TrySendError::Full(event)) if !event.kind.is_droppable() => Err(EmitError::Full),
            Err(TrySendError::Full(_)) => {
                counters.add(Count::DroppedEvent);
                Ok(Sent::Dropped)
            }
            Err(TrySendError::Closed(_)) => Ok(Sent::Muted),
        }
    }

    /// As [`emit`](Self::emit), but waits for room instead of failing with `Full`.
    ///
    /// # Errors
    /// As `emit`, without `Full`.
    pub async fn emit_wait(&self, event: Event) -> Result<Sent, EmitError> {
        loop {
            match self.emit(event.clone()) {
                Err(EmitError::Full) if !self.has_room().await => return Err(EmitError::Gone),
                Err(EmitError::Full) => {}
                other => return other,
            }
        }
    }

    /// Waits for room for events; false when nobody takes any.
    async fn has_room(&self) -> bool {
        match &self.0.asker {
            Asker::Client => self.0.session.outbox.room().await,
            Asker::Caller(Caller { events: Some(events), .. }) => events.reserve().await.is_ok(),
            Asker::Caller(_) => true,
        }
    }

    /// The session, for messages that outlive this request.
    pub fn session(&self) -> SessionHandle {
        SessionHandle::of(&self.0.session)
    }

    /// This plugin's own data for this session: made on first use, gone with the session, in no snapshot.
    /// What is to be kept is given by [`Plugin::save`](crate::plugin::Plugin::save).
    pub fn state<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let plugin = self.0.course.plugin().map_or(usize::MAX, |plugin| plugin.number);
        self.0.session.plugin_state(plugin, make)
    }

    /// Runs `hook` right after the answer is queued, so that what it pushes comes later on the wire.
    /// The hook is told whether the answer was a reply (true) or the request ended otherwise.
    pub fn after_reply(&self, hook: impl FnOnce(bool) + Send + 'static) {
        self.0.after_answer(Box::new(move |answered| hook(answered.reply.is_some())));
    }
}

#[derive(Serialize)]
struct EventBody<'a, T> {
    kind: &'a str,
    data: &'a T,
}

impl From<EmitError> for Error {
    fn from(error: EmitError) -> Self {
        Error::runtime(error.to_string())
    }
}

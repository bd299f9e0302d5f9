//! The messages that never wait for a worker: handshake, ping, cancel, shutdown, and the session gate.

use std::time::Duration;

use super::handshake::Greeting;
use super::hub::Served;
use super::resume::ResumeAsked;
use crate::codec::envelope::write_message;
use crate::codec::scan::Scanned;
use crate::codec::{Envelope, Incoming, decode, decode_noting, encode_fields};
use crate::counters::Count;
use crate::protocol::{
    Cancel, ErrorCode, HandshakeRequest, HandshakeResponse, Message, Pong, Shutdown,
};
use crate::request::CancelReason;
use crate::{Error, Result, Time};

/// The types that the kernel answers itself.
pub(crate) const CORE_TYPES: [&str; 12] = [
    "handshake/req",
    "ping",
    "cancel",
    "shutdown",
    "host/status/req",
    "host/reload/req",
    "host/snapshot/req",
    "host/stop/req",
    "host/explain/req",
    "host/cancel/req",
    "approval/list/req",
    "approval/answer/req",
];

/// A drain that is asked for never lasts longer than this, in seconds.
const MAX_DRAIN: u64 = 3600;

/// What became of a message that may be the kernel's.
#[derive(Debug)]
pub(super) enum Control {
    /// The kernel's; it is answered, or needs no answer.
    Done,
    /// The kernel's; the reader has to resume a session before it goes on.
    Resume(Box<ResumeAsked>),
    /// A plugin's.
    NotMine,
}

impl Served {
    /// Handles a message of the kernel itself. `is_first`: no other was taken before on this connection.
    pub(super) fn control(
        &self,
        envelope: &Envelope<'_>,
        scanned: &Scanned<'_>,
        now: Time,
        is_first: bool,
    ) -> Control {
        let kind: &str = &envelope.kind;
        let id = envelope.id.as_deref().unwrap_or_default();
        let incoming = Incoming::of(scanned);
        let refuse = |error: &Error| self.refuse(kind, id, error, scanned.text.len());
        match kind {
            "ping" if !self.session.life.is_ending() => self.pong(id, now),
            "handshake/req" if !self.session.life.is_ending() => {
                let (request, unknown) = decode_noting::<HandshakeRequest>(incoming);
                match request {
                    Ok(mut request) => {
                        request.unknown = unknown.names();
                        let asked = self.handshake(request, id, scanned.text.len(), now, is_first);
                        if let Some(asked) = asked {
                            return Control::Resume(Box::new(asked));
                        }
                    }
                    Err(error) => refuse(&error),
                }
            }
            // Also while the session ends: it may be what lets the drain come to its end.
            "cancel" => match self.authenticated().and_then(|()| decode::<Cancel>(incoming)) {
                Ok(cancel) => self.cancel(&cancel.req_id),
                Err(error) => refuse(&error),
            },
            "shutdown" => match self.authenticated().and_then(|()| decode::<Shutdown>(incoming)) {
                Ok(shutdown) => self.shut_down(shutdown.timeout, now),
                Err(error) => refuse(&error),
            },
            "error" => {
                let req_id = envelope.req_id.as_deref().unwrap_or_default();
                tracing::debug!(session = %self.session.id(), req_id, "the peer sent an error");
                self.hub.services.counters.add(Count::PeerError);
            }
            _ if (kind.starts_with("host/") || kind.starts_with("approval/"))
                && self.operate(kind, id, incoming, now) => {}
            _ => return Control::NotMine,
        }
        Control::Done
    }

    /// Whether a request may be served now.
    pub(super) fn gate(&self) -> Result<()> {
        self.may_look()?;
        self.hub.services.may_work()
    }

    /// Whether a question about the host may be answered now: also while it can do no work.
    pub(super) fn may_look(&self) -> Result<()> {
        if self.session.life.is_ending() {
            return Err(Error::new(ErrorCode::ShuttingDown, "the session is ending"));
        }
        self.authenticated()
    }

    fn authenticated(&self) -> Result<()> {
        if self.session.is_authenticated() {
            return Ok(());
        }
        let text = "this host has a token: send handshake/req with it first";
        Err(Error::new(ErrorCode::Unauthorized, text))
    }

    /// Queues a message of the kernel.
    pub(super) fn answer<M: Message + serde::Serialize>(&self, message: &M, req_id: &str) {
        let mut fields = Vec::with_capacity(128);
        if let Err(error) = encode_fields(message, &mut fields) {
            return self.refuse(M::TYPE, req_id, &Error::internal(error.to_string()), 0);
        }
        self.session.queue_fields(M::TYPE, &fields, Some(req_id));
        self.session.outbox.flush();
    }

    /// Queues a `handshake/resp`. It has no number among the lines of a session that its client made
    /// resumable: the client counts from there. A session that a front keeps numbers all that it sends,
    /// or the answer would be lost where no stream is attached.
    pub(super) fn answer_handshake(
        &self,
        response: &HandshakeResponse,
        req_id: &str,
        resume: Option<Greeting>,
    ) {
        let mut fields = Vec::with_capacity(512);
        if let Err(error) = encode_fields(response, &mut fields) {
            return self.refuse("handshake/req", req_id, &Error::internal(error.to_string()), 0);
        }
        let now = self.session.now();
        let kind = HandshakeResponse::TYPE;
        let is_numbered = self.session.keeps_answers()
            && resume.as_ref().is_none_or(|greeting| greeting.replay.is_none());
        if is_numbered {
            return self.session.queue_fields(kind, &fields, Some(req_id));
        }
        self.session.outbox.append_unnumbered(|out, ring| {
            write_message(out, &self.hub.services.ids.wire, now, kind, Some(req_id), &fields);
            let Some(Greeting { begun, replay, .. }) = resume else { return };
            if begun.is_some() {
                *ring = begun;
            }
            if let (Some(received), Some(ring)) = (replay, ring) {
                ring.replay(received, out);
            }
        });
    }

    fn pong(&self, id: &str, now: Time) {
        let uptime = now.since(self.hub.services.started).as_secs_f64();
        self.answer(&Pong { uptime_seconds: uptime }, id);
    }

    fn cancel(&self, req_id: &str) {
        match self.session.in_flight.find(req_id) {
            Some(request) => {
                request.end_early(CancelReason::Cancelled);
                self.hub.plugins.sweep();
            }
            None => self.hub.services.counters.add(Count::UnknownCancel),
        }
    }

    fn shut_down(&self, timeout: u64, now: Time) {
        tracing::debug!(session = %self.session.id(), timeout, "the agent asked for the end");
        self.session.drain(now.mono + Duration::from_secs(timeout.min(MAX_DRAIN)));
    }
}

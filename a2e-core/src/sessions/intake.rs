//! What is done with a line: the way of a message, as a list.

use std::sync::Arc;
use std::time::Duration;

use super::control::Control;
use super::hub::Served;
use super::pace::Rate;
use super::refuse::unhandled;
use super::resume::ResumeAsked;
use crate::codec::scan::{Key, Scanned, Slot, scan};
use crate::codec::{Envelope, EnvelopeError, Incoming};
use crate::counters::Count;
use crate::layers::{Hop, Trace, TraceHead};
use crate::protocol::ErrorCode;
use crate::request::{Accepted, KeptAnswer, Request};
use crate::request::{Asker, SessionPhase};
use crate::route::{Route, View, may_send};
use crate::run::Walk;
use crate::{Error, Result, Time};

/// Takes the lines of one session.
pub(super) struct Intake {
    served: Served,
    view: Arc<View>,
    view_generation: u64,
    rate: Rate,
    /// Whether nothing but refused handshakes was taken yet.
    is_first: bool,
    /// A handshake that has to be answered before another line is taken.
    pub(super) asked: Option<Box<ResumeAsked>>,
    /// What a front says of the trace, for lines that say nothing.
    pub(super) trace: Option<TraceHead>,
    /// The time, as of the last step.
    now: Time,
}

impl Intake {
    pub(super) fn new(served: &Served) -> Self {
        let (session, views) = (&served.session, &served.hub.plugins.views);
        let now = session.now();
        let limit = served.hub.services.config.limits.max_messages_per_s;
        Self {
            view_generation: views.generation(),
            view: views.of(session.identity().tenant.as_deref()),
            served: served.clone(),
            rate: Rate::new(limit, now.mono),
            is_first: true,
            asked: None,
            trace: None,
            now,
        }
    }

    /// Before a batch of lines: others leave what they have to write to it.
    pub(super) fn begin(&mut self) {
        let session = &self.served.session;
        session.outbox.hold();
        session.be_watched();
        self.now = session.now();
        let views = &self.served.hub.plugins.views;
        let generation = views.generation();
        if generation != self.view_generation {
            self.view = views.of(session.identity().tenant.as_deref());
            self.view_generation = generation;
        }
    }

    /// After a batch of lines: what was answered is written.
    pub(super) fn end(&mut self) {
        let session = &self.served.session;
        session.set_inline(None);
        session.outbox.release();
    }

    /// Whether the next line has to wait.
    pub(super) fn has_to_stop(&self) -> bool {
        let session = &self.served.session;
        let is_cut = session.life.phase() == SessionPhase::Closed || self.asked.is_some();
        is_cut || session.outbox.is_full() || session.has_too_many_bytes()
    }

    /// A line beyond the limit, whose rest is passed over.
    pub(super) fn too_long(&self) {
        let limit = self.served.hub.services.config.limits.max_line_bytes;
        let text = format!("a line is longer than {limit} bytes");
        // Its `req_id` was not read; by the limit a client knows which calls are meant.
        let refusal = Error::new(ErrorCode::LineTooLong, text).with_detail("limit", limit);
        self.served.refuse("", "", &refusal, limit);
    }

    /// The way of a message: line, request, route, layers and runner, answer, outbox.
    pub(super) fn take(&mut self, line: &[u8]) {
        // The whole line is checked before anything is done with it.
        match scan(line) {
            Ok(scanned) => self.take_checked(&scanned),
            Err(error) => {
                let refusal = Error::new(ErrorCode::ParseError, error.to_string())
                    .with_detail("offset", error.offset);
                self.served.refuse("", "", &refusal, line.len());
            }
        }
    }

    fn take_checked(&mut self, scanned: &Scanned<'_>) {
        let served = self.served.clone();
        // What stands in the envelope.
        let envelope = match Envelope::of(scanned) {
            Ok(envelope) => envelope,
            Err(refused) => return refuse_envelope(&served, scanned, &refused),
        };
        // An answer to a question of the host's.
        let req_id = envelope.req_id.as_deref();
        if served.session.asks.answer(req_id, &envelope.kind, scanned.text) {
            return;
        }
        // The kernel's own messages wait for nothing.
        let is_first = self.is_first;
        self.is_first &= envelope.kind == "handshake/req";
        match served.control(&envelope, scanned, self.now, is_first) {
            Control::Done => return self.look_again(&envelope.kind),
            Control::Resume(asked) => {
                self.asked = Some(asked);
                return self.look_again(&envelope.kind);
            }
            Control::NotMine => {}
        }
        // Repeats, before all else: an error under an id in flight would end that call for its sender.
        let id = envelope.id.as_deref();
        if id.is_some_and(|id| met_before(&served, id, &envelope.kind, scanned, self.now)) {
            return;
        }
        // The gate of the session, then the route, then what its principal may use.
        let route = self.view.table.get(&envelope.kind).cloned();
        let gate = self.may_pass(&served).and_then(|()| {
            let identity = served.session.identity();
            may_send(identity, &envelope.kind, route.as_deref(), Incoming::of(scanned))
                .inspect_err(|_| served.hub.services.counters.add(Count::Forbidden))
        });
        let refusal = match (gate, route) {
            (Ok(()), Some(route)) => return self.accept(&served, &route, scanned, id),
            (Ok(()), None) => unhandled(&envelope.kind, &self.view.table),
            (Err(refusal), _) => refusal,
        };
        served.refuse(&envelope.kind, id.unwrap_or_default(), &refusal, scanned.text.len());
    }

    /// After a message of the kernel: a handshake may have made the session a principal's, who sees other
    /// plugins.
    fn look_again(&mut self, kind: &str) {
        if kind == "handshake/req" {
            self.view =
                self.served.hub.plugins.views.of(self.served.session.identity().tenant.as_deref());
        }
    }

    fn may_pass(&mut self, served: &Served) -> Result<()> {
        served.gate()?;
        self.rate.take(self.now.mono).map_err(|wait: Duration| {
            served.hub.services.counters.add(Count::RateLimited);
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            Error::new(ErrorCode::Overloaded, "this session sends more messages than it may")
                .with_detail("retry_after_ms", ms)
        })
    }

    /// Starts a request. From here on it gets exactly one answer.
    fn accept(
        &mut self,
        served: &Served,
        route: &Arc<Route>,
        scanned: &Scanned<'_>,
        id: Option<&str>,
    ) {
        let (session, services) = (&served.session, &served.hub.services);
        let made;
        let id = if let Some(id) = id {
            id
        } else {
            // Ids can be foreseen; one that a client took already is passed over.
            made = std::iter::repeat_with(|| services.ids.wire.next_id())
                .find(|id| session.in_flight.find(id.as_str()).is_none())
                .unwrap_or_default();
            made.as_str()
        };
        let correlation_id = scanned.get(Key::CorrelationId);
        let hop = Hop { kind: &route.spec.wire_type, id, session: session.id().as_str() };
        let accepted = Accepted {
            id,
            spec: &route.spec,
            correlation_id: correlation_id.as_text(),
            trace: self.trace_of(scanned).map(|head| Box::new(Trace::of(head, hop))),
            detail: services.audit.describe(&route.spec, Incoming::of(scanned)),
            input_bytes: scanned.text.len(),
            at: self.now,
            deadline_us: route.deadline_us(&scanned.get(Key::Timeout), self.now),
        };
        let request = Request::new(session, Asker::Client, accepted);
        if session.keeps_answers() {
            request.note_line(scanned.text);
        }
        session.set_inline(Some(&request));
        Walk::on_reader(&served.hub.runners, request, route).begin(Some(Incoming::of(scanned)));
        // Not when it ended: its handler, or a hook after the answer, may have gone on since.
        self.now = session.now();
    }
}

impl Intake {
    /// What the line says of its trace, or else its front.
    #[inline]
    fn trace_of(&self, scanned: &Scanned<'_>) -> Option<TraceHead> {
        match scanned.get(Key::TraceParent) {
            Slot::Absent => self.trace.clone(),
            parent => {
                let state = scanned.get(Key::TraceState);
                let state = (state != Slot::Absent).then(|| state.as_text().unwrap_or_default());
                let counters = &self.served.hub.services.counters;
                TraceHead::read(counters, parent.as_text().unwrap_or_default(), state)
            }
        }
    }
}

/// Answers a line whose envelope is not good enough to be routed.
#[cold]
fn refuse_envelope(served: &Served, scanned: &Scanned<'_>, refused: &EnvelopeError) {
    let kind = scanned.get(Key::Kind);
    let kind = kind.as_text().unwrap_or_default();
    if kind == "error" {
        // An error is never answered with an error, whatever else is wrong with it.
        return served.hub.services.counters.add(Count::PeerError);
    }
    if refused.is_handshake && *refused.error.code() == ErrorCode::VersionMismatch {
        return served.refuse_version(&refused.req_id);
    }
    served.refuse(kind, &refused.req_id, &refused.error, scanned.text.len());
}

/// Deals with a line under an id that is known: a repeat of its request, in flight or ended, or
/// another request.
fn met_before(served: &Served, id: &str, kind: &str, scanned: &Scanned<'_>, now: Time) -> bool {
    let (session, counters) = (&served.session, &served.hub.services.counters);
    if let Some(first) = session.in_flight.find(id) {
        if first.is_repeated_by(scanned.text) {
            counters.add(Count::Repeated);
        } else {
            refuse_duplicate(served, id, kind, scanned.text.len());
        }
        return true;
    }
    match session.kept_answer(id, scanned.text, now) {
        Some(KeptAnswer::Answer(line)) => {
            counters.add(Count::AnsweredAgain);
            session.outbox.append(|out| out.extend_from_slice(&line));
            true
        }
        Some(KeptAnswer::Used) => {
            refuse_duplicate(served, id, kind, scanned.text.len());
            true
        }
        None => false,
    }
}

#[cold]
fn refuse_duplicate(served: &Served, id: &str, kind: &str, input_bytes: usize) {
    let text = "this id is in use by another request of the session";
    let refusal = Error::new(ErrorCode::DuplicateRequest, text).with_detail("id", id);
    served.refuse(kind, "", &refusal, input_bytes);
}

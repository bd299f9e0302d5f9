//! The handshake: token, capabilities, resume, and the pace at which wrong tokens are answered.

use std::time::Duration;

use super::hub::Served;
use super::resume::ResumeAsked;
use crate::Time;
use crate::audit::{AuditRecord, RecordOutcome};
use crate::config::Secret;
use crate::counters::Count;
use crate::out::Ring;
use crate::protocol::control::CapabilityMetadata;
use crate::protocol::{
    AcceptedCapability, CapabilityName, HandshakeRequest, HandshakeResponse, HostFacts,
};
use crate::request::{Hold, SessionPhase};

/// Advice to agents: how many requests to keep in flight.
const ADVISED_PARALLEL: u32 = 4;

/// The name of an agent is kept as long as its session, and stands in each audit record.
const MAX_AGENT_ID: usize = 1024;

/// What the answer to a handshake with `resume` says and begins.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) is_resumed: bool,
    pub(super) gap: i64,
    /// The ring that numbers the lines behind the answer.
    pub(super) begun: Option<Box<Ring>>,
    /// Send every kept line after the first of this many behind the answer.
    pub(super) replay: Option<u64>,
}

impl Served {
    /// Answers a handshake, or gives back what has to be done before it can be answered.
    pub(super) fn handshake(
        &self,
        request: HandshakeRequest,
        id: &str,
        input_bytes: usize,
        now: Time,
        is_first: bool,
    ) -> Option<ResumeAsked> {
        let matches = |token: &Secret| token.matches(&request.auth_token);
        let is_operator = self.hub.services.config.operator_token.as_ref().is_some_and(matches);
        if let Some(token) = &self.hub.services.config.auth_token
            && !self.session.identity.is_authenticated()
            && !matches(token)
            && !is_operator
        {
            self.record_refusal(id, "unauthorized", input_bytes, now);
            self.refuse_slowly(id);
            return None;
        }
        if request.agent_id.len() > MAX_AGENT_ID {
            let text = format!("longer than {MAX_AGENT_ID} bytes");
            let error = crate::Error::schema("agent_id", text);
            self.refuse("handshake/req", id, &error, input_bytes);
            return None;
        }
        self.session.authenticate(is_operator, &request.agent_id);
        match request.resume.clone() {
            None => self.greet(&request, id, None),
            Some(resume) if resume.session_id.is_empty() => self.greet_fresh(&request, id),
            Some(resume) if is_first && self.session.life.phase() == SessionPhase::New => {
                return Some(ResumeAsked { request, resume, id: id.to_owned(), input_bytes });
            }
            Some(_) => {
                self.hub.services.counters.add(Count::ResumeRefused);
                self.greet_fresh(&request, id);
            }
        }
        None
    }

    /// Answers a good handshake.
    pub(super) fn greet(&self, request: &HandshakeRequest, id: &str, resume: Option<Greeting>) {
        let response = HandshakeResponse {
            session_id: self.session.id().to_string(),
            accepted_caps: self.negotiate(&request.agent_caps),
            max_parallel: ADVISED_PARALLEL,
            ok: true,
            reason: String::new(),
            host: Some(self.host_facts()),
            resumed: resume.as_ref().map(|it| it.is_resumed),
            gap: resume.as_ref().map(|it| it.gap),
        };
        self.answer_handshake(&response, id, resume);
        // Pushes to all sessions come behind the answer, and behind what is sent again.
        self.session.life.advance(SessionPhase::Ready);
        self.session.outbox.flush();
    }

    /// One entry per serving plugin whose capability was asked for, in configuration order.
    fn negotiate(&self, asked: &[String]) -> Vec<AcceptedCapability> {
        let asked: Vec<CapabilityName> =
            asked.iter().map(|name| CapabilityName::parse(name)).collect();
        self.session.note_used(asked.clone());
        let view = self.hub.plugins.views.of(self.session.identity.tenant.as_deref());
        view.endpoints
            .iter()
            .filter(|endpoint| endpoint.is_serving())
            .map(|endpoint| (endpoint.order, &endpoint.label))
            .filter(|(_, label)| {
                label.capability.is_announceable() && asked.contains(&label.capability)
            })
            .map(|(order, label)| AcceptedCapability {
                capability: label.capability.to_string(),
                enabled: true,
                metadata: CapabilityMetadata {
                    name: label.name.to_string(),
                    kind: label.capability.to_string(),
                    priority: order.priority,
                    exclusive: order.is_exclusive,
                },
            })
            .collect()
    }

    fn host_facts(&self) -> HostFacts {
        HostFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            audit: self.hub.services.audit.mode().to_owned(),
            isolation: self.hub.plugins.isolation().to_owned(),
        }
    }

    fn refusal(reason: &str) -> HandshakeResponse {
        HandshakeResponse {
            session_id: String::new(),
            accepted_caps: Vec::new(),
            max_parallel: ADVISED_PARALLEL,
            ok: false,
            reason: reason.to_owned(),
            host: None,
            resumed: None,
            gap: None,
        }
    }

    /// A peer of another major version.
    pub(super) fn refuse_version(&self, id: &str) {
        self.record_refusal(id, "version_mismatch", 0, self.session.now());
        self.answer_handshake(&Self::refusal("version_mismatch"), id, None);
        self.session.outbox.flush();
    }

    /// Wrong tokens are answered at most ten times a second per peer. The wait is a task of its own,
    /// so it holds up no other message.
    fn refuse_slowly(&self, id: &str) {
        let wait = self.hub.tokens.next_slot(&self.session.peer, self.session.now());
        let (served, id) = (self.clone(), id.to_owned());
        let Some(wait) = wait else {
            // More wait already than anyone honest sends; the session is not worth keeping.
            self.session.drain(Duration::ZERO);
            return;
        };
        let hold = Hold::new(&self.session);
        self.hub.services.runtime.spawn(async move {
            // The session stands until this is told.
            let _told = hold;
            tokio::time::sleep(wait).await;
            served.answer_handshake(&Self::refusal("auth_failed"), &id, None);
            served.session.outbox.flush();
        });
    }

    fn record_refusal(&self, id: &str, code: &str, input_bytes: usize, now: Time) {
        self.hub.services.audit.append(&AuditRecord {
            session_id: self.session.id().as_str(),
            req_id: id,
            kind: "handshake/req",
            outcome: RecordOutcome::Refused,
            error_code: Some(code),
            input_bytes,
            ..AuditRecord::at(now)
        });
    }
}

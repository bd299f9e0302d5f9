//! The handshake: token, capabilities, resume, and the pace at which wrong tokens are answered.

use std::time::Duration;

use super::hub::{Hub, Served};
use super::resume::ResumeAsked;
use crate::Time;
use crate::audit::{AuditRecord, RecordOutcome};
use crate::config::Secret;
use crate::counters::Count;
use crate::out::Ring;
use crate::protocol::control::CapabilityMetadata;
use crate::protocol::{
    AcceptedCapability, CapabilityName, ErrorCode, HandshakeRequest, HandshakeResponse, HostFacts,
};
use crate::request::{Hold, SessionPhase};
use crate::transport::{Identity, Peer, Rights};
use crate::{Error, Result};

/// Advice to agents: how many requests to keep in flight.
const ADVISED_PARALLEL: u32 = 4;

/// The name of an agent is kept as long as its session, and stands in each audit record.
const MAX_AGENT_ID: usize = 1024;

/// The principals of the tokens that stand by themselves in the configuration.
const OPERATOR: &str = "token:operator";
const AGENT: &str = "token:agent";

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

impl Hub {
    /// The identity behind a token. A wrong one is audited, and answered at most ten times a second
    /// per peer (R27, R62).
    pub(crate) async fn identify(&self, token: &str, peer: &Peer) -> Result<Identity> {
        if let Some(identity) = self.owner_of(token) {
            return Ok(identity);
        }
        let now = self.services.clock.now();
        self.services.audit.append(&AuditRecord {
            kind: "handshake/req",
            outcome: RecordOutcome::Refused,
            error_code: Some("unauthorized"),
            ..AuditRecord::at(now)
        });
        // No reply of a session carries it along.
        self.services.audit.log().begin_commit();
        let Some(wait) = self.tokens.next_slot(peer, now) else {
            let text = "too many wrong tokens come from this peer";
            return Err(Error::new(ErrorCode::Overloaded, text));
        };
        tokio::time::sleep(wait).await;
        Err(Error::new(ErrorCode::Unauthorized, "the token is none of this host's"))
    }
}

impl Hub {
    /// Whom a token stands for.
    fn owner_of(&self, token: &str) -> Option<Identity> {
        let config = &self.services.config;
        let is = |configured: &Option<Secret>| {
            configured.as_ref().is_some_and(|configured| configured.matches(token))
        };
        if is(&config.operator_token) {
            return Some(Identity::of(OPERATOR).with_rights(Rights::all()));
        }
        if is(&config.auth_token) {
            return Some(Identity::of(AGENT));
        }
        config.principal_of(token).cloned()
    }
}

/// Why a handshake is refused.
enum NotYou {
    /// Its token is none, or not that of the session's principal.
    WrongToken,
    /// The principal has too many sessions.
    TooMany(Error),
}

impl Served {
    /// Finds out whose the session is by the token of a handshake; true for the operator's.
    fn recognize(&self, token: &str) -> Result<bool, NotYou> {
        let (session, config) = (&self.session, &self.hub.services.config);
        let owner = self.hub.owner_of(token);
        let is_operator = owner.as_ref().is_some_and(|it| it.principal == OPERATOR);
        if !config.needs_token() || session.is_known_to_front() {
            return Ok(is_operator);
        }
        let owner = owner.ok_or(NotYou::WrongToken)?;
        if session.identity().is_authenticated() {
            let is_same = session.identity().principal == owner.principal;
            return if is_same { Ok(is_operator) } else { Err(NotYou::WrongToken) };
        }
        // Who knows the one token of all is known by the connection, as before there were principals.
        let is_one_of_many = !config.server.principals.is_empty() && owner.principal != AGENT;
        if is_one_of_many {
            if session.is_authenticated() {
                // It was served as another already.
                return Err(NotYou::WrongToken);
            }
            self.hub.services.live.adopt(session, owner).map_err(NotYou::TooMany)?;
        }
        Ok(is_operator)
    }

    /// Answers a handshake, or gives back what has to be done before it can be answered.
    pub(super) fn handshake(
        &self,
        request: HandshakeRequest,
        id: &str,
        input_bytes: usize,
        now: Time,
        is_first: bool,
    ) -> Option<ResumeAsked> {
        if request.agent_id.len() > MAX_AGENT_ID {
            let text = format!("longer than {MAX_AGENT_ID} bytes");
            let error = Error::schema("agent_id", text);
            self.refuse("handshake/req", id, &error, input_bytes);
            return None;
        }
        let is_operator = match self.recognize(&request.auth_token) {
            Ok(is_operator) => is_operator,
            Err(NotYou::WrongToken) => {
                self.record_refusal(id, "unauthorized", input_bytes, now);
                self.refuse_slowly(id);
                return None;
            }
            Err(NotYou::TooMany(error)) => {
                self.refuse("handshake/req", id, &error, input_bytes);
                return None;
            }
        };
        self.session.authenticate(is_operator, &request.agent_id);
        self.session.note_client(&request.client_features);
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
            code: None,
            host: Some(self.host_facts()),
            resumed: resume.as_ref().map(|it| it.is_resumed),
            gap: resume.as_ref().map(|it| it.gap),
            ignored: request.unknown.clone(),
        };
        self.answer_handshake(&response, id, resume);
        // Pushes to all sessions come behind the answer, and behind what is sent again.
        self.session.life.advance(SessionPhase::Ready);
        self.session.outbox.flush();
    }

    /// One entry per serving plugin whose capability was asked for, in configuration order.
    fn negotiate(&self, asked: &[String]) -> Vec<AcceptedCapability> {
        let mut asked: Vec<CapabilityName> =
            asked.iter().map(|name| CapabilityName::parse(name)).collect();
        let identity = self.session.identity();
        let view = self.hub.plugins.views.of(identity.tenant.as_deref());
        let open = || view.endpoints.iter().filter(|endpoint| endpoint.is_open_to(identity));
        if identity.allowed.is_some() {
            asked.retain(|asked| open().any(|it| it.label.capability == *asked));
        }
        self.session.note_used(asked.clone());
        open()
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

    fn refusal(reason: &str, code: ErrorCode) -> HandshakeResponse {
        HandshakeResponse {
            session_id: String::new(),
            accepted_caps: Vec::new(),
            max_parallel: ADVISED_PARALLEL,
            ok: false,
            reason: reason.to_owned(),
            code: Some(code),
            host: None,
            resumed: None,
            gap: None,
            ignored: Vec::new(),
        }
    }

    /// A peer of another major version.
    pub(super) fn refuse_version(&self, id: &str) {
        self.record_refusal(id, "version_mismatch", 0, self.session.now());
        let refusal = Self::refusal("version_mismatch", ErrorCode::VersionMismatch);
        self.answer_handshake(&refusal, id, None);
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
            let refusal = Self::refusal("auth_failed", ErrorCode::Unauthorized);
            served.answer_handshake(&refusal, &id, None);
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

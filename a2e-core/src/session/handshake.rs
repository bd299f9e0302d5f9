//! The handshake: token, capabilities, resume, and the pace at which wrong tokens are answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::resume::{Asked, Ring};
use super::{Phase, Session};
use crate::Time;
use crate::audit::{AuditRecord, Outcome};
use crate::config::Secret;
use crate::protocol::control::CapabilityMetadata;
use crate::protocol::{
    AcceptedCapability, CapabilityName, HandshakeRequest, HandshakeResponse, HostFacts,
};

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
    /// Send every kept line after so many behind the answer.
    pub(super) replay: Option<u64>,
}

impl Session {
    /// Answers a handshake, or gives back what has to be done before it can be answered.
    pub(super) fn handshake(
        self: &Arc<Self>,
        request: HandshakeRequest,
        id: &str,
        input_bytes: usize,
        now: Time,
        is_first: bool,
    ) -> Option<Asked> {
        let matches = |token: &Secret| token.matches(&request.auth_token);
        let is_operator = self.kernel.config.operator_token.as_ref().is_some_and(matches);
        if let Some(token) = &self.kernel.config.auth_token
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
        self.is_authenticated.store(true, Ordering::Release);
        self.is_operator.store(is_operator, Ordering::Release);
        if !request.agent_id.is_empty() {
            // The first name stays: audit records of one session name one agent.
            self.agent_id.get_or_init(|| request.agent_id.as_str().into());
        }
        match request.resume.clone() {
            None => self.greet(&request, id, None),
            Some(resume) if resume.session_id.is_empty() => self.greet_fresh(&request, id),
            Some(resume) if is_first && self.phase() == Phase::New => {
                return Some(Asked { request, resume, id: id.to_owned(), input_bytes });
            }
            Some(_) => {
                self.kernel.counters.resumes_refused.add();
                self.greet_fresh(&request, id);
            }
        }
        None
    }

    /// Answers a good handshake.
    pub(super) fn greet(
        self: &Arc<Self>,
        request: &HandshakeRequest,
        id: &str,
        resume: Option<Greeting>,
    ) {
        let response = HandshakeResponse {
            session_id: self.id().to_string(),
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
        self.advance(Phase::Ready);
        self.flush_unless_reading();
    }

    /// One entry per serving plugin whose capability was asked for, in configuration order.
    fn negotiate(&self, asked: &[String]) -> Vec<AcceptedCapability> {
        let asked: Vec<CapabilityName> =
            asked.iter().map(|name| CapabilityName::parse(name)).collect();
        self.note_used(asked.clone());
        self.kernel
            .serving_plugins()
            .iter()
            .filter(|slot| slot.capability.is_announceable() && asked.contains(&slot.capability))
            .map(|slot| AcceptedCapability {
                capability: slot.capability.to_string(),
                enabled: true,
                metadata: CapabilityMetadata {
                    name: slot.name.to_string(),
                    kind: slot.capability.to_string(),
                    priority: slot.priority,
                    exclusive: slot.is_exclusive,
                },
            })
            .collect()
    }

    fn host_facts(&self) -> HostFacts {
        HostFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            audit: self.kernel.audit_mode().to_owned(),
            isolation: self.kernel.isolation().to_owned(),
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
        self.record_refusal(id, "version_mismatch", 0, self.now());
        self.answer_handshake(&Self::refusal("version_mismatch"), id, None);
        self.flush_unless_reading();
    }

    /// Wrong tokens are answered at most ten times a second per peer. The wait is a task of its own,
    /// so it holds up no other message.
    fn refuse_slowly(self: &Arc<Self>, id: &str) {
        let wait = self.kernel.wrong_tokens.next_slot(&self.peer, self.now());
        let (session, id) = (Arc::clone(self), id.to_owned());
        let Some(wait) = wait else {
            // More wait already than anyone honest sends; the session is not worth keeping.
            self.drain(Duration::ZERO);
            return;
        };
        let hold = super::Hold::new(self);
        self.kernel.runtime.spawn(async move {
            // The session stands until this is told.
            let _told = hold;
            tokio::time::sleep(wait).await;
            session.answer_handshake(&Self::refusal("auth_failed"), &id, None);
            session.flush_unless_reading();
        });
    }

    fn record_refusal(&self, id: &str, code: &str, input_bytes: usize, now: Time) {
        self.kernel.audit(&AuditRecord {
            session_id: self.id().as_str(),
            req_id: id,
            kind: "handshake/req",
            outcome: Outcome::Refused,
            error_code: Some(code),
            input_bytes,
            ..AuditRecord::at(now)
        });
    }
}

/// When the next wrong token of a peer is answered.
#[derive(Debug, Default)]
pub(crate) struct WrongTokens {
    /// Monotonic time of the next free slot by peer; guarded for a look-up. At most [`MAX_PEERS`].
    next: std::sync::Mutex<std::collections::HashMap<String, Duration>>,
}

/// Ten a second.
const SPACING: Duration = Duration::from_millis(100);

/// A peer that has more than this waiting is cut.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Peers that are remembered; slots of the past are forgotten first.
const MAX_PEERS: usize = 4096;

impl WrongTokens {
    /// How long the answer has to wait; `None` when too many wait already.
    pub(crate) fn next_slot(&self, peer: &crate::transport::Peer, now: Time) -> Option<Duration> {
        // Ports change with each attempt, hosts do not.
        let name = peer.name.rsplit_once(':').map_or(peer.name.as_str(), |(host, _)| host);
        let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if next.len() >= MAX_PEERS {
            next.retain(|_, slot| *slot > now.mono);
        }
        if next.len() >= MAX_PEERS {
            return None;
        }
        let slot = next.entry(name.to_owned()).or_insert(now.mono);
        let at = (*slot).max(now.mono);
        let wait = at.saturating_sub(now.mono);
        if wait > MAX_WAIT {
            return None;
        }
        *slot = at + SPACING;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Peer;

    #[test]
    fn r27_wrong_tokens_are_spaced_by_peer_and_bounded() {
        let tokens = WrongTokens::default();
        let now = Time::default();
        let peer = |port: u16| Peer::named(format!("tcp 10.0.0.1:{port}"));
        let waits: Vec<_> = (0..4).map(|port| tokens.next_slot(&peer(port), now)).collect();
        let expected = [0, 100, 200, 300].map(|ms| Some(Duration::from_millis(ms)));
        assert_eq!(waits, expected);
        let other = tokens.next_slot(&Peer::named("unix uid=1"), now);
        assert_eq!(other, Some(Duration::ZERO), "one peer does not slow another");
        let refused = (0..200).filter(|_| tokens.next_slot(&peer(1), now).is_none()).count();
        assert!(refused > 90, "a flood is not queued without end: {refused}");
    }
}

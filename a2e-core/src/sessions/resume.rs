//! A handshake that asks for `resume`: takes the session over, or makes the fresh one resumable.

use super::handshake::Greeting;
use super::hub::Served;
use crate::Error;
use crate::counters::Count;
use crate::lifecycle::keep::{Principal, Resumable};
use crate::out::Ring;
use crate::protocol::{ErrorCode, HandshakeRequest, Resume, SessionId};
use crate::request::drained;

/// A resume that the reader is to carry out before it takes another line.
#[derive(Debug)]
pub(super) struct ResumeAsked {
    pub(super) request: HandshakeRequest,
    pub(super) resume: Resume,
    /// The id of the request.
    pub(super) id: String,
    pub(super) input_bytes: usize,
}

impl Served {
    /// Answers a handshake with `resume` that is not to go on with another session.
    pub(super) fn greet_fresh(&self, request: &HandshakeRequest, id: &str) {
        let (session, kept) = (&self.session, &self.hub.plugins.kept);
        let mut begun = None;
        if kept.of(session).is_none() {
            let principal = self.principal(session.id(), request);
            // One that a front keeps has numbered its lines from the first on.
            begun = session.outbox.numbered().is_none().then(|| Box::new(self.new_ring()));
            kept.list(Resumable::live(session, principal));
            kept.is_new.notify_one();
        }
        let resume = Some(Greeting { is_resumed: false, gap: -1, begun, replay: None });
        self.greet(request, id, resume);
    }

    fn principal(&self, id: &SessionId, request: &HandshakeRequest) -> Principal {
        let session = &self.session;
        Principal::new(id, session.identity(), &session.peer, &request.auth_token)
    }

    fn new_ring(&self) -> Ring {
        let budget = &self.hub.plugins.kept.budget;
        Ring::new(budget, self.hub.services.config.limits.max_resume_bytes)
    }

    /// Goes on with an earlier session if this peer may, and answers.
    pub(super) async fn resume(&self, asked: ResumeAsked) {
        let (session, counters) = (&self.session, &self.hub.services.counters);
        let taken = tokio::select! {
            taken = self.take_over(&asked) => taken,
            () = session.outbox.death() => return,
            // The host is ending, or this session was told to.
            () = drained(session) => {
                let error = Error::new(ErrorCode::ShuttingDown, "the session is ending");
                return self.refuse("handshake/req", &asked.id, &error, asked.input_bytes);
            }
        };
        let Some(gap) = taken else {
            counters.add(Count::ResumeRefused);
            tracing::debug!(session = %session.id(), peer = %session.peer.name, "resume refused");
            return self.greet_fresh(&asked.request, &asked.id);
        };
        // From here on it is the old session, whatever becomes of this connection.
        self.hub.plugins.restore_session(session).await;
        counters.add(Count::Resume);
        counters.add_many(Count::ResumeLineLost, u64::try_from(gap).unwrap_or(0));
        tracing::debug!(session = %session.id(), peer = %session.peer.name, gap, "session resumed");
        let replay = (gap >= 0).then_some(asked.resume.last_seq);
        let resume = Some(Greeting { is_resumed: true, gap, begun: None, replay });
        self.greet(&asked.request, &asked.id, resume);
    }

    /// Becomes the session that is asked for; gives the gap, or `None` when that cannot be.
    async fn take_over(&self, asked: &ResumeAsked) -> Option<i64> {
        let Resume { session_id, last_seq } = &asked.resume;
        // Ids are given out by us: what does not look like one is not looked up.
        let is_id = session_id.len() == 32
            && session_id.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'a'..=b'f'));
        if !is_id {
            return None;
        }
        let (session, plugins) = (&self.session, &self.hub.plugins);
        let found = match plugins.kept.find(session_id) {
            Some(found) => found,
            None => plugins.stored_session(session_id).await?,
        };
        let own = self.principal(&found.id, &asked.request);
        if !own.is(&found.principal) || !found.may_resume(*last_seq, session.now().mono) {
            return None;
        }
        let found = plugins.kept.list(found);
        let ring = found.take(session, *last_seq).await?;
        // No wait from here to the end: the session is never without a connection that has it.
        let gap = match &ring {
            // The room was checked when it was claimed.
            Some(ring) => i64::try_from(ring.gap(*last_seq).unwrap_or(0)).unwrap_or(i64::MAX),
            None => -1,
        };
        let ring = ring.unwrap_or_else(|| Box::new(self.new_ring()));
        session.outbox.begin_ring(ring);
        self.hub.services.live.rename(session, &found.id);
        Some(gap)
    }
}

//! A handshake that asks for `resume`: takes the session over, or makes the fresh one resumable.

mod principal;
mod resumable;
mod ring;

use std::sync::Arc;
use std::time::Duration;

use super::Session;
use super::handshake::Greeting;
use super::serve::drained;
use crate::Error;
use crate::dispatch::CancelReason;
use crate::protocol::{ErrorCode, HandshakeRequest, Resume};

pub(crate) use principal::Principal;
pub(crate) use resumable::{Ending, Kept, Resumable, Resumables};
pub(crate) use ring::Ring;

/// A resume that the reader is to carry out before it takes another line.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: HandshakeRequest,
    pub(super) resume: Resume,
    /// The id of the request.
    pub(super) id: String,
    pub(super) input_bytes: usize,
}

impl Session {
    /// The session over all its connections; `None` where it cannot be resumed.
    pub(crate) fn resumable(&self) -> Option<&Arc<Resumable>> {
        self.resumable.get()
    }

    /// Answers a handshake with `resume` that is not to go on with another session.
    pub(super) fn greet_fresh(self: &Arc<Self>, request: &HandshakeRequest, id: &str) {
        let mut begun = None;
        self.resumable.get_or_init(|| {
            let principal = Principal::new(&self.first_id, &self.peer, &request.auth_token);
            begun = Some(Box::new(self.new_ring()));
            let fresh = Resumable::live(self, principal);
            let listed = self.kernel.resumables.list(fresh);
            self.kernel.resumables.is_new.notify_one();
            listed
        });
        let resume = Some(Greeting { is_resumed: false, gap: -1, begun, replay: None });
        self.greet(request, id, resume);
    }

    fn new_ring(&self) -> Ring {
        let kernel = &self.kernel;
        Ring::new(&kernel.resumables.budget, kernel.config.limits.max_resume_bytes)
    }

    /// Goes on with an earlier session if this peer may, and answers.
    pub(super) async fn resume(self: &Arc<Self>, asked: Asked) {
        let counters = &self.kernel.counters;
        let taken = tokio::select! {
            taken = self.take_over(&asked) => taken,
            () = self.sink.death() => return,
            // The host is ending, or this session was told to.
            () = drained(self) => {
                let error = Error::new(ErrorCode::ShuttingDown, "the session is ending");
                return self.refuse("handshake/req", &asked.id, &error, asked.input_bytes);
            }
        };
        let Some(gap) = taken else {
            counters.resumes_refused.add();
            tracing::debug!(session = %self.id(), peer = %self.peer.name, "resume refused");
            return self.greet_fresh(&asked.request, &asked.id);
        };
        // From here on it is the old session, whatever becomes of this connection.
        self.kernel.restore_session(self).await;
        counters.resumes.add();
        counters.resume_lines_lost.add_many(u64::try_from(gap).unwrap_or(0));
        tracing::debug!(session = %self.id(), peer = %self.peer.name, gap, "session resumed");
        let replay = (gap >= 0).then_some(asked.resume.last_seq);
        let resume = Some(Greeting { is_resumed: true, gap, begun: None, replay });
        self.greet(&asked.request, &asked.id, resume);
    }

    /// Becomes the session that is asked for; gives the gap, or `None` when that cannot be.
    async fn take_over(self: &Arc<Self>, asked: &Asked) -> Option<i64> {
        let Resume { session_id, last_seq } = &asked.resume;
        // Ids are given out by us: what does not look like one is not looked up.
        let is_id = session_id.len() == 32
            && session_id.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'a'..=b'f'));
        if !is_id {
            return None;
        }
        let kernel = &self.kernel;
        let found = match kernel.resumables.find(session_id) {
            Some(found) => found,
            None => kernel.stored_session(session_id).await?,
        };
        let own = Principal::new(&found.id, &self.peer, &asked.request.auth_token);
        if !own.is(&found.principal) || !found.may_resume(*last_seq, self.now().mono) {
            return None;
        }
        let found = kernel.resumables.list(found);
        let ring = found.take(self, *last_seq).await?;
        // No wait from here to the end: the session is never without one who has it.
        let gap = match &ring {
            // The room was checked when it was claimed.
            Some(ring) => i64::try_from(ring.gap(*last_seq).unwrap_or(0)).unwrap_or(i64::MAX),
            None => -1,
        };
        let ring = ring.unwrap_or_else(|| Box::new(self.new_ring()));
        self.sink.append_unnumbered(|_, slot| *slot = Some(ring));
        kernel.rename_session(self, found);
        Some(gap)
    }

    /// Another connection takes this session over: this one is cut.
    fn give_way(self: &Arc<Self>) {
        if !self.sink.is_dead() {
            tracing::debug!(session = %self.id(), "another connection takes the session over");
            self.sink.kill();
        }
        self.end_all(CancelReason::ClientGone);
    }

    /// Notes that this connection goes on with that session.
    pub(crate) fn become_resumed(&self, resumed: Arc<Resumable>) {
        // A connection resumes once, before anything could have made it resumable.
        let _first = self.resumable.set(resumed);
    }

    /// Leaves the session to whoever resumes it, for as long as sessions are kept.
    pub(crate) fn park(&self) {
        let Some(resumable) = self.resumable() else { return };
        let kernel = &self.kernel;
        let mut ring = self.sink.take_ring();
        if let Some(ring) = &mut ring {
            ring.shrink();
        }
        let now = self.now().mono;
        let ttl: Duration = kernel.config.session_ttl;
        resumable.park(self, ring, now.saturating_add(ttl));
        kernel.resumables.bound(kernel.config.limits.max_sessions, now);
    }
}

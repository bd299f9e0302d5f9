//! The sessions of a host as its status shows them.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::Time;
use crate::protocol::host::{CallStatus, SessionStatus};
use crate::request::{Request, Session};

/// Sessions that are shown, and requests of each.
const SESSIONS: usize = 200;
const CALLS: usize = 20;

/// The sessions with most in flight.
pub(super) fn busiest(sessions: &[Arc<Session>], now: Time) -> Vec<SessionStatus> {
    let mut all: Vec<&Arc<Session>> = sessions.iter().collect();
    all.sort_by_cached_key(|session| Reverse((session.in_flight.len(), session.outbox.unsent())));
    all.into_iter().take(SESSIONS).map(|session| look(session, now)).collect()
}

fn look(session: &Session, now: Time) -> SessionStatus {
    let mut requests = session.in_flight.all();
    requests.sort_by_key(|request| request.accepted.mono);
    SessionStatus {
        session_id: session.id().to_string(),
        peer: session.peer.name.clone(),
        principal: session.identity().principal.clone(),
        agent_id: session.agent_id_ref().unwrap_or_default().to_owned(),
        unsent_bytes: session.outbox.unsent(),
        in_flight: requests.iter().take(CALLS).map(|request| call(request, now)).collect(),
    }
}

fn call(request: &Request, now: Time) -> CallStatus {
    CallStatus {
        req_id: request.id.to_string(),
        message_type: request.spec.wire_type.to_string(),
        plugin: request.course.plugin().map(|it| it.name.to_string()).unwrap_or_default(),
        age_seconds: now.since(request.accepted).as_secs_f64(),
    }
}

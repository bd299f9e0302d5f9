//! Gives each line that was read to the call or handler that waits for it.

use std::sync::Arc;

use a2e_core::codec::scan::Scanned;
use a2e_core::codec::{Incoming, decode};
use a2e_core::protocol::{ErrorBody, ErrorCode, Role};

use crate::error::{ClientError, HostError};
use crate::link::Link;
use crate::link::mailbox::Put;
use crate::link::pending::{Listener, Outcome};
use crate::message::Received;

pub(crate) fn bad_line(link: &Link, problem: &str) {
    link.counters.bad_lines.add();
    tracing::warn!(problem, "the host sent a line that is no message");
}

/// The three tests, in order: a call that waits, its events, a handler of the type.
/// `number` is that of the connection.
pub(crate) fn route(
    link: &Link,
    number: u64,
    wire_type: &str,
    req_id: &str,
    scanned: &Scanned<'_>,
) {
    let received = || Received::new(wire_type, Incoming::of(scanned).to_body());
    match Role::of(wire_type) {
        Role::Final if !req_id.is_empty() => {
            let is_echo =
                || link.pending.is_echo_of_loss(req_id, &outcome(wire_type, scanned), number);
            if wire_type == "error" && is_echo() {
                return link.counters.late_replies.add();
            }
            if link.pending.complete(req_id, || outcome(wire_type, scanned)) {
                return link.counters.answered.add();
            }
            if link.ids.is_own(req_id) {
                tracing::debug!(wire_type, req_id, "nobody waits for this answer any more");
                return link.counters.late_replies.add();
            }
        }
        Role::Event => {
            if let Listener::Events(events) = link.pending.listener(req_id) {
                return deliver_event(link, req_id, events.put_event(received()));
            }
        }
        Role::Final if wire_type == "error" => note_error(link, scanned),
        Role::Final | Role::Push => {}
    }
    if !link.pushes.deliver(wire_type, received, &link.counters) {
        tracing::debug!(wire_type, req_id, "nobody takes this message");
        link.counters.unclaimed.add();
    }
}

pub(crate) fn outcome(wire_type: &str, scanned: &Scanned<'_>) -> Outcome {
    let incoming = Incoming::of(scanned);
    if wire_type != "error" {
        return Ok(Received::new(wire_type, incoming.to_body()));
    }
    Err(match decode::<ErrorBody>(incoming) {
        Ok(body) => ClientError::Remote(Arc::new(HostError::new(body, scanned.text))),
        Err(error) => ClientError::protocol(format!("`error`: {}", error.message())),
    })
}

fn deliver_event(link: &Link, req_id: &str, put: Put) {
    match put {
        Put::Taken { dropped } => link.counters.events_dropped.add_many(dropped),
        Put::Dropped => link.counters.events_dropped.add(),
        Put::Full { held } => {
            if link.pending.complete(req_id, || Err(ClientError::EventsNotTaken { held })) {
                link.cancel(req_id);
            }
        }
    }
}

/// An error that names no call. A line that was too long could not be read, so the host does not know
/// its id; by the limit that it tells, every call whose request is longer is meant.
fn note_error(link: &Link, scanned: &Scanned<'_>) {
    let Ok(body) = decode::<ErrorBody>(Incoming::of(scanned)) else {
        return link.counters.bad_lines.add();
    };
    tracing::warn!(code = %body.code, message = body.message, "the host reports an error");
    if body.code != ErrorCode::LineTooLong {
        return;
    }
    let limit = body.detail.get("limit").and_then(serde_json::Value::as_u64);
    if let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) {
        let error = ClientError::Remote(Arc::new(HostError::new(body, scanned.text)));
        link.pending.fail(|sent| sent > limit, &error);
    }
}

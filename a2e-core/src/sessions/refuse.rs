//! What is answered to a line that is not accepted.

use super::control::CORE_TYPES;
use super::hub::Served;
use crate::Error;
use crate::audit::{AuditRecord, RecordOutcome};
use crate::codec::envelope::write_message;
use crate::codec::first::OTHER_PROTOCOL;
use crate::counters::Count;
use crate::protocol::ErrorCode;
use crate::request::error_fields;
use crate::route::RouteTable;

impl Served {
    /// Answers something that is not accepted with an error, and records it.
    pub(super) fn refuse(&self, kind: &str, req_id: &str, error: &Error, input_bytes: usize) {
        let (session, services) = (&self.session, &self.hub.services);
        let now = session.now();
        // Under the id of a request in flight it would end that one for its sender.
        let is_in_use = !req_id.is_empty() && session.in_flight.find(req_id).is_some();
        let fields = if is_in_use {
            error_fields(&error.clone().with_detail("id", req_id), "")
        } else {
            error_fields(error, "")
        };
        let req_id = if is_in_use { "" } else { req_id };
        services.counters.add(Count::Refused);
        // It tells of nothing that was done, so it stands without its record, too.
        let is_due = session.outbox.append_audited(false, |out| {
            let before = out.len();
            write_message(out, &services.ids.wire, now, "error", Some(req_id), &fields);
            services.audit.append(&AuditRecord {
                session_id: session.id().as_str(),
                req_id,
                kind,
                agent_id: session.agent_id_ref(),
                principal: session.principal(),
                outcome: RecordOutcome::Refused,
                error_code: Some(error.code().as_str()),
                input_bytes,
                output_bytes: out.len() - before,
                ..AuditRecord::at(now)
            });
        });
        if is_due {
            session.outbox.write_pending();
        } else {
            session.outbox.flush();
        }
        // As after each call that ends on the reader.
        services.audit.wait_for_room();
    }

    /// Answers a peer that speaks another protocol, and records it: it may be a web page that tries.
    pub(super) fn refuse_protocol(&self, protocol: &str, input_bytes: usize) {
        let (session, services) = (&self.session, &self.hub.services);
        let now = session.now();
        tracing::warn!(peer = %session.peer.name, protocol, "refused: no A2E lines");
        services.counters.add(Count::Refused);
        session.outbox.append_unnumbered(|out, _| {
            out.extend_from_slice(OTHER_PROTOCOL);
            services.audit.append(&AuditRecord {
                session_id: session.id().as_str(),
                outcome: RecordOutcome::Refused,
                error_code: Some(ErrorCode::ParseError.as_str()),
                input_bytes,
                output_bytes: OTHER_PROTOCOL.len(),
                ..AuditRecord::at(now)
            });
        });
    }
}

/// A type is never longer; beyond it no likeness is looked for.
const LONGEST_TYPE: usize = 128;

/// The error for a type that has no route.
pub(super) fn unhandled(kind: &str, table: &RouteTable) -> Error {
    let is_sent_by_hosts = matches!(kind, "pong" | "handshake/resp" | "invoke/event")
        || ["/resp", "/event", "/push"].iter().any(|end| kind.ends_with(end));
    if is_sent_by_hosts {
        let shown: String = kind.chars().take(LONGEST_TYPE).collect();
        return Error::invalid(format!("`{shown}` is sent by hosts, not to them"));
    }
    if kind.len() > LONGEST_TYPE {
        // Likeness costs time for each byte of it; nobody meant this.
        let text = format!("no plugin handles a type of {} bytes", kind.len());
        return Error::new(ErrorCode::UnknownType, text);
    }
    let text = format!("no plugin handles `{kind}`");
    match nearest_types(table, kind).first() {
        Some(known) => Error::new(ErrorCode::UnknownType, format!("{text}; is `{known}` meant?")),
        None => Error::new(ErrorCode::UnknownType, text),
    }
}

/// The types that are handled and most like this one, best first, at most three.
pub(crate) fn nearest_types<'t>(table: &'t RouteTable, kind: &str) -> Vec<&'t str> {
    let known = table.types().into_iter().chain(CORE_TYPES);
    let likeness = known.map(|known| (strsim::jaro_winkler(known, kind), known));
    let mut alike: Vec<_> = likeness.filter(|(likeness, _)| *likeness > 0.85).collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0));
    alike.into_iter().take(3).map(|(_, known)| known).collect()
}

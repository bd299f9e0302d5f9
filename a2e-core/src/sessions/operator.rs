//! The messages of operators, `host/*`: answered without a worker, to sessions with the right.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::hub::{OperatorDesk, Served};
use crate::audit::{AuditRecord, Outcome};
use crate::codec::envelope::write_message;
use crate::codec::{Incoming, decode, encode_fields};
use crate::protocol::host::{
    HostExplainRequest, HostReloadRequest, HostSnapshot, HostSnapshotRequest, HostStatusRequest,
    ReloadReport,
};
use crate::protocol::{ErrorCode, Message};
use crate::request::{Hold, drained, error_fields};
use crate::{Error, Result, Time};

/// A request of an operator, as far as its answer needs it.
struct Asked {
    kind: &'static str,
    id: String,
    input_bytes: usize,
    at: Time,
}

impl Served {
    /// Handles a message of an operator; false when it is none.
    pub(super) fn operate(&self, kind: &str, id: &str, incoming: Incoming<'_>, at: Time) -> bool {
        let Some(kind) = super::CORE_TYPES.into_iter().find(|it| *it == kind) else { return false };
        let asked = Asked { kind, id: id.to_owned(), input_bytes: incoming.text().len(), at };
        let is_look = matches!(kind, "host/status/req" | "host/explain/req");
        let gate = if is_look { self.may_look() } else { self.gate() };
        let allowed = gate.and_then(|()| self.operator_desk());
        match kind {
            "host/status/req" => {
                let status = allowed
                    .and_then(|desk| read::<HostStatusRequest>(incoming).map(|_| desk.status()));
                self.tell(&asked, &status);
            }
            "host/explain/req" => {
                let told = allowed.and_then(|desk| {
                    let request = read::<HostExplainRequest>(incoming)?;
                    Ok(desk.explain(&request.message_type))
                });
                self.tell(&asked, &told);
            }
            "host/reload/req" => {
                let work =
                    allowed.and_then(|desk| Ok(desk.reload(read::<HostReloadRequest>(incoming)?)));
                match work {
                    Ok(work) => self.work(asked, async { Ok(work.await) }),
                    Err(error) => self.tell::<ReloadReport>(&asked, &Err(error)),
                }
            }
            "host/snapshot/req" => {
                let work = allowed.and_then(|desk| {
                    read::<HostSnapshotRequest>(incoming).map(|_| desk.snapshot())
                });
                match work {
                    Ok(work) => self.work(asked, work),
                    Err(error) => self.tell::<HostSnapshot>(&asked, &Err(error)),
                }
            }
            _ => return false,
        }
        true
    }

    /// The host's desk, for a peer that may steer the host.
    fn operator_desk(&self) -> Result<Arc<dyn OperatorDesk>> {
        if self.session.is_operator() {
            return self.hub.desk().ok_or_else(|| Error::runtime("the host is ending"));
        }
        let text = "this is for operators: ask over stdio, over a Unix socket of the host's user \
            (where `server.operators` says so), or shake hands with the `operator_token`";
        Err(Error::new(ErrorCode::Unauthorized, text))
    }

    /// Answers when the work is done, or when the session ends before.
    fn work<T: Message + Serialize + Send>(
        &self,
        asked: Asked,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) {
        let (served, hold) = (self.clone(), Hold::new(&self.session));
        self.hub.services.runtime.spawn(async move {
            let _open_until_told = hold;
            let ended =
                || Error::new(ErrorCode::ShuttingDown, "the session ended before the answer");
            let answer = tokio::select! {
                answer = work => answer,
                () = drained(&served.session) => Err(ended()),
            };
            served.tell(&asked, &answer);
        });
    }

    /// Sends the answer, and records what an operator did.
    fn tell<T: Message + Serialize>(&self, asked: &Asked, answer: &Result<T>) {
        let mut fields = Vec::with_capacity(512);
        let encoded = answer.as_ref().map_err(Clone::clone).and_then(|message| {
            encode_fields(message, &mut fields).map_err(|error| Error::internal(error.to_string()))
        });
        let (wire_type, error) = match &encoded {
            Ok(()) => (T::TYPE, None),
            Err(error) => {
                fields = error_fields(error, "");
                ("error", Some(error.code().as_str()))
            }
        };
        let outcome = match &encoded {
            Ok(()) => Outcome::Ok,
            Err(error) if *error.code() == ErrorCode::RuntimeError => Outcome::Error,
            Err(_) => Outcome::Refused,
        };
        let now = self.session.now();
        self.session.outbox.append(|out| {
            let before = out.len();
            write_message(
                out,
                &self.hub.services.ids.wire,
                now,
                wire_type,
                Some(&asked.id),
                &fields,
            );
            self.hub.services.audit.append(&AuditRecord {
                accepted: asked.at,
                started: asked.at,
                session_id: self.session.id().as_str(),
                req_id: &asked.id,
                kind: asked.kind,
                agent_id: self.session.agent_id_ref(),
                outcome,
                error_code: error,
                input_bytes: asked.input_bytes,
                output_bytes: out.len() - before,
                ..AuditRecord::at(now)
            });
        });
        self.session.outbox.flush();
    }
}

fn read<T: DeserializeOwned>(incoming: Incoming<'_>) -> Result<T> {
    decode(incoming)
}

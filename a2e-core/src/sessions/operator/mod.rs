//! The messages of operators and approvers, `host/*` and `approval/*`: answered without a worker, to
//! sessions with the right.

mod approval;

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::audit::{AuditRecord, Detail, RecordOutcome};
use crate::codec::envelope::write_message;
use crate::codec::{Incoming, decode_noting, encode_fields};
use crate::protocol::host::{
    HostCancel, HostCancelRequest, HostExplainRequest, HostSnapshotRequest, HostStatusRequest,
    HostStopRequest,
};
use crate::protocol::{ErrorCode, Message};
use crate::request::{CancelReason, Hold, drained, error_fields, with_names};
use crate::sessions::CORE_TYPES;
use crate::sessions::hub::{OperatorDesk, Served};
use crate::transport::Right;
use crate::{Error, Result, Time};

/// A request of an operator, as far as its answer needs it.
struct Operation {
    kind: &'static str,
    id: String,
    input_bytes: usize,
    at: Time,
    /// Its fields that its type does not know.
    unknown: Vec<String>,
    /// What its record says of it.
    detail: Option<Detail>,
}

impl Operation {
    fn read<Q: DeserializeOwned>(&mut self, incoming: Incoming<'_>) -> Result<Q> {
        let (request, unknown) = decode_noting(incoming);
        self.unknown = unknown.names();
        request
    }
}

impl Served {
    /// Handles a message of an operator; false when it is none.
    pub(super) fn operate(&self, kind: &str, id: &str, incoming: Incoming<'_>, at: Time) -> bool {
        let Some(kind) = CORE_TYPES.into_iter().find(|it| *it == kind) else { return false };
        let (input_bytes, unknown) = (incoming.text().len(), Vec::new());
        let asked = Operation { kind, id: id.to_owned(), input_bytes, at, unknown, detail: None };
        match kind {
            "approval/list/req" => {
                self.list_approvals(asked, incoming);
                return true;
            }
            "approval/answer/req" => {
                self.decide(asked, incoming);
                return true;
            }
            _ => {}
        }
        let is_look = matches!(kind, "host/status/req" | "host/explain/req");
        let gate = if is_look { self.may_look() } else { self.gate() };
        let allowed = gate.and_then(|()| self.operator_desk());
        match kind {
            "host/status/req" => {
                self.look(asked, allowed, incoming, |desk, _: HostStatusRequest| Ok(desk.status()));
            }
            "host/explain/req" => {
                let explain = |desk: &dyn OperatorDesk, request: HostExplainRequest| {
                    Ok(desk.explain(&request.message_type))
                };
                self.look(asked, allowed, incoming, explain);
            }
            "host/cancel/req" => {
                let cancel = |_: &dyn OperatorDesk, request: HostCancelRequest| {
                    Ok(self.cancel_of(&request.session_id, &request.req_id))
                };
                self.look(asked, allowed, incoming, cancel);
            }
            "host/reload/req" => self.work(asked, allowed, incoming, |desk, request| {
                let reload = desk.reload(request);
                async { Ok(reload.await) }
            }),
            "host/snapshot/req" => {
                self.work(asked, allowed, incoming, |desk, _: HostSnapshotRequest| desk.snapshot());
            }
            "host/stop/req" => {
                let stop =
                    |desk: &dyn OperatorDesk, request: HostStopRequest| desk.stop(request.drain_s);
                self.look(asked, allowed, incoming, stop);
            }
            _ => return false,
        }
        true
    }

    /// Answers at once.
    fn look<Q: DeserializeOwned, T: Message + Serialize>(
        &self,
        mut asked: Operation,
        desk: Result<Arc<dyn OperatorDesk>>,
        incoming: Incoming<'_>,
        ask: impl FnOnce(&dyn OperatorDesk, Q) -> Result<T>,
    ) {
        let answer = desk.and_then(|desk| ask(&*desk, asked.read(incoming)?));
        self.tell(&asked, &answer);
    }

    /// Ends a request of any session.
    fn cancel_of(&self, session: &str, req_id: &str) -> HostCancel {
        let sessions = self.hub.services.live.all();
        let found = sessions.iter().find(|it| it.id().as_str() == session);
        let found = found.and_then(|session| session.in_flight.find(req_id));
        if let Some(request) = &found {
            request.end_early(CancelReason::Cancelled);
            self.hub.plugins.sweep();
        }
        HostCancel { found: found.is_some() }
    }

    /// The host's desk, for a peer that may steer the host.
    fn operator_desk(&self) -> Result<Arc<dyn OperatorDesk>> {
        if self.session.may(Right::Operator) {
            return self.hub.desk().ok_or_else(|| Error::runtime("the host is ending"));
        }
        let text = "this is for operators: ask over stdio, over a Unix socket of the host's user \
            (where `server.operators` says so), or shake hands with the `operator_token`";
        Err(Error::new(ErrorCode::Unauthorized, text))
    }

    /// Answers when the work is done, or when the session ends before.
    fn work<Q: DeserializeOwned, T: Message + Serialize + Send, W>(
        &self,
        mut asked: Operation,
        desk: Result<Arc<dyn OperatorDesk>>,
        incoming: Incoming<'_>,
        begin: impl FnOnce(&dyn OperatorDesk, Q) -> W,
    ) where
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let work = match desk.and_then(|desk| Ok(begin(&*desk, asked.read(incoming)?))) {
            Ok(work) => work,
            Err(error) => return self.tell::<T>(&asked, &Err(error)),
        };
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
    fn tell<T: Message + Serialize>(&self, asked: &Operation, answer: &Result<T>) {
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
            Ok(()) => RecordOutcome::Ok,
            Err(error) if *error.code() == ErrorCode::RuntimeError => RecordOutcome::Error,
            Err(_) => RecordOutcome::Refused,
        };
        if let Some(told) = with_names(&asked.unknown, &fields) {
            fields = told;
        }
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
                principal: self.session.principal(),
                outcome,
                error_code: error,
                input_bytes: asked.input_bytes,
                output_bytes: out.len() - before,
                detail: asked.detail.as_ref(),
                ..AuditRecord::at(now)
            });
        });
        self.session.outbox.flush();
    }
}

//! The messages of operators, `host/*`: answered without a worker, to those who may ask.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::serve::drained;
use super::{Hold, Session};
use crate::audit::{AuditRecord, Outcome};
use crate::codec::envelope::write_message;
use crate::codec::{Incoming, decode, encode_fields};
use crate::dispatch::error_body;
use crate::executor::{Rebuild, Wanted};
use crate::protocol::host::{
    HostExplainRequest, HostReloadRequest, HostSnapshot, HostSnapshotRequest, HostStatusRequest,
    ReloadReport,
};
use crate::protocol::{ErrorCode, Message, PluginName};
use crate::{Error, Result, Time};

/// A request of an operator, as far as its answer needs it.
struct Asked {
    kind: &'static str,
    id: String,
    input_bytes: usize,
    at: Time,
}

impl Session {
    /// Handles a message of an operator; false when it is none.
    pub(super) fn operate(
        self: &Arc<Self>,
        kind: &str,
        id: &str,
        incoming: Incoming<'_>,
        at: Time,
    ) -> bool {
        let Some(kind) = super::CORE_TYPES.into_iter().find(|it| *it == kind) else { return false };
        let asked = Asked { kind, id: id.to_owned(), input_bytes: incoming.text().len(), at };
        let allowed = self.gate().and_then(|()| self.be_operator());
        match kind {
            "host/status/req" => {
                let status = allowed
                    .and_then(|()| read::<HostStatusRequest>(incoming))
                    .map(|_| self.kernel.status());
                self.tell(&asked, &status);
            }
            "host/explain/req" => {
                let told = allowed
                    .and_then(|()| read::<HostExplainRequest>(incoming))
                    .map(|request| self.kernel.explain(&request.message_type));
                self.tell(&asked, &told);
            }
            "host/reload/req" => match allowed.and_then(|()| read::<HostReloadRequest>(incoming)) {
                Ok(request) => self.work(asked, reload(Arc::clone(self), request)),
                Err(error) => self.tell::<ReloadReport>(&asked, &Err(error)),
            },
            "host/snapshot/req" => {
                match allowed.and_then(|()| read::<HostSnapshotRequest>(incoming)) {
                    Ok(_) => self.work(asked, snapshot(Arc::clone(self))),
                    Err(error) => self.tell::<HostSnapshot>(&asked, &Err(error)),
                }
            }
            _ => return false,
        }
        true
    }

    /// Whether its peer may steer the host.
    fn be_operator(&self) -> Result<()> {
        let same_user = self.peer.uid.is_some_and(|uid| uid == nix::unistd::geteuid().as_raw());
        if self.peer.is_stdio || self.peer.is_in_process || same_user || self.has_operator_token() {
            return Ok(());
        }
        let text = "this is for operators: ask over stdio, over a Unix socket of the host's user, or \
            shake hands with the `operator_token`";
        Err(Error::new(ErrorCode::Unauthorized, text))
    }

    /// Answers when the work is done, or when the session ends before.
    fn work<T: Message + Serialize + Send>(
        self: &Arc<Self>,
        asked: Asked,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) {
        let (session, hold) = (Arc::clone(self), Hold::new(self));
        self.kernel.runtime.spawn(async move {
            let _open_until_told = hold;
            let ended =
                || Error::new(ErrorCode::ShuttingDown, "the session ended before the answer");
            let answer = tokio::select! {
                answer = work => answer,
                () = drained(&session) => Err(ended()),
            };
            session.tell(&asked, &answer);
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
                fields = error_body(error, "");
                ("error", Some(error.code().as_str()))
            }
        };
        let outcome = match &encoded {
            Ok(()) => Outcome::Ok,
            Err(error) if *error.code() == ErrorCode::RuntimeError => Outcome::Error,
            Err(_) => Outcome::Refused,
        };
        let now = self.now();
        self.sink.append(|out| {
            let before = out.len();
            write_message(out, &self.kernel.ids, now, wire_type, Some(&asked.id), &fields);
            self.kernel.audit(&AuditRecord {
                accepted: asked.at,
                started: asked.at,
                session_id: self.id().as_str(),
                req_id: &asked.id,
                kind: asked.kind,
                agent_id: self.agent_id_ref(),
                outcome,
                error_code: error,
                input_bytes: asked.input_bytes,
                output_bytes: out.len() - before,
                ..AuditRecord::at(now)
            });
        });
        self.flush_unless_reading();
    }
}

fn read<T: DeserializeOwned>(incoming: Incoming<'_>) -> Result<T> {
    decode(incoming)
}

/// A reload that is refused is no failure of the request: the reply says `ok: false`, and why.
async fn reload(session: Arc<Session>, request: HostReloadRequest) -> Result<ReloadReport> {
    let kernel = &session.kernel;
    let names = if request.rebuild.iter().any(|name| name == "*") {
        kernel.plugins().iter().map(|slot| slot.name.clone()).collect()
    } else {
        request.rebuild.into_iter().map(PluginName::from).collect::<Vec<_>>()
    };
    // Without a file there is still something to rebuild.
    let wanted = if kernel.has_file() || names.is_empty() { Wanted::File } else { Wanted::InForce };
    let rebuild = Rebuild { names, is_suspect: false };
    Ok(match kernel.reload(wanted, rebuild).await {
        Ok(report) => report,
        Err(error) => ReloadReport {
            ok: false,
            generation: kernel.table_generation(),
            problems: error.problems(),
            ..ReloadReport::default()
        },
    })
}

async fn snapshot(session: Arc<Session>) -> Result<HostSnapshot> {
    session.kernel.snapshot().await.map(|(saved, failed)| HostSnapshot { saved, failed })
}

//! Calls that a server makes tasks: they are waited for, as any other.
//!
//! Two ways are spoken. Since 2026-07-28 (`io.modelcontextprotocol/tasks`) the server decides, and is asked how
//! far it is. Servers of 2025-11-25 refuse a call of a tool that demands a task with "no such method"; those on the
//! TypeScript SDK say so in a result.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::protocol::{ErrorCode, Event};
use a2e_core::{Error, Result};
use rmcp::model::{ClientRequest, CustomRequest};
use rmcp::service::{Peer, RoleClient};
use serde_json::{Map, Value, json};

use super::flights::{Asker, OpenFlight};
use super::{Link, protocol, questions, refused};

/// How often a server is asked at most and at least, whatever it suggests.
const OFTEN: Duration = Duration::from_millis(50);
const SELDOM: Duration = Duration::from_secs(10);

/// How long a server of the older way is to keep the result, in milliseconds.
const KEEP: u64 = 3_600_000;

/// JSON-RPC: no such method. Of a tool that is listed it means that the call must be a task.
const UNKNOWN_METHOD: i64 = -32601;

/// Whether a call was refused because it has to be a task. rmcp does not know `execution.taskSupport` of a tool,
/// so that it is not known before.
pub(super) fn wants_task(answer: &Result<Object>) -> bool {
    match answer {
        Err(error) => {
            error.detail().get("rpc_code").and_then(Value::as_i64) == Some(UNKNOWN_METHOD)
        }
        Ok(result) => {
            let content = result.get("content").and_then(Value::as_array);
            let first = content.and_then(|it| it.first()).and_then(Value::as_object);
            let text = first.map(|it| text(it, "text")).unwrap_or_default();
            result.get("isError") == Some(&Value::Bool(true))
                && text.starts_with("MCP error -32601:")
        }
    }
}

type Object = Map<String, Value>;

fn text<'a>(of: &'a Object, key: &str) -> &'a str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn named(id: &str) -> Object {
    Object::from_iter([("taskId".to_owned(), id.into())])
}

impl Link {
    /// Waits for a task that a call has become.
    pub(super) async fn awaited(&self, task: Object, asker: Option<Asker>) -> Result<Object> {
        let flight = self.flights.begin(asker.clone());
        let mut open = OpenTask::new(&self.peer, text(&task, "taskId"), flight)?;
        let mut now = task;
        let mut answered = BTreeSet::new();
        let mut told = String::new();
        loop {
            let message = text(&now, "statusMessage");
            if message != told {
                message.clone_into(&mut told);
                if let Some(tool) = asker.as_ref().and_then(|asker| asker.tool.as_ref()) {
                    // Dropped for a slow reader.
                    tool.emit(Event::log("info", message)).ok();
                }
            }
            let status = text(&now, "status").to_owned();
            match status.as_str() {
                "working" => {}
                "input_required" => self.answer(&now, &mut answered, asker.as_ref()).await?,
                status => {
                    open.is_over();
                    return ended(status, now);
                }
            }
            let suggested = now.get("pollIntervalMs").and_then(Value::as_u64);
            let pause = suggested.map_or(OFTEN * 10, Duration::from_millis);
            tokio::time::sleep(pause.clamp(OFTEN, SELDOM)).await;
            now = self.once("tasks/get", &named(&open.id), asker.clone()).await?;
        }
    }

    /// Answers the questions of a task that it has not asked before.
    async fn answer(
        &self,
        now: &Object,
        answered: &mut BTreeSet<String>,
        asker: Option<&Asker>,
    ) -> Result<()> {
        let all = questions(now).into_iter();
        let new: Vec<_> = all.filter(|it| answered.insert(it.id.clone())).collect();
        if new.is_empty() {
            return Ok(());
        }
        let call = asker.map(|asker| asker.call.clone());
        let answers = Arc::clone(&self.upcalls).ask(new, call).await;
        let answers =
            answers.map_err(|it| Error::new(ErrorCode::McpCapabilityMissing, it.message))?;
        let mut params = named(text(now, "taskId"));
        params.insert("inputResponses".to_owned(), json!(answers));
        self.once("tasks/update", &params, asker.cloned()).await.map(drop)
    }

    /// Calls a tool as a task in the older way. The server asks its questions meanwhile, as of any call.
    pub(super) async fn as_task(&self, params: &Object, asker: Option<Asker>) -> Result<Object> {
        let flight = self.flights.begin(asker.clone());
        let mut params = params.clone();
        params.insert("task".to_owned(), json!({ "ttl": KEEP }));
        let request = CustomRequest::new("tools/call", Some(params.into()));
        let request = ClientRequest::CustomRequest(request);
        let made = self.sent("tools/call", request, asker.clone()).await?;
        let Some(Value::Object(task)) = made.get("task") else {
            return Err(protocol("it makes no task of a call that it wants to be one"));
        };
        let mut open = OpenTask::new(&self.peer, text(task, "taskId"), flight)?;
        // Answered when the task has ended.
        let result = self.once("tasks/result", &named(&open.id), asker).await?;
        open.is_over();
        Ok(result)
    }
}

/// What a task that has ended gives.
fn ended(status: &str, mut task: Object) -> Result<Object> {
    let part = |key: &str, task: &mut Object| match task.remove(key) {
        Some(Value::Object(part)) => Some(part),
        _ => None,
    };
    match status {
        "completed" => part("result", &mut task)
            .ok_or_else(|| protocol("a task that ended without its result")),
        "failed" => {
            let error = part("error", &mut task).unwrap_or_default();
            let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
            let code = i32::try_from(code).unwrap_or_default();
            Err(refused("tools/call", code, text(&error, "message"), error.get("data").cloned()))
        }
        "cancelled" => Err(Error::new(ErrorCode::McpProtocolError, "it cancelled the task")),
        other => Err(protocol(format!("a task that is `{other}`"))),
    }
}

/// Cancels a task that nobody waits for any more.
struct OpenTask<'a> {
    peer: &'a Peer<RoleClient>,
    id: String,
    is_open: bool,
    /// In which it is also between two looks: its server may ask at any time.
    flight: OpenFlight,
}

impl<'a> OpenTask<'a> {
    fn new(peer: &'a Peer<RoleClient>, id: &str, flight: OpenFlight) -> Result<Self> {
        if id.is_empty() {
            return Err(protocol("a task without an id"));
        }
        Ok(Self { peer, id: id.to_owned(), is_open: true, flight })
    }

    fn is_over(&mut self) {
        self.is_open = false;
    }
}

impl Drop for OpenTask<'_> {
    fn drop(&mut self) {
        let request = json!({ "method": "tasks/cancel", "params": { "taskId": self.id } });
        if self.is_open
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
            && let Ok(request) = serde_json::from_value(request)
        {
            self.flight.give_up(&runtime);
            let peer = self.peer.clone();
            // Refused when the connection has ended, which is as good.
            runtime.spawn(async move {
                let cancelled = peer.send_request(request);
                tokio::time::timeout(SELDOM, cancelled).await.map(drop).ok();
            });
        }
    }
}

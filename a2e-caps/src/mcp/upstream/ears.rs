//! What a server tells and asks by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use a2e_core::plugin::BoxFuture;
use a2e_core::protocol::ErrorCode;
use a2e_core::request::Call;
use serde_json::{Map, Value, json};

use super::Upstream;
use crate::mcp::contract::{self, AskClient as _, AskRequest};
use crate::mcp::link::{Question, Refusal, Upcalls};
use crate::mcp::protocol::ServerPush;

/// The field of a question's `_meta` that says which server asks.
pub(in crate::mcp) const ASKING: &str = "a2e/server";

/// The same for the server's number of the question.
pub(in crate::mcp) const ASKED: &str = "a2e/question";

/// JSON-RPC: no such method.
const UNKNOWN_METHOD: i32 = -32601;

/// JSON-RPC: the agent refused, or cannot.
const REFUSED: i32 = -32000;

pub(super) struct Ears(Weak<Upstream>);

impl Ears {
    pub(super) fn new(upstream: &Arc<Upstream>) -> Self {
        Self(Arc::downgrade(upstream))
    }
}

impl Upcalls for Ears {
    fn notified(&self, method: &str, params: Map<String, Value>) {
        let Some(upstream) = self.0.upgrade() else { return };
        let push = ServerPush { server_id: upstream.id.clone(), method: method.to_owned(), params };
        match method {
            "notifications/resources/updated" => return upstream.subscribed.tell(&push),
            "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed" => upstream.relist.notify_one(),
            // The result of a task belongs to its caller alone, and its caller asks for it.
            "notifications/cancelled"
            | "notifications/subscriptions/acknowledged"
            | "notifications/tasks"
            | "notifications/tasks/status" => return,
            _ => {}
        }
        upstream.shared.host.push_users("mcp/server/push", &push);
    }

    fn ask(
        self: Arc<Self>,
        questions: Vec<Question>,
        call: Option<Call>,
    ) -> BoxFuture<Result<BTreeMap<String, Value>, Refusal>> {
        Box::pin(async move {
            let gone = || refused(REFUSED, "the host ends");
            let upstream = self.0.upgrade().ok_or_else(gone)?;
            let (mut answers, mut asked) = (BTreeMap::new(), AskRequest::new());
            for Question { id, method, params } in questions {
                match method.as_str() {
                    "roots/list" => {
                        answers.insert(id, json!({ "roots": upstream.shared.roots }));
                    }
                    "sampling/createMessage" | "elicitation/create" => {
                        let params = marked(params, &upstream.id, &id);
                        asked.questions.insert(id, contract::Question { method, params });
                    }
                    other => return Err(refused(UNKNOWN_METHOD, format!("no method `{other}`"))),
                }
            }
            if !asked.questions.is_empty() {
                answers.extend(put(&asked, call).await?);
            }
            Ok(answers)
        })
    }
}

fn refused(code: i32, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into() }
}

/// The parameters of a question, with the server that asks it.
fn marked(mut params: Map<String, Value>, server: &str, id: &str) -> Map<String, Value> {
    let meta = params.entry("_meta").or_insert_with(|| json!({}));
    if let Some(meta) = meta.as_object_mut() {
        meta.remove("progressToken");
        meta.insert(ASKING.to_owned(), server.into());
        meta.insert(ASKED.to_owned(), id.into());
    }
    params
}

/// Asks the client of the session whose call the server works on.
async fn put(asked: &AskRequest, call: Option<Call>) -> Result<Vec<(String, Value)>, Refusal> {
    let none = || refused(REFUSED, "no call is under way whose agent could be asked");
    let call = call.ok_or_else(none)?;
    let answered = call.ask(asked).await.map_err(|error| {
        let lacks = *error.code() == ErrorCode::McpCapabilityMissing;
        refused(if lacks { UNKNOWN_METHOD } else { REFUSED }, error.message())
    })?;
    if let Some(left_out) = asked.questions.keys().find(|it| !answered.answers.contains_key(*it)) {
        let method = asked.questions.get(left_out).map(|it| it.method.as_str()).unwrap_or_default();
        return Err(refused(UNKNOWN_METHOD, format!("the agent does not answer `{method}`")));
    }
    Ok(answered.answers.into_iter().map(|(id, answer)| (id, answer.into())).collect())
}

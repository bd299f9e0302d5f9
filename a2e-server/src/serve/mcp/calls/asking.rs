//! Questions of plugins to a client: by a request of ours in a session, by a result that wants input
//! in the revision without sessions.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use a2e_caps::mcp::contract::{AskResponse, Question, TASK};
use a2e_core::Error;
use a2e_core::protocol::ErrorCode;
use rmcp::model::{
    ClientCapabilities, CustomRequest, ErrorData, InputRequest, InputRequiredResult, SealOptions,
    ServerRequest, TASKS_EXTENSION_ID,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::run::Running;
use crate::serve::mcp::McpFront;
use crate::serve::mcp::desk::Asked;
use crate::serve::mcp::session::{AbortOnDrop, Context};

/// The detail of an error that says what the client would have to be able to.
pub(in crate::serve::mcp) const REQUIRED: &str = "required_capabilities";

/// Most calls that wait for their client to come back.
const MAX_SUSPENDED: usize = 1024;

/// Whether a client said that it can answer.
fn can(capabilities: Option<&ClientCapabilities>, method: &str) -> bool {
    capabilities.is_some_and(|it| match method {
        TASK => it.supports_tasks(),
        "sampling/createMessage" => it.sampling.is_some(),
        "elicitation/create" => it.elicitation.is_some(),
        "roots/list" => it.roots.is_some(),
        _ => false,
    })
}

/// Whether a client can wait for tasks.
pub(in crate::serve::mcp) fn knows_tasks(context: &Context) -> bool {
    can(context.client_capabilities().as_ref(), TASK)
}

/// The error for questions none of which the client can answer.
pub(super) fn unable(questions: &BTreeMap<String, Question>) -> Error {
    let methods: Vec<&str> = questions.values().map(|it| it.method.as_str()).collect();
    let text = match methods.as_slice() {
        [TASK] => "the client did not say that it knows tasks, and this call is one".to_owned(),
        _ => format!("the client did not say that it answers {}", methods.join(" or ")),
    };
    let required = methods.iter().filter_map(|method| match *method {
        "sampling/createMessage" => Some(("sampling".to_owned(), json!({}))),
        "elicitation/create" => Some(("elicitation".to_owned(), json!({}))),
        "roots/list" => Some(("roots".to_owned(), json!({}))),
        TASK => Some(("extensions".to_owned(), json!({ TASKS_EXTENSION_ID: {} }))),
        _ => None,
    });
    let required = Value::Object(required.collect());
    Error::new(ErrorCode::McpCapabilityMissing, text).with_detail(REQUIRED, required)
}

/// The questions that the client can answer, of those that were asked.
fn possible(asked: &mut Asked, context: &Context) -> BTreeMap<String, Question> {
    let capabilities = context.client_capabilities();
    let all = std::mem::take(&mut asked.questions);
    all.into_iter().filter(|(_, it)| can(capabilities.as_ref(), &it.method)).collect()
}

/// Asks by requests of ours over the session, all at once; the plugin gets its answer when all have come.
pub(super) fn ask_in_session(mut asked: Asked, context: &Context) {
    let none = unable(&asked.questions);
    let questions = possible(&mut asked, context);
    if questions.is_empty() {
        asked.reply(Err(none));
        return;
    }
    let peer = context.peer.clone();
    tokio::spawn(async move {
        let each = questions.into_iter().map(|(key, question)| {
            let params = Value::Object(question.params);
            let request = CustomRequest::new(question.method, Some(params));
            let sent = peer.send_request(ServerRequest::CustomRequest(request));
            async move { (key, sent.await) }
        });
        let mut answers = BTreeMap::new();
        let all = tokio::select! {
            all = futures_util::future::join_all(each) => all,
            // Dropping the requests tells the client that nobody waits any more.
            () = asked.gone() => return,
        };
        for (key, answer) in all {
            let answer = answer.map_err(|error| error.to_string()).and_then(|answer| {
                match serde_json::to_value(answer) {
                    Ok(Value::Object(answer)) => Ok(answer),
                    _ => Err("the answer is no object".to_owned()),
                }
            });
            match answer {
                Ok(answer) => drop(answers.insert(key, answer)),
                Err(why) => {
                    let text = format!("the client refused: {why}");
                    return asked.reply(Err(Error::new(ErrorCode::McpSamplingRefused, text)));
                }
            }
        }
        asked.reply(Ok(AskResponse { answers }));
    });
}

/// Questions that wait for a client to repeat its call with the answers.
pub(super) struct Pending {
    asked: Asked,
    questions: BTreeMap<String, Question>,
    answers: BTreeMap<String, Map<String, Value>>,
    none: Error,
}

impl Pending {
    pub(super) fn new(mut asked: Asked, context: &Context) -> Self {
        let none = unable(&asked.questions);
        let questions = possible(&mut asked, context);
        Self { asked, questions, answers: BTreeMap::new(), none }
    }

    /// Takes the answers that have the right form; others are asked for again.
    pub(super) fn fill(&mut self, given: &mut BTreeMap<String, Value>) {
        for (key, question) in &self.questions {
            match given.remove(key) {
                Some(Value::Object(answer)) if is_answer(&question.method, &answer) => {
                    self.answers.insert(key.clone(), answer);
                }
                _ => {}
            }
        }
    }

    /// The questions without an answer.
    pub(super) fn open(&self) -> BTreeMap<String, Question> {
        let open = self.questions.iter().filter(|(key, _)| !self.answers.contains_key(*key));
        open.map(|(key, question)| (key.clone(), question.clone())).collect()
    }

    /// Resolves when the plugin waits no more.
    pub(super) async fn gone(&mut self) {
        self.asked.gone().await;
    }

    /// Gives the plugin its answers.
    pub(super) fn reply(self) {
        let Self { asked, questions, answers, none } = self;
        asked.reply(if questions.is_empty() { Err(none) } else { Ok(AskResponse { answers }) });
    }
}

pub(super) fn is_answer(method: &str, answer: &Map<String, Value>) -> bool {
    match method {
        "sampling/createMessage" => answer.contains_key("role") && answer.contains_key("content"),
        "elicitation/create" => {
            let action = answer.get("action").and_then(Value::as_str);
            let content = answer.get("content");
            matches!(action, Some("accept" | "decline" | "cancel"))
                && content.is_none_or(Value::is_object)
        }
        _ => answer.get("roots").is_some_and(Value::is_array),
    }
}

/// Calls that wait for their client, by a number that the client gets sealed. As many as `MAX_SUSPENDED`, each
/// as long as a call may take.
#[derive(Default)]
pub(in crate::serve::mcp) struct Suspended(Mutex<HashMap<u64, Kept>>);

/// A call, and what ends it when its time is over.
struct Kept {
    running: Running,
    _timer: AbortOnDrop,
}

/// What a client carries from the question to the answer.
#[derive(Serialize, Deserialize)]
struct Token {
    call: u64,
}

impl Suspended {
    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(self: &Arc<Self>, running: Running, limit: Duration) -> Option<u64> {
        let number = fresh_number()?;
        let mut table = self.table();
        if table.len() >= MAX_SUSPENDED {
            return None;
        }
        let weak = Arc::downgrade(self);
        let timer = AbortOnDrop::spawn(async move {
            tokio::time::sleep(limit).await;
            // Dropped outside of the lock: that cancels the call.
            let gone = weak.upgrade().and_then(|table| table.table().remove(&number));
            drop(gone);
        });
        table.insert(number, Kept { running, _timer: timer });
        Some(number)
    }
}

fn fresh_number() -> Option<u64> {
    let hex = a2e_core::protocol::id::random_hex().ok()?;
    u64::from_str_radix(hex.get(..15)?, 16).ok()
}

impl McpFront {
    /// The result that asks a client, and with which it goes on. `of` says what was called by whom: a
    /// token of one call does not open another.
    ///
    /// # Errors
    /// When a question is none that MCP has, or too many calls wait already.
    pub(in crate::serve::mcp) fn suspend(
        &self,
        running: Running,
        asks: BTreeMap<String, Question>,
        of: &[u8],
    ) -> Result<InputRequiredResult, ErrorData> {
        let mut requests = BTreeMap::new();
        for (key, question) in asks {
            let request = json!({ "method": question.method, "params": question.params });
            let request: InputRequest = serde_json::from_value(request).map_err(|error| {
                ErrorData::internal_error(format!("the question {key:?}: {error}"), None)
            })?;
            requests.insert(key, request);
        }
        let limit = self.settings.call_timeout_s;
        let full = || ErrorData::internal_error("too many calls wait for their clients", None);
        let call = self.suspended.keep(running, limit).ok_or_else(full)?;
        let options = SealOptions::new().associated_data(of).ttl(limit);
        let state = self.seal.seal_json_with(&Token { call }, &options);
        let state = state.map_err(|it| ErrorData::internal_error(it.to_string(), None))?;
        Ok(InputRequiredResult::new(Some(requests), Some(state)))
    }

    /// The call that a token of [`suspend`](Self::suspend) belongs to. Each token is good once.
    ///
    /// # Errors
    /// When it was changed, is another call's, or has been used.
    pub(in crate::serve::mcp) fn resume(
        &self,
        state: &str,
        of: &[u8],
    ) -> Result<Running, ErrorData> {
        let token: Token = self.seal.open_json_with(state, of).map_err(|error| {
            tracing::warn!(%error, "a requestState was refused");
            ErrorData::invalid_params("requestState is not valid for this request", None)
        })?;
        let gone = "the call that waited for these answers has ended; make it again";
        let found = self.suspended.table().remove(&token.call);
        found.map(|it| it.running).ok_or_else(|| ErrorData::invalid_params(gone, None))
    }
}

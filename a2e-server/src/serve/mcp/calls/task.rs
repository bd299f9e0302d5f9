//! A task: a call whose client has a handle instead of an answer (`io.modelcontextprotocol/tasks`, SEP-2663).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use a2e_caps::mcp::contract::Question;
use rmcp::model::{
    CallToolResult, DetailedTask, ErrorData, InputRequest, JsonObject, TaskPayload, TaskStatus,
};
use rmcp::task_manager::current_timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::asking::is_answer;

/// How often a client is to look, in milliseconds.
const POLL: u64 = 500;

/// Longest message on how far a task is.
const MAX_MESSAGE: usize = 1024;

/// One task. It is its principal's, over whatever connection that comes.
pub(in crate::serve::mcp) struct Task {
    pub(super) id: String,
    pub(super) principal: String,
    created: String,
    /// Ends the call in the host; cancelled with the session that made it.
    pub(super) cancel: CancellationToken,
    /// To the call.
    answers: mpsc::Sender<BTreeMap<String, Value>>,
    /// Held for a look or a change.
    state: Mutex<State>,
}

struct State {
    updated: String,
    message: Option<String>,
    ttl: Duration,
    /// Questions without an answer, by the keys that the client sees.
    open: BTreeMap<String, Open>,
    /// How often the call has asked: keys are used once in a task.
    rounds: u32,
    end: Option<TaskPayload>,
    /// Bytes of the end.
    size: usize,
}

struct Open {
    /// The plugin's own key.
    key: String,
    method: String,
    request: InputRequest,
}

impl Task {
    /// A task that works, and the answers that its client will give.
    pub(super) fn new(
        id: String,
        principal: String,
        ttl: Duration,
        cancel: CancellationToken,
    ) -> (Self, mpsc::Receiver<BTreeMap<String, Value>>) {
        // Those of a client that answers faster than the call takes them are refused.
        let (answers, given) = mpsc::channel(16);
        let created = current_timestamp();
        let state = State {
            updated: created.clone(),
            message: None,
            ttl,
            open: BTreeMap::new(),
            rounds: 0,
            end: None,
            size: 0,
        };
        let state = Mutex::new(state);
        (Self { id, principal, created, cancel, answers, state }, given)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it stands, with its result or its questions.
    pub(super) fn detailed(&self) -> DetailedTask {
        let state = self.state();
        let payload = match &state.end {
            Some(end) => end.clone(),
            None if state.open.is_empty() => TaskPayload::Working,
            None => TaskPayload::InputRequired {
                input_requests: state
                    .open
                    .iter()
                    .map(|(key, open)| (key.clone(), open.request.clone()))
                    .collect(),
            },
        };
        DetailedTask::new(self.handle(&state, payload.status()), payload)
    }

    /// Where it stands, without more.
    pub(super) fn seed(&self) -> rmcp::model::Task {
        self.handle(&self.state(), TaskStatus::Working)
    }

    fn handle(&self, state: &State, status: TaskStatus) -> rmcp::model::Task {
        let millis = u64::try_from(state.ttl.as_millis()).unwrap_or(u64::MAX);
        let task = rmcp::model::Task::new(&*self.id, status, &*self.created, &*state.updated);
        let task = task.with_ttl_ms(millis).with_poll_interval_ms(POLL);
        match &state.message {
            Some(message) => task.with_status_message(message.clone()),
            None => task,
        }
    }

    /// Says how far it is.
    pub(super) fn tell(&self, message: &str) {
        let mut state = self.state();
        state.message = Some(crate::serve::mcp::convert::cut(message, MAX_MESSAGE));
        state.updated = current_timestamp();
    }

    /// Puts questions of its call. Those that stand already keep their keys.
    ///
    /// # Errors
    /// When one is none that MCP has.
    pub(super) fn ask(&self, asks: BTreeMap<String, Question>) -> Result<(), ErrorData> {
        let mut state = self.state();
        let mut before = std::mem::take(&mut state.open);
        let round = state.rounds;
        for (key, question) in asks {
            let standing = before.iter().find(|(_, open)| open.key == key);
            if let Some(name) = standing.map(|(name, _)| name.clone()) {
                state.open.extend(before.remove_entry(&name));
                continue;
            }
            let request = json!({ "method": question.method, "params": question.params });
            let request = serde_json::from_value(request).map_err(|error| {
                ErrorData::internal_error(format!("the question {key:?}: {error}"), None)
            })?;
            let name = if round == 0 { key.clone() } else { format!("{key}#{round}") };
            state.rounds = round + 1;
            state.open.insert(name, Open { key, method: question.method, request });
        }
        state.updated = current_timestamp();
        Ok(())
    }

    /// Takes a client's answers to questions that stand; others are passed over, as the extension says.
    ///
    /// # Errors
    /// When answers come faster than the call takes them.
    pub(super) fn answer(&self, given: BTreeMap<String, Value>) -> Result<(), ErrorData> {
        let mut state = self.state();
        let busy = || ErrorData::internal_error("answers come too fast", None);
        let permit = self.answers.try_reserve().map_err(|_| busy());
        let mut answers = BTreeMap::new();
        for (name, answer) in given {
            let fits =
                |open: &Open| answer.as_object().is_some_and(|it| is_answer(&open.method, it));
            if state.open.get(&name).is_some_and(fits)
                && let Some(open) = state.open.remove(&name)
            {
                answers.insert(open.key, answer);
            }
        }
        if !answers.is_empty() {
            state.updated = current_timestamp();
            permit?.send(answers);
        }
        Ok(())
    }

    /// Ends it; bytes that are kept for it.
    pub(super) fn end(
        &self,
        end: Result<CallToolResult, Option<ErrorData>>,
        ttl: Duration,
    ) -> usize {
        let payload = match end {
            Ok(result) => TaskPayload::Completed { result: object(&result) },
            Err(Some(error)) => TaskPayload::Failed { error: object(&error) },
            Err(None) => TaskPayload::Cancelled,
        };
        let mut state = self.state();
        state.size = match &payload {
            TaskPayload::Completed { result } => json!(result).to_string().len(),
            _ => 0,
        };
        state.open.clear();
        state.end = Some(payload);
        state.updated = current_timestamp();
        // Counted from its creation, as the extension has it.
        state.ttl = ttl;
        state.size
    }

    /// Bytes that are kept for it.
    pub(super) fn size(&self) -> usize {
        self.state().size
    }
}

fn object(value: &impl Serialize) -> JsonObject {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        _ => JsonObject::new(),
    }
}

//! Questions of a plugin to the client of the session that it works for: `mcp/ask/req` and typed calls of it.

use std::collections::BTreeMap;

use a2e_core::protocol::ErrorCode;
use a2e_core::request::Call;
use a2e_core::{Error, Result, message};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// `mcp/ask/req`: questions to the client of the session, from the handler of a request of that session.
///
/// A front that serves MCP answers it for its sessions, and passes it on for others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AskRequest {
    /// The questions, each under a key of the plugin's own.
    pub questions: BTreeMap<String, Question>,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Question {
    /// The method of MCP: `sampling/createMessage`, `elicitation/create` or `roots/list`; or `tasks/create`.
    pub method: String,
    /// Its parameters, as MCP has them.
    #[serde(default)]
    pub params: Map<String, Value>,
}

/// The method of the question whether the client can wait for the call as for a task. It is asked alone, and
/// the front answers it: the call goes on, and its client has a handle to look after it.
pub const TASK: &str = "tasks/create";

/// `mcp/ask/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AskResponse {
    /// What the client answered, as MCP has it, by key. Questions that it did not say it can answer are
    /// left out.
    pub answers: BTreeMap<String, Map<String, Value>>,
}

message!(AskResponse, "mcp/ask/resp");
// No deadline but that of the request behind it: people take their time.
message!(AskRequest, "mcp/ask/req" => AskResponse, First, None);

impl AskRequest {
    /// No question yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has the client's model write a message: `params` of `sampling/createMessage`, such as `messages` and
    /// `maxTokens`.
    #[must_use]
    pub fn sample(self, key: &str, params: Map<String, Value>) -> Self {
        self.with(key, "sampling/createMessage", params)
    }

    /// Has the client's user fill in a form: the answer has `action` and, when that is `accept`, `content`.
    #[must_use]
    pub fn elicit(self, key: &str, message: &str, schema: &Value) -> Self {
        let params = [("message", json!(message)), ("requestedSchema", schema.clone())];
        let params = params.map(|(name, value)| (name.to_owned(), value));
        self.with(key, "elicitation/create", Map::from_iter(params))
    }

    /// Asks for the folders that the client works in: the answer has `roots`.
    #[must_use]
    pub fn roots(self, key: &str) -> Self {
        self.with(key, "roots/list", Map::new())
    }

    fn with(mut self, key: &str, method: &str, params: Map<String, Value>) -> Self {
        self.questions.insert(key.to_owned(), Question { method: method.to_owned(), params });
        self
    }
}

/// Asks the client of the caller's session.
///
/// ```
/// use a2e_caps::mcp::contract::AskClient as _;
/// use a2e_core::{Result, request::Call};
/// use serde_json::json;
///
/// async fn confirmed(call: &Call) -> Result<bool> {
///     let schema = json!({ "type": "object", "properties": { "sure": { "type": "boolean" } } });
///     let answer = call.elicit("Delete it?", &schema).await?;
///     Ok(answer.get("action").is_some_and(|it| it == "accept"))
/// }
/// ```
///
/// Errors of all of them: `mcp_capability_missing` when the client did not say that it can answer;
/// `mcp_sampling_refused` when it answers with an error; `cancelled` when the request behind it ends.
pub trait AskClient {
    /// Several questions at once, so that a client asks its user once. Those that the client cannot answer
    /// are left out of the answers.
    fn ask(&self, asked: &AskRequest) -> impl Future<Output = Result<AskResponse>> + Send;

    /// As [`AskRequest::sample`].
    fn sample(
        &self,
        params: Map<String, Value>,
    ) -> impl Future<Output = Result<Map<String, Value>>> + Send;

    /// As [`AskRequest::elicit`].
    fn elicit(
        &self,
        message: &str,
        schema: &Value,
    ) -> impl Future<Output = Result<Map<String, Value>>> + Send;

    /// As [`AskRequest::roots`].
    fn roots(&self) -> impl Future<Output = Result<Map<String, Value>>> + Send;

    /// Has the call of the client answered now with a task, which it looks after. For calls that are known to
    /// take long; of others the front makes a task by itself when they do. A call that can do without goes
    /// on when this fails: then the client waits for the result itself.
    fn as_task(&self) -> impl Future<Output = Result<()>> + Send;
}

/// The key of a question that is asked alone.
const ALONE: &str = "answer";

impl AskClient for Call {
    async fn ask(&self, asked: &AskRequest) -> Result<AskResponse> {
        self.request(asked).await.map_err(|error| match error.code() {
            ErrorCode::UnknownType => unable(),
            _ => error,
        })
    }

    async fn sample(&self, params: Map<String, Value>) -> Result<Map<String, Value>> {
        one(self, AskRequest::new().sample(ALONE, params)).await
    }

    async fn elicit(&self, message: &str, schema: &Value) -> Result<Map<String, Value>> {
        one(self, AskRequest::new().elicit(ALONE, message, schema)).await
    }

    async fn roots(&self) -> Result<Map<String, Value>> {
        one(self, AskRequest::new().roots(ALONE)).await
    }

    async fn as_task(&self) -> Result<()> {
        one(self, AskRequest::new().with(ALONE, TASK, Map::new())).await.map(drop)
    }
}

async fn one(call: &Call, asked: AskRequest) -> Result<Map<String, Value>> {
    call.ask(&asked).await?.answers.remove(ALONE).ok_or_else(unable)
}

fn unable() -> Error {
    let text = "the client of this session did not say that it answers such questions";
    Error::new(ErrorCode::McpCapabilityMissing, text)
}

//! Questions to an agent that speaks A2E itself. A front answers `mcp/ask/req` for its own sessions, and
//! passes it on for others, which are asked here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::plugin::Answer;
use a2e_core::protocol::{ErrorCode, Message};
use a2e_core::request::{Call, SessionHandle};
use a2e_core::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::MCPPlugin;
use crate::mcp::contract::{AskRequest, AskResponse, Question};
use crate::mcp::protocol::{ElicitRequest, ElicitResponse, SampleRequest, SampleResponse};
use crate::mcp::upstream::{ASKED, ASKING};

/// How long an agent may take, where the call behind the question never ends by itself.
const LONGEST: Duration = Duration::from_mins(10);

pub(super) async fn ask(
    plugin: Arc<MCPPlugin>,
    request: AskRequest,
    call: Call,
) -> Answer<AskResponse> {
    let (session, limit) = (call.session(), call.remaining().unwrap_or(LONGEST).min(LONGEST));
    let mut answers = BTreeMap::new();
    for (key, question) in request.questions {
        let answer = match question.method.as_str() {
            "roots/list" => Map::from_iter([("roots".to_owned(), json!(plugin.config.roots))]),
            "sampling/createMessage" => sample(&session, question, limit).await?,
            "elicitation/create" => elicit(&session, question, limit).await?,
            _ => continue,
        };
        answers.insert(key, answer);
    }
    Ok(AskResponse { answers }.into())
}

/// The parameters of a question, with the server that asks it and its number.
struct Asked {
    params: Map<String, Value>,
    server_id: String,
    mcp_request_id: String,
}

impl Asked {
    fn of(question: Question) -> Self {
        let mut params = question.params;
        let meta = params.remove("_meta").unwrap_or_default();
        let mark = |key: &str| meta.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { server_id: mark(ASKING), mcp_request_id: mark(ASKED), params }
    }

    fn text(&self, key: &str) -> String {
        self.params.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// A part that is a list or an object; its empty value where it is not there.
    fn part<T: DeserializeOwned + Default>(&self, key: &str) -> T {
        let part = self.params.get(key).cloned();
        part.and_then(|part| serde_json::from_value(part).ok()).unwrap_or_default()
    }
}

async fn put<Q, A>(session: &SessionHandle, question: &Q, limit: Duration) -> Result<A>
where
    Q: Message + Serialize,
    A: DeserializeOwned,
{
    let line = session.ask(Q::TYPE, question, limit).await?;
    let unfit = |error: serde_json::Error| {
        Error::new(ErrorCode::McpSamplingRefused, format!("an answer of another form: {error}"))
    };
    serde_json::from_str(line.get()).map_err(unfit)
}

fn refused(why: String) -> Error {
    Error::new(ErrorCode::McpSamplingRefused, why)
}

async fn sample(
    session: &SessionHandle,
    question: Question,
    limit: Duration,
) -> Result<Map<String, Value>> {
    let asked = Asked::of(question);
    let usual = SampleRequest::default();
    let number = |key: &str| asked.params.get(key).and_then(Value::as_f64);
    let request = SampleRequest {
        messages: asked.part("messages"),
        model_preferences: asked.part("modelPreferences"),
        system_prompt: asked.text("systemPrompt"),
        include_context: Some(asked.text("includeContext"))
            .filter(|it| !it.is_empty())
            .unwrap_or(usual.include_context),
        temperature: number("temperature").unwrap_or(usual.temperature),
        max_tokens: asked
            .params
            .get("maxTokens")
            .and_then(Value::as_u64)
            .unwrap_or(usual.max_tokens),
        stop_sequences: asked.part("stopSequences"),
        metadata: asked.part("metadata"),
        server_id: asked.server_id,
        mcp_request_id: asked.mcp_request_id,
    };
    let answer: SampleResponse = put(session, &request, limit).await?;
    if !answer.error.is_empty() {
        return Err(refused(answer.error));
    }
    let mut result = Map::new();
    result.insert("role".to_owned(), answer.role.into());
    result.insert("content".to_owned(), answer.content.into());
    result.insert("model".to_owned(), answer.model.into());
    if !answer.stop_reason.is_empty() {
        result.insert("stopReason".to_owned(), answer.stop_reason.into());
    }
    Ok(result)
}

async fn elicit(
    session: &SessionHandle,
    question: Question,
    limit: Duration,
) -> Result<Map<String, Value>> {
    let asked = Asked::of(question);
    let mode = Some(asked.text("mode")).filter(|it| !it.is_empty());
    let request = ElicitRequest {
        mode: mode.unwrap_or_else(|| "form".to_owned()),
        message: asked.text("message"),
        requested_schema: asked.part("requestedSchema"),
        url: asked.text("url"),
        server_id: asked.server_id,
        mcp_request_id: asked.mcp_request_id,
    };
    let answer: ElicitResponse = put(session, &request, limit).await?;
    if !answer.error.is_empty() {
        return Err(refused(answer.error));
    }
    let mut result = Map::from_iter([("action".to_owned(), answer.action.as_str().into())]);
    if answer.action == "accept" {
        result.insert("content".to_owned(), answer.content.into());
    }
    Ok(result)
}

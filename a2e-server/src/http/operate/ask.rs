//! One message to the host, in a session of its own.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::http::Shared;
use crate::http::admit::Caller;
use crate::http::reply::Refused;

/// The longest that a reload or a snapshot may take.
const LIMIT: Duration = Duration::from_mins(5);

/// The id of the one request of the session.
const ID: &str = "api";

/// Asks and gives the reply as the body; an `error` has a status that fits its code.
pub(super) async fn answer(
    shared: &Shared,
    caller: Caller,
    wire_type: &str,
    mut fields: Map<String, Value>,
) -> Result<Response, Refused> {
    fields.insert("type".to_owned(), json!(wire_type));
    fields.insert("id".to_owned(), json!(ID));
    let line = Value::Object(fields).to_string();
    let front = shared.executor.open(caller.peer, caller.identity, LIMIT)?;
    let asked = async {
        front.feed(line.as_bytes()).await;
        // The first line answers; the session has nobody else who would be told anything.
        front.sent_beyond(0).await;
        front.read_after(0).await
    };
    let answered = tokio::time::timeout(LIMIT, asked).await;
    front.end(Duration::ZERO);
    let gone = || Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the host is ending");
    let (_, lines) = answered.map_err(|_| gone())?.ok_or_else(gone)?;
    let line = lines.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let reply: Value = serde_json::from_slice(line).map_err(|_| gone())?;
    Ok((status_of(&reply), Json(reply)).into_response())
}

fn status_of(reply: &Value) -> StatusCode {
    let code = reply.get("code").and_then(Value::as_str).unwrap_or_default();
    let is_error = reply.get("type").is_some_and(|kind| kind == "error");
    match code {
        // A reload that is refused says so in a report.
        _ if !is_error => match reply.get("ok") {
            Some(Value::Bool(false)) => StatusCode::CONFLICT,
            _ => StatusCode::OK,
        },
        "schema_violation" | "invalid_message" => StatusCode::BAD_REQUEST,
        "unauthorized" => StatusCode::FORBIDDEN,
        "unknown_type" => StatusCode::NOT_FOUND,
        "overloaded" | "shutting_down" | "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

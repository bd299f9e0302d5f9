//! JSON-RPC at `/mcp`, by `POST` or over a WebSocket, and in frames of `/ws`: tools of the environment itself. Ours have none; the tools of the host are
//! served at the host's own `/mcp`, where an agent cannot reset the world it is in.

use std::sync::Arc;

use a2e_core::Error;
use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{check, look, shown};
use crate::http::admit::Caller;
use crate::http::reply::Refused;
use crate::http::{BODY_EXTRA, Shared, send};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    jsonrpc: String,
    method: String,
    #[serde(default, rename = "params")]
    _params: Value,
    #[serde(default)]
    id: Value,
}

/// `POST /mcp`.
pub(super) async fn answer(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<Value>, Refused> {
    check(&shared, &caller)?;
    let most = shared.executor.config().limits.max_line_bytes.saturating_add(BODY_EXTRA);
    let body = send::read(body, most).await?;
    look(&shared, caller, &name).await?;
    Ok(Json(match std::str::from_utf8(&body) {
        Ok(text) => reply(text),
        Err(_) => error(-32700, "Parse error", Value::Null),
    }))
}

/// The reply to a request.
pub(super) fn reply(text: &str) -> Value {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return error(-32700, "Parse error", Value::Null);
    };
    if !value.is_object() {
        return error(-32600, "Invalid request: it is no object", Value::Null);
    }
    let request = match serde_json::from_value::<Request>(value) {
        Ok(request) if request.jsonrpc == "2.0" => request,
        Ok(_) => return error(-32600, "Invalid request: jsonrpc is not 2.0", Value::Null),
        Err(wrong) => return error(-32600, &format!("Invalid request: {wrong}"), Value::Null),
    };
    match request.method.as_str() {
        "tools/list" | "tools/call" => {
            error(-32603, "Environment does not support MCP", request.id)
        }
        other => {
            let text = format!("Method not found: {}", shown(&json!(other)));
            error(-32601, &text, request.id)
        }
    }
}

/// The reply of a host that opens no session.
pub(super) fn refusal(why: &Error) -> Value {
    error(-32000, why.message(), Value::Null)
}

fn error(code: i32, message: &str, id: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

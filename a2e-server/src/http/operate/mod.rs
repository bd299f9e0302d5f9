//! The operator's side: status, reload, drain, audit and metrics over HTTP, for the operator token.
//!
//! What steers the host is asked for in a session of its own, by the messages `host/*`: so it is checked
//! and audited as over any other transport.

mod ask;
mod audit;
mod metrics;
mod openapi;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Map, Value};

use super::admit::Caller;
use super::reply::Refused;
use super::{Shared, send};

/// Where the operator's side begins.
pub(super) const PREFIX: &str = "/api";

/// A route that is a message to the host.
pub(super) struct Operation {
    pub(super) path: &'static str,
    pub(super) is_change: bool,
    /// The message; its reply is the body of the answer.
    pub(super) wire_type: &'static str,
    pub(super) about: &'static str,
}

/// Every route that is a message. The body of a POST is the fields of the message.
pub(super) const OPERATIONS: [Operation; 6] = [
    Operation {
        path: "/status",
        is_change: false,
        wire_type: "host/status/req",
        about: "How the host and its plugins stand",
    },
    Operation {
        path: "/explain",
        is_change: true,
        wire_type: "host/explain/req",
        about: "Which plugins handle a message type, in which order",
    },
    Operation {
        path: "/reload",
        is_change: true,
        wire_type: "host/reload/req",
        about: "Read the configuration again and put its plugins in force",
    },
    Operation {
        path: "/snapshot",
        is_change: true,
        wire_type: "host/snapshot/req",
        about: "Save the state of every plugin now",
    },
    Operation {
        path: "/cancel",
        is_change: true,
        wire_type: "host/cancel/req",
        about: "End a request of any session",
    },
    Operation {
        path: "/drain",
        is_change: true,
        wire_type: "host/stop/req",
        about: "Finish what was accepted, and end",
    },
];

/// Longest body of a request, bytes.
const BODY: usize = 64 * 1024;

/// The routes, for callers with the right to steer the host.
pub(super) fn routes() -> Router<Arc<Shared>> {
    let mut api = Router::new()
        .route("/audit", get(audit::find))
        .route("/openapi.json", get(openapi::document));
    for operation in OPERATIONS {
        let wire_type = operation.wire_type;
        let answer = move |State(shared): State<Arc<Shared>>,
                           Extension(caller): Extension<Caller>,
                           body: Body| async move {
            let body = send::read(body, BODY).await?;
            ask::answer(&shared, caller, wire_type, fields(&body)?).await
        };
        let method = if operation.is_change { post(answer) } else { get(answer) };
        api = api.route(operation.path, method);
    }
    let all = Router::new().nest(PREFIX, api).route("/metrics", get(metrics::metrics));
    all.layer(from_fn(operators_only))
}

/// The fields of the message that a body holds; none is empty.
fn fields(body: &[u8]) -> Result<Map<String, Value>, Refused> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    let wrong = |error: serde_json::Error| {
        Refused::new(StatusCode::BAD_REQUEST, format!("the body is no JSON object: {error}"))
    };
    serde_json::from_slice(body).map_err(wrong)
}

async fn operators_only(
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Result<Response, Refused> {
    if caller.identity.rights.operator {
        return Ok(next.run(request).await);
    }
    caller.is_known("show the host's `operator_token` as `Authorization: Bearer`")?;
    let text = "this token does not steer the host; show the `operator_token`";
    Err(Refused::new(StatusCode::FORBIDDEN, text))
}

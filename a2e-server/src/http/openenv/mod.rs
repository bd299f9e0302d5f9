//! `/env/NAME/…`: the environments of the host as OpenEnv servers, for its clients and trainers.
//!
//! What a caller asks goes through a session of its own, as the requests of any agent.

mod pages;
mod rpc;
mod session;
mod socket;
mod wire;

use std::sync::Arc;

use a2e_core::Error;
use a2e_core::protocol::ErrorCode;
use a2e_core::transport::Right;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::{any, get, post};
use serde_json::Value;

use super::Shared;
use super::admit::Caller;
use super::reply::Refused;
use session::EnvSession;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/env/{name}/health", get(pages::health))
        .route("/env/{name}/metadata", get(pages::metadata))
        .route("/env/{name}/schema", get(pages::schema))
        .route("/env/{name}/openapi.json", get(pages::openapi))
        .route("/env/{name}/reset", post(pages::reset))
        .route("/env/{name}/step", post(pages::step))
        .route("/env/{name}/state", get(pages::state))
        .route("/env/{name}/mcp", post(rpc::answer).get(socket::upgrade_rpc))
        .route("/env/{name}/ws", any(socket::upgrade))
}

/// Refuses a caller that shows no token where one is needed: OpenEnv has no handshake in which it could come.
fn check(shared: &Shared, caller: &Caller) -> Result<(), Refused> {
    if !shared.executor.config().needs_token() {
        return Ok(());
    }
    caller.is_known("a token is needed: Authorization: Bearer …")
}

/// Whether a caller may control environments; where no principals are configured, each may.
fn may_control(shared: &Shared, caller: &Caller) -> bool {
    let is_open = shared.executor.config().server.principals.is_empty();
    is_open || caller.identity.may(Right::EnvControl)
}

/// Whether there is no environment of the name that was asked for.
fn is_unknown(error: &Error) -> bool {
    match error.code() {
        // The plugin tells which there are.
        ErrorCode::RuntimeError => error.detail().contains_key("environments"),
        // There is no such plugin for this caller.
        ErrorCode::UnknownType | ErrorCode::CapabilityMissing => true,
        _ => false,
    }
}

/// An error of the host as an answer over HTTP.
fn refused(error: &Error) -> Refused {
    let status = match error.code() {
        _ if is_unknown(error) => StatusCode::NOT_FOUND,
        ErrorCode::Forbidden | ErrorCode::Unauthorized => StatusCode::FORBIDDEN,
        ErrorCode::SchemaViolation | ErrorCode::InvalidMessage | ErrorCode::UnknownAction => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        ErrorCode::LineTooLong => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
        _ if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refused::new(status, error.message())
}

/// Looks whether an environment is there.
async fn look(shared: &Shared, caller: Caller, name: &str) -> Result<(), Refused> {
    check(shared, &caller)?;
    let session = EnvSession::open(shared, caller, name.to_owned()).await;
    let session = session.map_err(|error| refused(&error))?;
    let found = session.look().await;
    session.end().await;
    found.map_err(|error| refused(&error))
}

/// The text of a value that may be long.
fn shown(value: &Value) -> String {
    value.to_string().chars().take(64).collect()
}

//! Small replies: health, errors as the reference words them.

use std::sync::Arc;

use a2e_core::Error;
use a2e_core::protocol::ErrorCode;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Shared;

/// After how many seconds a client that was told to come back may try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// An error status with its reason, in the form that the reference uses.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    detail: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    pub(super) fn no_session() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Session not found")
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = match error.code() {
            ErrorCode::Overloaded | ErrorCode::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.message())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = Json(json!({ "detail": self.detail }));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// `GET /health`.
pub(super) async fn health(State(shared): State<Arc<Shared>>) -> Response {
    if shared.executor.is_draining() {
        let body = Json(json!({ "status": "draining" }));
        return (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
    }
    Json(json!({ "status": "ok" })).into_response()
}

pub(super) async fn no_such_path(uri: Uri) -> Refused {
    Refused::new(StatusCode::NOT_FOUND, format!("nothing is served at {}", uri.path()))
}

pub(super) async fn wrong_method(uri: Uri) -> Refused {
    let text = format!("{} is not served with this method", uri.path());
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, text)
}

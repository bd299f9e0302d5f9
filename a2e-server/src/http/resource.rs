//! `GET /.well-known/oauth-protected-resource[/path]` (RFC 9728): how to ask at an address that needs a
//! token, and the header of each answer 401 that leads there.

use std::sync::Arc;

use a2e_core::config::{HostConfig, Tls};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::Shared;
use super::reply::Refused;

/// Behind it stands the path of the resource.
pub(super) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The longest path that a challenge names.
const LONGEST: usize = 256;

pub(super) fn routes() -> Router<Arc<Shared>> {
    let of_root = |State(shared): State<Arc<Shared>>, headers: HeaderMap| async move {
        describe(&shared, &headers, "")
    };
    let of_path = |State(shared): State<Arc<Shared>>,
                   Path(path): Path<String>,
                   headers: HeaderMap| async move {
        describe(&shared, &headers, &format!("/{path}"))
    };
    Router::new()
        .route(WELL_KNOWN, get(of_root))
        .route(&format!("{WELL_KNOWN}/{{*path}}"), get(of_path))
}

/// The metadata of one path; there is none where no token opens more than nobody has.
fn describe(shared: &Shared, headers: &HeaderMap, path: &str) -> Result<Response, Refused> {
    let config = shared.executor.config();
    if !config.needs_token() && config.operator_token.is_none() {
        return Err(Refused::new(StatusCode::NOT_FOUND, "this host needs no token"));
    }
    let resource = format!("{}{path}", origin(config, headers));
    let body = json!({
        "resource": resource,
        "resource_name": "A2E host",
        "bearer_methods_supported": ["header"],
    });
    Ok(Json(body).into_response())
}

/// What clients call this host: by its configuration, else as this request did, which `admit` has checked.
fn origin(config: &HostConfig, headers: &HeaderMap) -> String {
    if let Some(base) = config.http_paths().base_url
        && let Some((scheme, rest)) = base.split_once("://")
    {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        return format!("{scheme}://{authority}");
    }
    let scheme = if config.server.tls == Tls::None { "http" } else { "https" };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    format!("{scheme}://{host}")
}

/// What an answer 401 to this request says of how to ask (RFC 6750, RFC 9728).
pub(super) fn challenge(shared: &Shared, request: &Request) -> HeaderValue {
    let origin = origin(shared.executor.config(), request.headers());
    let path = request.uri().path();
    let is_plain = path.len() <= LONGEST && !path.contains(['"', '\\']);
    let path = if is_plain { path.trim_end_matches('/') } else { "" };
    let error = if request.headers().contains_key(header::AUTHORIZATION) {
        ", error=\"invalid_token\""
    } else {
        ""
    };
    let text =
        format!("Bearer realm=\"a2e\"{error}, resource_metadata=\"{origin}{WELL_KNOWN}{path}\"");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer realm=\"a2e\""))
}

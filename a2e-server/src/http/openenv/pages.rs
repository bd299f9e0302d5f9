//! What is asked over HTTP: of an environment, and in an episode that lasts for one request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use a2e_caps::env::JsonObject;
use a2e_core::codec::RawJson;
use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::session::{EnvSession, Seen};
use super::{check, is_unknown, look, may_control, refused};
use crate::http::admit::Caller;
use crate::http::reply::Refused;
use crate::http::{BODY_EXTRA, Shared, send};

/// The version of OpenEnv's interface, by which its judge chooses what to ask for.
const INTERFACE: &str = "1.0.0";

/// How long an environment may take to show that it is well; one that is being started is not yet.
const HEALTH_LIMIT: Duration = Duration::from_secs(2);

/// `POST /step`.
#[derive(Deserialize)]
struct Step {
    action: JsonObject,
    /// Seconds that the step may take; the host's own limit holds as well.
    #[serde(default)]
    timeout_s: Option<f64>,
}

/// `GET /health`.
pub(super) async fn health(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Refused> {
    check(&shared, &caller)?;
    let session = EnvSession::open(&shared, caller, name).await.map_err(|it| refused(&it))?;
    let spaces = timeout(HEALTH_LIMIT, session.spaces()).await;
    session.end().await;
    match spaces {
        Ok(Ok(_)) if !shared.executor.is_draining() => {
            Ok(Json(json!({ "status": "healthy" })).into_response())
        }
        Ok(Err(error)) if is_unknown(&error) => Err(refused(&error)),
        _ => {
            let body = Json(json!({ "status": "unhealthy" }));
            Ok((StatusCode::SERVICE_UNAVAILABLE, body).into_response())
        }
    }
}

/// `GET /metadata`.
pub(super) async fn metadata(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refused> {
    look(&shared, caller, &name).await?;
    Ok(Json(json!({
        "name": name,
        "description": format!("The environment {name} of an A2E host"),
        "readme_content": null,
        "version": env!("CARGO_PKG_VERSION"),
        "author": null,
        "documentation_url": null,
    })))
}

/// `GET /schema`.
pub(super) async fn schema(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Refused> {
    check(&shared, &caller)?;
    let session = EnvSession::open(&shared, caller, name).await.map_err(|it| refused(&it))?;
    let spaces = session.spaces().await;
    session.end().await;
    let spaces = spaces.map_err(|it| refused(&it))?;
    let state = JsonObject::of(&json!({
        "type": "object",
        "properties": {
            "episode_id": { "type": ["string", "null"] },
            "step_count": { "type": "integer", "minimum": 0 },
            "done": { "type": "boolean" },
            "truncated": { "type": "boolean" },
        },
    }));
    let state = state.unwrap_or_default();
    let pages = BTreeMap::from([
        ("action", spaces.action_space),
        ("observation", spaces.state_schema),
        ("state", state),
    ]);
    Ok(Json(pages).into_response())
}

/// `GET /openapi.json`.
pub(super) async fn openapi(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refused> {
    look(&shared, caller, &name).await?;
    let mut paths = Map::new();
    for (path, method, about) in [
        ("/health", "get", "Whether it serves"),
        ("/metadata", "get", "Its name and what it is"),
        ("/schema", "get", "JSON Schemas of actions, observations and state"),
        ("/reset", "post", "The first observation of an episode that is closed with the answer"),
        ("/step", "post", "The first step of an episode that is closed with the answer"),
        ("/state", "get", "The state before an episode; those of episodes are told over /ws"),
        (
            "/mcp",
            "post",
            "JSON-RPC, also over a WebSocket; the environment has no tools of its own",
        ),
        ("/ws", "get", "A WebSocket, which is an episode: reset, step, state, close"),
    ] {
        let answers = json!({ "200": { "description": about } });
        let operation = json!({ method: { "summary": about, "responses": answers } });
        paths.insert(path.to_owned(), operation);
    }
    Ok(Json(json!({
        "openapi": "3.1.0",
        "info": { "title": format!("{name}, an OpenEnv environment"), "version": INTERFACE },
        "paths": paths,
    })))
}

/// `POST /reset`: as OpenEnv's own servers do, in an episode of its own.
pub(super) async fn reset(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<Seen>, Refused> {
    check(&shared, &caller)?;
    let data = read(&shared, body).await?;
    alone(&shared, caller, name, data, None).await
}

/// `POST /step`: as [`reset`], one step on.
pub(super) async fn step(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<Seen>, Refused> {
    check(&shared, &caller)?;
    let Step { action, timeout_s } = read(&shared, body).await?;
    let limit = match timeout_s {
        Some(seconds) if seconds > 0.0 => Duration::try_from_secs_f64(seconds).ok(),
        Some(seconds) => {
            let text = format!("timeout_s: {seconds} is not above 0");
            return Err(Refused::new(StatusCode::UNPROCESSABLE_ENTITY, text));
        }
        None => None,
    };
    alone(&shared, caller, name, BTreeMap::new(), Some((action, limit))).await
}

async fn alone(
    shared: &Shared,
    caller: Caller,
    name: String,
    data: BTreeMap<String, RawJson>,
    step: Option<(JsonObject, Option<Duration>)>,
) -> Result<Json<Seen>, Refused> {
    let mut session = EnvSession::open(shared, caller, name).await.map_err(|it| refused(&it))?;
    let mut seen = session.reset(data).await;
    if let (Ok(_), Some((action, limit))) = (&seen, step) {
        seen = session.step(action, limit).await;
    }
    session.end().await;
    seen.map(Json).map_err(|it| refused(&it))
}

/// `GET /state`: what there is before a reset.
pub(super) async fn state(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refused> {
    check(&shared, &caller)?;
    if !may_control(&shared, &caller) {
        let text = "the state of an environment needs the right `env-control`";
        return Err(Refused::new(StatusCode::FORBIDDEN, text));
    }
    look(&shared, caller, &name).await?;
    Ok(Json(json!({ "episode_id": null, "step_count": 0 })))
}

/// A body of JSON; one that is empty is an empty object.
async fn read<T: DeserializeOwned>(shared: &Shared, body: Body) -> Result<T, Refused> {
    let most = shared.executor.config().limits.max_line_bytes.saturating_add(BODY_EXTRA);
    let body = send::read(body, most).await?;
    let wrong = |why: String| Refused::new(StatusCode::UNPROCESSABLE_ENTITY, why);
    let text = std::str::from_utf8(&body).map_err(|error| wrong(error.to_string()))?;
    let text = if text.trim().is_empty() { "{}" } else { text };
    let raw = RawJson::parse(text.to_owned()).map_err(|error| wrong(error.to_string()))?;
    let object: JsonObject = raw.decode().map_err(|error| wrong(error.to_string()))?;
    object.raw().decode().map_err(|error| wrong(error.to_string()))
}

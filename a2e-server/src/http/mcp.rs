//! MCP over HTTP: rmcp's service behind our own admission, with two ways in: by session, and alone.

use std::sync::Arc;

use a2e_core::transport::Identity;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::Response;
use axum::routing::any;
use dashmap::DashMap;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::admit::Caller;
use super::reply::Refused;
use super::{BODY_EXTRA, Shared, send};
use crate::serve::mcp::{Handler, McpFront, View};

/// The header that names a session.
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

type Service = StreamableHttpService<Handler, LocalSessionManager>;

/// The services of one path.
struct Served {
    /// Sessions that begin with `initialize`.
    by_session: Service,
    /// Requests that stand alone: those of the newest revision, and of older clients that send no session.
    alone: Service,
    sessions: Arc<LocalSessionManager>,
    /// Who opened a session; nobody else may use it (R64).
    principals: DashMap<String, String>,
}

/// The routes of all views.
pub(super) fn routes(front: &Arc<McpFront>, ended: &CancellationToken) -> Router<Arc<Shared>> {
    let views = View::all(&front.settings);
    views.into_iter().fold(Router::new(), |router, (end, view)| {
        let served = Arc::new(Served::new(front, &view, ended));
        let path = format!("{}{end}", front.settings.path);
        router.route(&path, any(serve).layer(Extension(served)))
    })
}

impl Served {
    fn new(front: &Arc<McpFront>, view: &View, ended: &CancellationToken) -> Self {
        let mut sessions = LocalSessionManager::default();
        sessions.session_config.keep_alive = Some(front.settings.session_ttl);
        let sessions = Arc::new(sessions);
        let most = front.max_line().saturating_add(BODY_EXTRA);
        let config = StreamableHttpServerConfig::default()
            // Both were checked before: `admit`.
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_max_request_body_bytes(most)
            .with_cancellation_token(ended.child_token());
        let make = |is_alone: bool, config: StreamableHttpServerConfig| {
            let (front, view) = (Arc::clone(front), view.clone());
            let made = move || Ok(front.handler(&view, is_alone));
            StreamableHttpService::new(made, Arc::clone(&sessions), config)
        };
        let by_session = make(false, config.clone());
        let alone = make(true, config.with_legacy_session_mode(false).with_json_response(true));
        Self { by_session, alone, sessions, principals: DashMap::new() }
    }

    /// Whether the session is this principal's, or nobody's.
    fn is_own(&self, id: &str, caller: &Identity) -> bool {
        self.principals.get(id).is_none_or(|owner| *owner == caller.principal)
    }

    /// Notes the owner of a session that was opened, and forgets those of sessions that have ended.
    async fn note(&self, id: &str, caller: &Identity) {
        let live = self.sessions.sessions.read().await;
        self.principals.retain(|id, _| live.contains_key(id.as_str()));
        drop(live);
        self.principals.insert(id.to_owned(), caller.principal.clone());
    }
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Extension(served): Extension<Arc<Served>>,
    request: Request,
) -> Result<Response, Refused> {
    if shared.executor.config().needs_token() && !caller.identity.is_authenticated() {
        let text = "a token is needed: Authorization: Bearer …";
        return Err(Refused::new(StatusCode::UNAUTHORIZED, text));
    }
    let id = session_id(request.headers());
    if id.as_deref().is_some_and(|id| !served.is_own(id, &caller.identity)) {
        return Err(Refused::no_session());
    }
    let most = shared.executor.config().limits.max_line_bytes.saturating_add(BODY_EXTRA);
    let (parts, body) = request.into_parts();
    let body = send::read(body, most).await?;
    // Without a session only `initialize` opens one; other requests get along without.
    let is_alone = parts.method == Method::POST && id.is_none() && !opens(&body);
    let service = if is_alone { &served.alone } else { &served.by_session };
    let request = Request::from_parts(parts, Body::from(body));
    let is_end = request.method() == Method::DELETE;
    let mut response = service.handle(request).await;
    if is_end && response.status() == StatusCode::ACCEPTED {
        // The Python SDK takes 200 and 204 for an end alone.
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    if id.is_none()
        && let Some(id) = session_id(response.headers())
    {
        served.note(&id, &caller.identity).await;
    }
    Ok(response.map(Body::new))
}

fn session_id(headers: &HeaderMap) -> Option<String> {
    headers.get(SESSION)?.to_str().ok().map(str::to_owned)
}

/// Whether a body is the request that opens a session.
fn opens(body: &Bytes) -> bool {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        method: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice::<Head<'_>>(body).is_ok_and(|head| head.method == "initialize")
}

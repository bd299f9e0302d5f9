//! MCP over HTTP: rmcp's service behind our own admission, with two ways in: by session, and alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use a2e_core::config::Limits;
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
    /// Sessions that are being opened.
    opening: AtomicUsize,
}

/// The routes of all views.
pub(super) fn routes(front: &Arc<McpFront>) -> Router<Arc<Shared>> {
    let views = View::all(&front.settings);
    views.into_iter().fold(Router::new(), |router, (end, view)| {
        let served = Arc::new(Served::new(front, &view));
        let path = format!("{}{end}", front.settings.path);
        router.route(&path, any(serve).layer(Extension(served)))
    })
}

impl Served {
    fn new(front: &Arc<McpFront>, view: &View) -> Self {
        let mut sessions = LocalSessionManager::default();
        sessions.session_config.keep_alive = Some(front.settings.session_ttl);
        let sessions = Arc::new(sessions);
        let most = front.max_line().saturating_add(BODY_EXTRA);
        let config = StreamableHttpServerConfig::default()
            // Both were checked before: `admit`.
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_max_request_body_bytes(most)
            .with_cancellation_token(front.cut.child_token());
        let make = |is_alone: bool, config: StreamableHttpServerConfig| {
            let (front, view) = (Arc::clone(front), view.clone());
            let made = move || Ok(front.handler(&view, is_alone));
            StreamableHttpService::new(made, Arc::clone(&sessions), config)
        };
        let by_session = make(false, config.clone());
        let alone = make(true, config.with_legacy_session_mode(false).with_json_response(true));
        Self {
            by_session,
            alone,
            sessions,
            principals: DashMap::new(),
            opening: AtomicUsize::new(0),
        }
    }

    /// Whether the session is this principal's, or nobody's.
    fn is_own(&self, id: &str, caller: &Identity) -> bool {
        self.principals.get(id).is_none_or(|owner| *owner == caller.principal)
    }

    /// Room for one more session, of this principal too; held until it is noted.
    async fn room(&self, limits: &Limits, caller: &Identity) -> Result<Opening<'_>, Refused> {
        let opening = Opening::new(&self.opening);
        let live = self.sessions.sessions.read().await.len();
        let own = || self.principals.iter().filter(|it| *it.value() == caller.principal).count();
        let is_full = live + opening.number > limits.max_sessions
            || (live >= limits.max_sessions_per_principal
                && own() >= limits.max_sessions_per_principal);
        if is_full {
            let text = "too many sessions are open: end one with DELETE, or come back later";
            return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        Ok(opening)
    }

    /// Notes the owner of a session that was opened, and forgets those of sessions that have ended when
    /// these are the half: each opening pays for one look.
    async fn note(&self, id: &str, caller: &Identity) {
        let live = self.sessions.sessions.read().await;
        if self.principals.len() > 2 * live.len() {
            self.principals.retain(|id, _| live.contains_key(id.as_str()));
        }
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
    let opening = if request_opens(&parts.method, id.as_deref(), is_alone) {
        Some(served.room(&shared.executor.config().limits, &caller.identity).await?)
    } else {
        None
    };
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
    drop(opening);
    Ok(response.map(Body::new))
}

fn session_id(headers: &HeaderMap) -> Option<String> {
    headers.get(SESSION)?.to_str().ok().map(str::to_owned)
}

/// Whether a request without a session is one that opens it.
fn request_opens(method: &Method, id: Option<&str>, is_alone: bool) -> bool {
    *method == Method::POST && id.is_none() && !is_alone
}

/// One of the sessions that are being opened.
struct Opening<'a> {
    all: &'a AtomicUsize,
    number: usize,
}

impl<'a> Opening<'a> {
    fn new(all: &'a AtomicUsize) -> Self {
        Self { all, number: all.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
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

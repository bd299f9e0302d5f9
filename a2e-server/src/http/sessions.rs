//! The sessions over HTTP: opened, found by their header, ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use a2e_core::Front;
use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use dashmap::DashMap;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::admit::Caller;
use super::reply::Refused;
use super::{Shared, send};

/// The header that names a session.
const SESSION: &str = "x-session-id";

/// The longest body of `POST /session`.
const BODY: usize = 4096;

/// Bodies of one session that are read, or wait for room, at a time: with the longest line they bound what a peer
/// can have the host hold. More wait for their turn.
const BODIES: usize = 16;

/// The sessions that have not ended, by id. As many as the host allows.
#[derive(Debug, Default)]
pub(super) struct Sessions(DashMap<String, Arc<HttpSession>>);

/// One session over HTTP.
#[derive(Debug)]
pub(super) struct HttpSession {
    pub(super) front: Arc<Front>,
    /// The opener, who alone may use it (R64).
    principal: String,
    /// Lines that were given to a stream.
    delivered: AtomicU64,
    bodies: Semaphore,
}

impl HttpSession {
    /// A turn to read a body.
    ///
    /// # Errors
    /// 503 when others take too long.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, Refused> {
        let turn = timeout(send::ROOM_LIMIT, self.bodies.acquire()).await;
        let turn = turn.ok().and_then(Result::ok);
        let text = "too many messages of this session are on their way: send this again";
        turn.ok_or_else(|| Refused::new(StatusCode::SERVICE_UNAVAILABLE, text))
    }

    pub(super) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub(super) fn note_delivered(&self, number: u64) {
        self.delivered.store(number, Ordering::Relaxed);
    }
}

impl Sessions {
    /// The session that a request names.
    ///
    /// # Errors
    /// The reference's answers to a missing id and to one of no session; one of another principal is
    /// told apart from neither.
    pub(super) fn find(
        &self,
        headers: &HeaderMap,
        caller: &Caller,
    ) -> Result<Arc<HttpSession>, Refused> {
        let Some(id) = headers.get(SESSION).and_then(|id| id.to_str().ok()) else {
            return Err(Refused::new(StatusCode::BAD_REQUEST, "Missing X-Session-Id"));
        };
        let found = self.0.get(id).map(|found| Arc::clone(&found));
        let found = found.filter(|it| it.principal == caller.identity.principal);
        found.ok_or_else(Refused::no_session)
    }

    /// Keeps a session in the table until it ends.
    fn keep(self: &Arc<Self>, front: Arc<Front>, principal: String) -> String {
        let id = front.session().id().to_string();
        let session = HttpSession {
            front: Arc::clone(&front),
            principal,
            delivered: AtomicU64::new(0),
            bodies: Semaphore::new(BODIES),
        };
        self.0.insert(id.clone(), Arc::new(session));
        let (table, key) = (Arc::clone(self), id.clone());
        tokio::spawn(async move {
            front.ended().await;
            table.0.remove(&key);
        });
        id
    }
}

/// What `POST /session` may be told.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Seconds without a stream or a request after which the session ends; the host's own at most.
    idle_s: Option<f64>,
}

/// `POST /session`.
pub(super) async fn open(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Refused> {
    let body = send::read(body, BODY).await?;
    let wanted = if body.iter().all(u8::is_ascii_whitespace) {
        Wanted::default()
    } else {
        let wrong =
            |error: serde_json::Error| Refused::new(StatusCode::BAD_REQUEST, error.to_string());
        serde_json::from_slice(&body).map_err(wrong)?
    };
    let most = shared.executor.config().server.session_idle;
    let idle = wanted.idle_s.and_then(|idle| Duration::try_from_secs_f64(idle).ok());
    let idle = idle.map_or(most, |idle| idle.clamp(Duration::from_secs(1).min(most), most));
    let principal = caller.identity.principal.clone();
    let front = shared.executor.open(caller.peer, caller.identity, idle)?;
    let id = shared.sessions.keep(front, principal);
    Ok(Json(json!({ "session_id": id, "idle_s": idle.as_secs_f64() })).into_response())
}

/// `DELETE /session`.
pub(super) async fn end(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let session = shared.sessions.find(&headers, &caller)?;
    session.front.end(Duration::ZERO);
    Ok(Json(json!({ "ok": true })).into_response())
}

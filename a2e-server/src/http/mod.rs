//! HTTP: sessions with messages by POST and a stream of server-sent events, `WebSocket`s, health.
//!
//! A session over POST and SSE outlives its connections (a `Front` of the core); a WebSocket is a
//! connection like a socket.

mod admit;
mod connection;
mod counts;
#[cfg(feature = "mcp-server")]
mod mcp;
mod openenv;
mod operate;
mod reply;
mod resource;
mod send;
mod sessions;
mod stream;
mod websocket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::Executor;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get, post};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[cfg(feature = "mcp-server")]
pub(crate) use admit::Caller;
pub(crate) use admit::HostNames;
use counts::Counts;
use sessions::Sessions;

/// What a body may have beyond the longest line (R63).
const BODY_EXTRA: usize = 64 * 1024;

/// How long a body may take to come.
const BODY_LIMIT: Duration = Duration::from_secs(30);

/// One address that speaks HTTP.
#[derive(Debug)]
pub(crate) struct HttpFront {
    app: Router,
    counts: Arc<Counts>,
    /// The connections that are open.
    connections: TaskTracker,
    ended: CancellationToken,
}

/// What all requests of an address share.
#[derive(Debug)]
struct Shared {
    executor: Arc<Executor>,
    sessions: Arc<Sessions>,
    names: HostNames,
    counts: Arc<Counts>,
}

impl HttpFront {
    /// Serves until `ended`: then connections without a request in flight are closed.
    pub(crate) fn new(
        executor: Arc<Executor>,
        names: HostNames,
        ended: CancellationToken,
        #[cfg(feature = "mcp-server")] mcp: Option<&Arc<crate::serve::mcp::McpFront>>,
    ) -> Self {
        let sessions = Arc::new(Sessions::default());
        let paths = executor.config().http_paths();
        let counts = Arc::new(Counts::default());
        let shared = Arc::new(Shared { executor, sessions, names, counts: Arc::clone(&counts) });
        #[cfg(feature = "mcp-server")]
        let others = mcp.map(mcp::routes).unwrap_or_default();
        #[cfg(not(feature = "mcp-server"))]
        let others = Router::new();
        let app = others
            .route("/session", post(sessions::open).delete(sessions::end))
            .route(&paths.send_path, post(send::send))
            .route(&paths.stream_path, get(stream::stream))
            .route("/ws", any(websocket::upgrade))
            .route("/health", get(reply::health))
            .merge(openenv::routes())
            .merge(operate::routes())
            .merge(resource::routes())
            .fallback(reply::no_such_path)
            .method_not_allowed_fallback(reply::wrong_method)
            .layer(from_fn_with_state(Arc::clone(&shared), admit::admit))
            // The bodies that are read are bounded where they are read.
            .layer(DefaultBodyLimit::disable())
            .with_state(shared);
        Self { app, counts, connections: TaskTracker::new(), ended }
    }

    /// Serves one connection until it ends.
    pub(crate) fn spawn(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
    ) {
        let service = TowerToHyperService::new(self.app.clone());
        let (counts, ended) = (Arc::clone(&self.counts), self.ended.clone());
        self.connections.spawn(async move {
            if let Err(error) = connection::serve(stream, peer, service, ended).await {
                tracing::debug!(%error, %peer, "HTTP connection ended");
                counts.broke();
            }
        });
    }

    /// Waits until every connection has ended.
    pub(crate) async fn finish(&self) {
        self.connections.close();
        self.connections.wait().await;
    }
}

//! One accepted connection: its socket options, and how long its peer may take for a head.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// How long the head of a request may take to come; an idle connection is closed after it as well (R63).
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// The longest head: more is answered 431.
const HEAD_BYTES: usize = 32 * 1024;

/// The address at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerAddress(pub(super) SocketAddr);

/// Serves one connection, plain or behind TLS.
///
/// # Errors
/// When it ends in the middle.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    service: TowerToHyperService<Router>,
    ended: CancellationToken,
) -> Result<(), hyper::Error> {
    let with_peer = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(PeerAddress(peer));
        service.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), with_peer)
        .with_upgrades();
    tokio::pin!(served);
    tokio::select! {
        result = &mut served => result,
        () = ended.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    }
}

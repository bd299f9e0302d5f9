//! Who may ask: the `Host` and `Origin` of each request, and the token that it shows (R62, R63).

use std::sync::Arc;

use a2e_core::config::ServerConfig;
use a2e_core::transport::{Identity, Peer};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Shared;
use super::connection::PeerAddress;
use super::reply::Refused;
use super::resource;

/// The names by which an address may be called, and the pages that may call it.
#[derive(Clone, Debug)]
pub(crate) struct HostNames {
    /// As they stand in `Host`, in lower case.
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl HostNames {
    /// Those of this machine and of the address itself, and what is configured beside them.
    pub(crate) fn new(host: &str, port: u16, server: &ServerConfig) -> Self {
        let named = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let own = ["localhost", "127.0.0.1", "[::1]", &named].map(|name| format!("{name}:{port}"));
        let is_usual = port == 80;
        let short = ["localhost", "127.0.0.1", "[::1]", &named].map(str::to_owned);
        let hosts = own
            .into_iter()
            .chain(short.into_iter().filter(|_| is_usual))
            .chain(server.allowed_hosts.iter().cloned())
            .map(|name| name.to_ascii_lowercase())
            .collect();
        Self { hosts, origins: server.allowed_origins.clone() }
    }

    /// Why a request is refused, if it is.
    fn problem(&self, request: &Request) -> Option<String> {
        let headers = request.headers();
        // Two `Host` headers are two opinions; neither is believed.
        let mut given = headers.get_all(header::HOST).iter();
        let host = match (given.next(), given.next()) {
            (Some(host), None) => host.to_str().unwrap_or_default(),
            _ => return Some("one Host header is needed".to_owned()),
        };
        if !self.hosts.contains(&host.to_ascii_lowercase()) {
            return Some(format!("`{host}` is not a name of this host (server.allowed_hosts)"));
        }
        // A page of this host's own address is no stranger, as browsers see it.
        let is_own = |it: &str| {
            let name = it.strip_prefix("http://").or_else(|| it.strip_prefix("https://"));
            name.is_some_and(|name| self.hosts.contains(&name.to_ascii_lowercase()))
        };
        let is_listed = |origin: &HeaderValue| {
            self.origins.iter().any(|it| *origin == **it) || origin.to_str().is_ok_and(is_own)
        };
        let origin = headers.get_all(header::ORIGIN).iter().find(|origin| !is_listed(origin))?;
        let origin = String::from_utf8_lossy(origin.as_bytes());
        Some(format!("pages of `{origin}` may not call this host (server.allowed_origins)"))
    }
}

/// The sender of a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) identity: Identity,
    pub(super) peer: Peer,
}

impl Caller {
    /// Refuses a caller that shows no token, for what has no handshake in which one could come.
    ///
    /// # Errors
    /// 401 with this reason.
    pub(super) fn is_known(&self, otherwise: &str) -> Result<(), Refused> {
        if self.identity.is_authenticated() {
            return Ok(());
        }
        Err(Refused::new(StatusCode::UNAUTHORIZED, otherwise))
    }
}

/// Refuses what may not ask, before its body is read, and says how to ask where a token is missing.
pub(super) async fn admit(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let challenge = resource::challenge(&shared, &request);
    let answered = pass(&shared, request, next).await;
    let mut response = answered.unwrap_or_else(Refused::into_response);
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    shared.counts.answered(response.status());
    response
}

async fn pass(shared: &Shared, mut request: Request, next: Next) -> Result<Response, Refused> {
    if let Some(problem) = shared.names.problem(&request) {
        tracing::warn!(problem, "HTTP request refused");
        return Err(Refused::new(StatusCode::FORBIDDEN, problem));
    }
    let address = request.extensions().get::<PeerAddress>().map(|peer| peer.0.to_string());
    let peer = Peer::named(format!("http {}", address.unwrap_or_default()));
    let identity = match bearer(request.headers()) {
        None => Identity { name: peer.name.clone(), ..Identity::default() },
        Some(token) => shared.executor.identify(token, &peer).await?,
    };
    request.extensions_mut().insert(Caller { identity, peer });
    Ok(next.run(request).await)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or_default();
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    Some(if scheme.eq_ignore_ascii_case("bearer") { token.trim() } else { "" })
}

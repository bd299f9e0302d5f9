//! From a URL to a connection: the name is resolved once, every address checked, one of them used.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, Semaphore};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

use super::address::{inner, why_not_public};
use super::config::Networks;
use super::url::Url;

/// Names that are looked up at a time: a look-up blocks a thread, and cannot be cancelled.
const MAX_LOOKUPS: usize = 8;

/// Addresses of a name that are looked at; a name with more is refused.
const MAX_ADDRESSES: usize = 64;

/// Addresses of a name that are tried.
const MAX_TRIES: usize = 3;

/// How long one address may take to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection, plain or with TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The way out.
pub(super) struct Network {
    allowed: Networks,
    /// Trusted besides the system's.
    own_roots: Vec<CertificateDer<'static>>,
    lookups: Arc<Semaphore>,
    /// Read at the first use of TLS.
    tls: OnceCell<TlsConnector>,
}

impl Network {
    /// A way out that reaches public addresses and those that are allowed.
    ///
    /// # Errors
    /// When the file of certificates cannot be read or has none.
    pub(super) fn new(allowed: Networks, ca_file: Option<&Path>) -> Result<Self> {
        let own_roots = ca_file.map(certificates).transpose()?.unwrap_or_default();
        let lookups = Arc::new(Semaphore::new(MAX_LOOKUPS));
        Ok(Self { allowed, own_roots, lookups, tls: OnceCell::new() })
    }

    /// Connects to the host of a URL.
    ///
    /// # Errors
    /// `tool_denied` when one of its addresses is not public; `tool_error` when it is not reached.
    pub(super) async fn connect(&self, url: &Url) -> Result<Box<dyn Stream>> {
        let addresses = self.resolve(url).await?;
        let stream = tcp(url, &addresses).await?;
        if !url.is_tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(url.host.clone())
            .map_err(|error| unreached(url, &error.to_string()))?;
        let tls = self.tls.get_or_try_init(|| connector(self.own_roots.clone())).await?;
        let stream = tls.connect(name, stream).await;
        Ok(Box::new(stream.map_err(|error| unreached(url, &format!("TLS: {error}")))?))
    }

    /// The addresses of a host, all of which may be reached.
    async fn resolve(&self, url: &Url) -> Result<Vec<SocketAddr>> {
        let (host, port) = (url.host.clone(), url.port);
        let addresses: Vec<SocketAddr> = if let Ok(address) = host.parse::<IpAddr>() {
            vec![(address, port).into()]
        } else {
            let closed = |_| Error::internal("look-ups have ended");
            let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(closed)?;
            let lookup = tokio::task::spawn_blocking(move || {
                let found = (host.as_str(), port).to_socket_addrs();
                drop(permit);
                found.map(|found| found.take(MAX_ADDRESSES + 1).collect())
            });
            let found: io::Result<_> = lookup.await.unwrap_or_else(|error| Err(error.into()));
            found.map_err(|error| unreached(url, &format!("its name is not resolved: {error}")))?
        };
        if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
            let count = if addresses.is_empty() { "no" } else { "too many" };
            return Err(unreached(url, &format!("its name has {count} addresses")));
        }
        // One bad address is enough: the name may be made to point inside.
        for address in &addresses {
            self.check(url, address.ip())?;
        }
        Ok(addresses)
    }

    fn check(&self, url: &Url, address: IpAddr) -> Result<()> {
        let Some(what) = why_not_public(address) else { return Ok(()) };
        let embedded = match address {
            IpAddr::V6(address) => inner(address).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        let is_allowed = |it| self.allowed.contains(it);
        if is_allowed(address) || embedded.is_some_and(is_allowed) {
            return Ok(());
        }
        let text = format!(
            "`{url}` leads to {address} ({what}), and this host lets tools reach public addresses \
             only; its operator can allow others with `http_get.allow_private`"
        );
        Err(Error::new(ErrorCode::ToolDenied, text)
            .with_detail("url", url.to_string())
            .with_detail("address", address.to_string())
            .with_detail("setting", "http_get.allow_private"))
    }
}

/// Connects to the first address that answers.
async fn tcp(url: &Url, addresses: &[SocketAddr]) -> Result<TcpStream> {
    let mut why = String::new();
    for address in addresses.iter().take(MAX_TRIES) {
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => why = format!("no answer in {} s", CONNECT.as_secs()),
        }
    }
    Err(unreached(url, &why))
}

/// A page that is not there may be there later.
pub(super) fn unreached(url: &Url, why: &str) -> Error {
    Error::new(ErrorCode::ToolError, format!("cannot fetch `{url}`: {why}"))
        .with_detail("url", url.to_string())
        .with_retryable(true)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let failed = |why: &dyn std::fmt::Display| {
        Error::runtime(format!("`http_get.ca_file`: {}: {why}", file.display()))
    };
    let found = CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| failed(&error))?;
    if found.is_empty() { Err(failed(&"it has no certificate")) } else { Ok(found) }
}

async fn connector(own: Vec<CertificateDer<'static>>) -> Result<TlsConnector> {
    crate::tls::connector(own).await.map_err(|error| {
        let text = format!("{}, or name a file with `http_get.ca_file`", error.message());
        Error::new(ErrorCode::ToolError, text)
    })
}

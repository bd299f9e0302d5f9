//! TLS with the operator's certificate (`server.tls`), in front of `tcp://` and `http://` alike.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::transport::{Connection, Peer};
use tokio::io::{AsyncWriteExt as _, split};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use crate::Failure;
use crate::batch_sink::BatchSink;

/// How long a peer may take to agree on keys.
const LIMIT: Duration = Duration::from_secs(10);

/// A certificate and what is done with it.
#[derive(Clone)]
pub(super) struct Certificate(TlsAcceptor);

impl Certificate {
    /// Reads the certificate chain and the private key, both PEM.
    pub(super) fn load(cert: &Path, key: &Path) -> Result<Self, Failure> {
        let wrong = |file: &Path, why: String| {
            Failure::refused(format_args!("server.tls: {}: {why}", file.display()))
        };
        let unread = |error: &dyn std::fmt::Display| wrong(cert, error.to_string());
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
            .and_then(Iterator::collect)
            .map_err(|error| unread(&error))?;
        if chain.is_empty() {
            return Err(wrong(cert, "no certificate (PEM) is in it".to_owned()));
        }
        let private =
            PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| unread(&error))?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|error| wrong(cert, format!("does not go with {}: {error}", key.display())))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Agrees on keys with a peer.
    ///
    /// # Errors
    /// When it does not speak TLS, or not in time.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        tokio::time::timeout(LIMIT, self.0.accept(stream)).await?
    }
}

/// A stream as a connection that carries lines.
pub(super) fn lines(stream: TlsStream<TcpStream>) -> Connection {
    let peer = stream.get_ref().0.peer_addr();
    let peer = peer.map_or_else(|_| "tls".to_owned(), |peer| format!("tls {peer}"));
    let (source, mut out) = split(stream);
    let (sink, mut batches) = BatchSink::pair();
    tokio::spawn(async move {
        let written = async {
            while let Some(batch) = batches.recv().await {
                out.write_all(&batch).await?;
                out.flush().await?;
            }
            out.shutdown().await
        };
        if let Err(error) = written.await {
            tracing::debug!(%error, "connection lost while writing");
        }
    });
    Connection { source: Box::new(source), sink: Arc::new(sink), peer: Peer::named(peer) }
}

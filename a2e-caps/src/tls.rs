//! TLS as the clients of this crate speak it.

use std::sync::Arc;

use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Trusts the system's certificates and `own`; ring is the one provider, and nothing is installed for
/// the whole process.
///
/// # Errors
/// `unavailable` when there is no certificate to trust.
pub(crate) async fn connector(own: Vec<CertificateDer<'static>>) -> Result<TlsConnector> {
    let read = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let system = read.map_err(|error| Error::internal(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    let (mut added, _) = roots.add_parsable_certificates(system.certs);
    added += roots.add_parsable_certificates(own).0;
    if added == 0 {
        let why: Vec<String> = system.errors.iter().map(ToString::to_string).collect();
        let text = format!(
            "https needs certificates to trust, and this system has none ({}); install them",
            why.join("; ")
        );
        return Err(Error::new(ErrorCode::Unavailable, text));
    }
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

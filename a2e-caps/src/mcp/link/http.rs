//! Streamable HTTP: rmcp's transport over a client of ours, which knows tokens.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::{Error, Result};
use futures_util::stream::BoxStream;
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::ClientJsonRpcMessage;
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError,
    StreamableHttpPostResponse, StreamableHttpResponseLimits,
};
use rmcp::transport::{DynamicTransportError, StreamableHttpClientTransport};
use sse_stream::Sse;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::TokenSource;
use super::stdio::MAX_MESSAGE;

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// A server behind a URL.
#[derive(Clone)]
pub(in crate::mcp) struct Http {
    pub(super) client: reqwest::Client,
    pub(super) url: Arc<str>,
    pub(super) headers: HashMap<HeaderName, HeaderValue>,
    pub(super) token: Arc<TokenSource>,
}

impl Http {
    /// Makes the client; connects to nothing.
    ///
    /// # Errors
    /// When a header cannot be sent, or there is no TLS to be had.
    pub(in crate::mcp) async fn new<'a>(
        url: &str,
        headers: impl Iterator<Item = (&'a String, &'a String)>,
        token: Arc<TokenSource>,
    ) -> Result<Self> {
        let headers = headers.map(|(name, value)| {
            let wrong = || Error::runtime(format!("headers: `{name}` cannot be sent"));
            let key: HeaderName = name.parse().map_err(|_| wrong())?;
            Ok((key, value.parse().map_err(|_| wrong())?))
        });
        let headers = headers.collect::<Result<_>>()?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls().await?)
            // A token is for the server that is named, and for no other.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .build()
            .map_err(|error| Error::runtime(format!("no HTTP client: {error}")))?;
        Ok(Self { client, url: url.into(), headers, token })
    }

    /// The transport.
    pub(in crate::mcp) fn transport(self) -> StreamableHttpClientTransport<Self> {
        let config = StreamableHttpClientTransportConfig::with_uri(Arc::clone(&self.url))
            .custom_headers(self.headers.clone())
            .max_sse_event_size(MAX_MESSAGE)
            .max_json_response_size(MAX_MESSAGE);
        StreamableHttpClientTransport::with_client(self, config)
    }

    /// The token, as rmcp wants to have it.
    async fn bearer(&self) -> Result<Option<Arc<str>>, StreamableHttpError<reqwest::Error>> {
        let failed = |error: Error| {
            StreamableHttpError::UnexpectedServerResponse(error.message().to_owned().into())
        };
        self.token.get().await.map_err(failed)
    }
}

/// Trusts the system's certificates; ring is the one provider, and nothing is installed for the whole
/// process.
async fn tls() -> Result<ClientConfig> {
    let read = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let system = read.map_err(|error| Error::internal(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(system.certs);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Why a transport failed, without the names of its types, and without the URL, which may hold a secret.
pub(super) fn why(error: &DynamicTransportError) -> String {
    let text = match error.error.downcast_ref::<Failed>() {
        Some(StreamableHttpError::Client(error)) => super::chain(error),
        Some(other) => super::chain(other),
        None => super::chain(error.error.as_ref()),
    };
    match text.split_once(" for url (") {
        Some((before, behind)) => {
            format!("{before}{}", behind.split_once(')').map_or("", |it| it.1))
        }
        None => text,
    }
}

type Failed = StreamableHttpError<reqwest::Error>;
type Events = BoxStream<'static, Result<Sse, SseError>>;
type Headers = HashMap<HeaderName, HeaderValue>;

fn owned(token: Option<&Arc<str>>) -> Option<String> {
    token.map(ToString::to_string)
}

impl StreamableHttpClient for Http {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        auth: Option<String>,
        headers: Headers,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let limits = StreamableHttpResponseLimits::default();
        self.post_message_with_response_limits(uri, message, session, auth, headers, limits).await
    }

    async fn post_message_with_response_limits(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _auth: Option<String>,
        headers: Headers,
        limits: StreamableHttpResponseLimits,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let token = self.bearer().await?;
        let post = |token: Option<&Arc<str>>| {
            self.client.post_message_with_response_limits(
                Arc::clone(&uri),
                message.clone(),
                session.clone(),
                owned(token),
                headers.clone(),
                limits,
            )
        };
        match post(token.as_ref()).await {
            Err(StreamableHttpError::AuthRequired(_)) if self.token.refused(token.as_deref()) => {
                post(self.bearer().await?.as_ref()).await
            }
            other => other,
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        _auth: Option<String>,
        headers: Headers,
    ) -> Result<(), Failed> {
        let token = self.bearer().await?;
        self.client.delete_session(uri, session, owned(token.as_ref()), headers).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        auth: Option<String>,
        headers: Headers,
    ) -> Result<Events, Failed> {
        self.get_stream_with_max_sse_event_size(
            uri,
            session,
            last_event,
            auth,
            headers,
            MAX_MESSAGE,
        )
        .await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        _auth: Option<String>,
        headers: Headers,
        most: usize,
    ) -> Result<Events, Failed> {
        let token = owned(self.bearer().await?.as_ref());
        self.client
            .get_stream_with_max_sse_event_size(uri, session, last_event, token, headers, most)
            .await
    }
}

//! The way to a server: its address, requests that get a page, and the sockets of episodes.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// How long a server may take to accept a connection, keys and upgrade included. Steps have no such limit.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a page may take to come.
const GET: Duration = Duration::from_secs(20);

/// Bytes of the buffers of a socket; a message may be longer.
const BUFFER: usize = 16 << 10;

/// A connection, plain or with TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// The base of a server.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    is_tls: bool,
    /// A name or an address, that of IPv6 without its brackets.
    host: String,
    port: u16,
    /// As it stands in `Host`.
    authority: String,
    /// Without a slash at its end.
    path: String,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

impl Endpoint {
    /// A port of this machine.
    pub(super) fn local(port: u16) -> Self {
        let (host, authority) = ("127.0.0.1".to_owned(), format!("127.0.0.1:{port}"));
        Self { is_tls: false, host, port, authority, path: String::new() }
    }

    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("is no URL: {error}"))?;
        let is_tls = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => return Err("does not begin with http://, https://, ws:// or wss://".to_owned()),
        };
        let authority = uri.authority().map_or("", |it| it.as_str()).to_owned();
        if authority.contains('@') {
            return Err("has credentials; a token comes from `token_file`".to_owned());
        }
        if uri.query().is_some() {
            return Err("has a query; it is the base of the server".to_owned());
        }
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        if host.is_empty() || port == 0 {
            return Err("has no host, or no good port".to_owned());
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { is_tls, host: host.to_owned(), port, authority, path })
    }

    /// A server that is not reached, or says what none says. It may be well again later.
    pub(super) fn failed(&self, why: impl fmt::Display) -> Error {
        let text = format!("the OpenEnv server at {self} {why}");
        Error::new(ErrorCode::Unavailable, text)
    }

    async fn connect(&self, tls: &OnceCell<TlsConnector>) -> Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream =
            stream.map_err(|error| self.failed(format_args!("is not reached: {error}")))?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "socket options");
        }
        if !self.is_tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(self.host.clone());
        let name = name.map_err(|error| self.failed(format_args!("has a bad name: {error}")))?;
        let tls = tls.get_or_try_init(|| crate::tls::connector(Vec::new())).await?;
        let stream = tls.connect(name, stream).await;
        Ok(Box::new(stream.map_err(|error| self.failed(format_args!("has no TLS: {error}")))?))
    }

    /// Opens a WebSocket that takes messages up to this size.
    ///
    /// # Errors
    /// `unavailable` when the server is not there, or does not want to.
    pub(super) async fn open(
        &self,
        tls: &OnceCell<TlsConnector>,
        token: Option<&HeaderValue>,
        most: usize,
    ) -> Result<Socket> {
        let opened = async {
            let stream = self.connect(tls).await?;
            let scheme = if self.is_tls { "wss" } else { "ws" };
            let url = format!("{scheme}://{}{}/ws", self.authority, self.path);
            let refused = |error| self.failed(format_args!("opens no WebSocket: {error}"));
            let mut request = url.as_str().into_client_request().map_err(refused)?;
            if let Some(token) = token {
                request.headers_mut().insert(AUTHORIZATION, token.clone());
            }
            let config = WebSocketConfig::default()
                .read_buffer_size(BUFFER)
                .write_buffer_size(0)
                .max_message_size(Some(most))
                .max_frame_size(Some(most));
            let opened = client_async_with_config(request, stream, Some(config)).await;
            opened.map(|(socket, _)| socket).map_err(refused)
        };
        self.within(CONNECT, opened).await
    }

    /// Gets a page below the base, of this size at most.
    ///
    /// # Errors
    /// `unavailable` when the server is not there, or says something else than a page.
    pub(super) async fn get(
        &self,
        tls: &OnceCell<TlsConnector>,
        token: Option<&HeaderValue>,
        page: &str,
        most: usize,
    ) -> Result<(StatusCode, Bytes)> {
        let got = async {
            let stream = self.connect(tls).await?;
            let why = |error: &dyn fmt::Display| self.failed(format_args!("at {page}: {error}"));
            let mut request = Request::get(format!("{}{page}", self.path))
                .header(HOST, &self.authority)
                .header(CONNECTION, "close")
                .body(Empty::<Bytes>::new())
                .map_err(|error| why(&error))?;
            if let Some(token) = token {
                request.headers_mut().insert(AUTHORIZATION, token.clone());
            }
            let shaken = http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = shaken.map_err(|error| why(&error))?;
            let mut work = pin!(async {
                let answer = sender.send_request(request).await.map_err(|error| why(&error))?;
                let status = answer.status();
                let body = Limited::new(answer.into_body(), most).collect().await;
                Ok((status, body.map_err(|error| why(&error))?.to_bytes()))
            });
            let mut connection = pin!(connection);
            let mut is_over = false;
            loop {
                tokio::select! {
                    got = &mut work => return got,
                    // What it has received is still to be read.
                    _ = &mut connection, if !is_over => is_over = true,
                }
            }
        };
        self.within(GET, got).await
    }

    async fn within<T>(&self, limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
        let silent = |_| self.failed(format_args!("did not answer in {} s", limit.as_secs()));
        tokio::time::timeout(limit, work).await.map_err(silent)?
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn a_base_is_an_address_and_a_path() {
        for (url, expected) in [
            ("http://localhost:8000", "http://localhost:8000"),
            ("ws://localhost:8000/", "http://localhost:8000"),
            ("https://org-echo.hf.space/env/echo/", "https://org-echo.hf.space/env/echo"),
            ("wss://[::1]:8443", "https://[::1]:8443"),
        ] {
            assert_eq!(Endpoint::parse(url).unwrap().to_string(), expected, "{url}");
        }
        let ports = |url| Endpoint::parse(url).unwrap().port;
        assert_eq!((ports("http://a"), ports("wss://a"), ports("ws://a:1")), (80, 443, 1));
    }

    #[test]
    fn what_is_no_base_is_refused() {
        for (url, expected) in [
            ("", "no URL"),
            ("localhost:8000", "does not begin"),
            ("/env", "does not begin"),
            ("ftp://a", "does not begin"),
            ("http://user:word@a", "credentials"),
            ("http://a/?x=1", "query"),
            ("http://a:0", "no good port"),
            ("http://a b", "no URL"),
        ] {
            let refused = Endpoint::parse(url).unwrap_err();
            assert!(refused.contains(expected), "{url}: {refused}");
        }
    }
}

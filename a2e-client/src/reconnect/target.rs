//! The target of a connection, for every attempt to connect.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};

use a2e_core::transport::{Connection, from_tcp, from_unix};

use crate::calling::TimeLimit;
use crate::error::ClientError;
use crate::transport::{HostCommand, Process};
#[cfg(feature = "http")]
use crate::transport::{http, websocket};

/// Makes one connection.
pub(crate) type Opening = Pin<Box<dyn Future<Output = io::Result<Connection>> + Send>>;

/// A place that can be connected to more than once.
#[derive(Clone)]
pub(crate) enum Target {
    Unix(PathBuf),
    Tcp(String),
    /// A session over POST and server-sent events.
    #[cfg(feature = "http")]
    Http(String),
    #[cfg(feature = "http")]
    WebSocket(String),
    Process(HostCommand),
    By(Arc<dyn Fn() -> Opening + Send + Sync>),
}

impl Target {
    /// An address as the command line writes it.
    pub(crate) fn parse(address: &str) -> Result<Self, ClientError> {
        if let Some(path) = address.strip_prefix("unix://").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        if let Some(address) = address.strip_prefix("tcp://").filter(|it| it.contains(':')) {
            return Ok(Self::Tcp(address.to_owned()));
        }
        #[cfg(feature = "http")]
        for (scheme, make) in
            [("http://", Self::Http as fn(String) -> Self), ("ws://", Self::WebSocket)]
        {
            let authority = address.strip_prefix(scheme).map(|it| it.trim_end_matches('/'));
            if let Some(authority) = authority.filter(|it| it.contains(':') && !it.contains('/')) {
                return Ok(make(authority.to_owned()));
            }
        }
        let text = if cfg!(feature = "http") {
            "expected unix:///path/to/socket, tcp://host:port, http://host:port or ws://host:port"
        } else {
            "expected unix:///path/to/socket or tcp://host:port"
        };
        Err(ClientError::connect(address, io::Error::new(io::ErrorKind::InvalidInput, text)))
    }

    /// Opens a connection in time.
    pub(crate) async fn open(
        &self,
        limit: TimeLimit,
    ) -> Result<(Connection, Option<Process>), ClientError> {
        let opened = limit.hold(self.try_open()).await;
        let opened = opened.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()));
        opened.map_err(|error| ClientError::connect(self.to_string(), error))
    }

    async fn try_open(&self) -> io::Result<(Connection, Option<Process>)> {
        match self {
            Self::Unix(path) => Ok((from_unix(UnixStream::connect(path).await?), None)),
            Self::Tcp(address) => Ok((from_tcp(TcpStream::connect(address).await?), None)),
            #[cfg(feature = "http")]
            Self::Http(authority) => Ok((http::open(authority).await?, None)),
            #[cfg(feature = "http")]
            Self::WebSocket(authority) => Ok((websocket::open(authority).await?, None)),
            Self::Process(command) => {
                let (connection, process) = command.clone().start()?;
                Ok((connection, Some(process)))
            }
            Self::By(open) => Ok((open().await?, None)),
        }
    }
}

/// For people, as the command line writes it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            #[cfg(feature = "http")]
            Self::Http(authority) => write!(f, "http://{authority}"),
            #[cfg(feature = "http")]
            Self::WebSocket(authority) => write!(f, "ws://{authority}/ws"),
            Self::Process(command) => write!(f, "{command}"),
            Self::By(_) => write!(f, "the host"),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

//! The ways to a host: a connection that is there, a socket, a child process.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokio::net::{TcpStream, UnixStream};

use a2e_core::transport::{Connection, from_tcp, from_unix};

use crate::calling::TimeLimit;
use crate::client::{Client, Inner};
use crate::error::ClientError;
use crate::handshake::shake_hands;
use crate::link::Link;
use crate::link::router;
use crate::options::Options;
use crate::transport::{HostCommand, Process};

/// Connecting. All of it needs a running tokio with I/O and time.
impl Client {
    /// Speaks over a connection that is there, and shakes hands.
    ///
    /// # Errors
    /// [`ClientError::Handshake`] when the host refuses, [`ClientError::Timeout`] when it does not
    /// answer in time, [`ClientError::Closed`] when it goes away.
    pub async fn connect(connection: Connection, options: Options) -> Result<Self, ClientError> {
        let limit = TimeLimit::new(Some(options.handshake_timeout));
        Self::over(connection, None, options, limit).await
    }

    /// [`connect`](Self::connect) with default options, for hosts in the same program.
    ///
    /// # Errors
    /// As `connect`.
    pub async fn memory(connection: Connection) -> Result<Self, ClientError> {
        Self::connect(connection, Options::default()).await
    }

    /// Connects to a Unix socket.
    ///
    /// # Errors
    /// [`ClientError::Connect`], and as [`connect`](Self::connect).
    pub async fn unix(path: impl AsRef<Path>, options: Options) -> Result<Self, ClientError> {
        let target = format!("unix://{}", path.as_ref().display());
        let limit = TimeLimit::new(Some(options.handshake_timeout));
        let stream = reach(&target, limit, UnixStream::connect(path.as_ref())).await?;
        Self::over(from_unix(stream), None, options, limit).await
    }

    /// Connects to a TCP address, `host:port`.
    ///
    /// # Errors
    /// [`ClientError::Connect`], and as [`connect`](Self::connect).
    pub async fn tcp(address: &str, options: Options) -> Result<Self, ClientError> {
        let target = format!("tcp://{address}");
        let limit = TimeLimit::new(Some(options.handshake_timeout));
        let stream = reach(&target, limit, TcpStream::connect(address)).await?;
        Self::over(from_tcp(stream), None, options, limit).await
    }

    /// Connects to an address as the command line writes it: `unix:///run/a2e/a2e.sock` or
    /// `tcp://127.0.0.1:8765`.
    ///
    /// # Errors
    /// [`ClientError::Connect`] also for an address of another form.
    pub async fn connect_to(address: &str, options: Options) -> Result<Self, ClientError> {
        if let Some(path) = address.strip_prefix("unix://").filter(|path| !path.is_empty()) {
            return Self::unix(path, options).await;
        }
        if let Some(address) = address.strip_prefix("tcp://").filter(|it| it.contains(':')) {
            return Self::tcp(address, options).await;
        }
        let text = "expected unix:///path/to/socket or tcp://host:port";
        Err(ClientError::connect(address, io::Error::new(io::ErrorKind::InvalidInput, text)))
    }

    /// Starts a host as a child process and speaks over its standard input and output.
    ///
    /// The process is killed when the client is dropped; [`close`](Self::close) ends it in order.
    ///
    /// ```no_run
    /// # async fn doc() -> Result<(), a2e_client::ClientError> {
    /// use a2e_client::{Client, HostCommand, Options};
    /// let command = HostCommand::new("a2e").args(["serve", "--stdio"]);
    /// let client = Client::spawn_process(command, Options::new("planner")).await?;
    /// client.ping().await?;
    /// client.close().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Connect`] when it does not start; [`ClientError::Closed`] with its exit status and
    /// the end of its standard error when it ends early; and as [`connect`](Self::connect).
    pub async fn spawn_process(
        command: HostCommand,
        options: Options,
    ) -> Result<Self, ClientError> {
        let limit = TimeLimit::new(Some(options.handshake_timeout));
        let target = command.to_string();
        let (connection, process) =
            command.start().map_err(|error| ClientError::connect(target, error))?;
        Self::over(connection, Some(process), options, limit).await
    }

    async fn over(
        connection: Connection,
        process: Option<Process>,
        options: Options,
        limit: TimeLimit,
    ) -> Result<Self, ClientError> {
        let Connection { source, sink, peer } = connection;
        tracing::debug!(peer = peer.name, "connected");
        let link = Link::new(sink, options);
        let watch = process.as_ref().map(Process::watch);
        let reader = tokio::spawn(router::read(Arc::clone(&link), source, watch)).abort_handle();
        let session = OnceLock::new();
        let client = Self { inner: Arc::new(Inner { link, session, process, reader }) };
        let options = &client.inner.link.options;
        if options.handshake {
            let response = shake_hands(&client, options, limit.left()).await?;
            client.inner.session.get_or_init(|| response);
        }
        Ok(client)
    }
}

/// Opens a socket in time.
async fn reach<T>(
    target: &str,
    limit: TimeLimit,
    opening: impl Future<Output = io::Result<T>>,
) -> Result<T, ClientError> {
    let opened = limit.hold(opening).await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()));
    opened.map_err(|error| ClientError::connect(target, error))
}

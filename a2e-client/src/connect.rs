//! The ways to a host: a connection that is there, a socket, a child process.

use std::path::Path;
use std::sync::Arc;

use a2e_core::transport::Connection;

use crate::builder::ClientBuilder;
use crate::calling::TimeLimit;
use crate::client::{Client, Inner};
use crate::error::ClientError;
use crate::handshake::random_name;
use crate::link::Link;
use crate::link::reader::Reader;
use crate::options::Options;
use crate::push::{PushTable, Subscription};
use crate::reconnect::drive::drive;
use crate::reconnect::numbering::Numbering;
use crate::reconnect::state::StateHandler;
use crate::reconnect::target::Target;
use crate::transport::{HostCommand, Process};

/// Opens a connection to a running host, for a program that speaks the protocol itself; the address is one that
/// [`Client::connect_to`] takes.
///
/// # Errors
/// [`ClientError::Connect`].
pub async fn dial(address: &str) -> Result<Connection, ClientError> {
    let (connection, _) = Target::parse(address)?.open(TimeLimit::new(None)).await?;
    Ok(connection)
}

/// Connecting. All of it needs a running tokio with I/O and time.
impl Client {
    /// A client with more to say about it than [`Options`]: handlers that are there before the host
    /// speaks, and connections that come back.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Speaks over a connection that is there, and shakes hands.
    ///
    /// # Errors
    /// [`ClientError::Handshake`] when the host refuses, [`ClientError::Timeout`] when it does not
    /// answer in time, [`ClientError::Closed`] when it goes away.
    pub async fn connect(connection: Connection, options: Options) -> Result<Self, ClientError> {
        let limit = TimeLimit::new(Some(options.handshake_timeout));
        Self::over((connection, None), None, options.into(), limit).await
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
        Self::to(Target::Unix(path.as_ref().into()), options.into()).await
    }

    /// Connects to a TCP address, `host:port`.
    ///
    /// # Errors
    /// [`ClientError::Connect`], and as [`connect`](Self::connect).
    pub async fn tcp(address: &str, options: Options) -> Result<Self, ClientError> {
        Self::to(Target::Tcp(address.to_owned()), options.into()).await
    }

    /// Connects to an address as the command line writes it: `unix:///run/a2e/a2e.sock` or
    /// `tcp://127.0.0.1:8765`.
    ///
    /// # Errors
    /// [`ClientError::Connect`] also for an address of another form.
    pub async fn connect_to(address: &str, options: Options) -> Result<Self, ClientError> {
        Self::to(Target::parse(address)?, options.into()).await
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
        Self::to(Target::Process(command), options.into()).await
    }

    /// Speaks over a first connection; `target` is where further ones lead.
    pub(crate) async fn over(
        first: (Connection, Option<Process>),
        target: Option<Target>,
        prepared: Prepared,
        limit: TimeLimit,
    ) -> Result<Self, ClientError> {
        let (Connection { source, sink, peer }, process) = first;
        let Prepared { mut options, pushes, subscriptions, on_state } = prepared;
        tracing::debug!(peer = peer.name, "connected");
        if target.is_none() {
            options.reconnect = None;
        }
        if options.agent_id.is_empty() {
            options.agent_id = random_name();
        }
        let link = Link::new(sink, options, pushes, on_state);
        let watch = process.as_ref().map(Process::watch);
        let mut reader = Reader::new(&link, link.outbox(), source, watch, Numbering::default());
        reader.greet(limit).await?;
        drop(link.replace_process(process));
        let driver = tokio::spawn(drive(Arc::clone(&link), reader, target)).abort_handle();
        Ok(Self { inner: Arc::new(Inner { link, driver, _subscriptions: subscriptions }) })
    }

    pub(crate) async fn to(target: Target, prepared: Prepared) -> Result<Self, ClientError> {
        let limit = TimeLimit::new(Some(prepared.options.handshake_timeout));
        let first = target.open(limit).await?;
        Self::over(first, Some(target), prepared, limit).await
    }
}

/// What a client is made with.
#[derive(Default)]
pub(crate) struct Prepared {
    pub(crate) options: Options,
    pub(crate) pushes: Arc<PushTable>,
    /// The handlers that are in `pushes`.
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) on_state: Option<StateHandler>,
}

impl From<Options> for Prepared {
    fn from(options: Options) -> Self {
        Self { options, ..Self::default() }
    }
}

//! Makes a client step by step.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::transport::Connection;

use crate::calling::TimeLimit;
use crate::client::Client;
use crate::connect::Prepared;
use crate::error::ClientError;
use crate::message::Received;
use crate::options::Options;
use crate::push::Target as Taker;
use crate::reconnect::policy::Reconnect;
use crate::reconnect::state::ConnectionState;
use crate::reconnect::target::Target;
use crate::transport::HostCommand;

/// Makes a [`Client`]: its identity, the messages that it listens to from the first line on, and the policy
/// for a lost connection. Ends with [`connect_to`](Self::connect_to), [`spawn`](Self::spawn),
/// [`connect_by`](Self::connect_by), or [`connect`](Self::connect); with the first three a lost
/// connection is made again unless it is told otherwise.
///
/// ```no_run
/// # async fn doc() -> Result<(), a2e_client::ClientError> {
/// use a2e_client::Client;
/// let client = Client::builder()
///     .name("planner")
///     .capabilities(["tools", "memory"])
///     .on_push("env/state/push", |message| eprintln!("{}", message.text()))
///     .on_state(|state| eprintln!("{state}"))
///     .connect_to("unix:///run/a2e/a2e.sock")
///     .await?;
/// client.ping().await?;
/// # Ok(()) }
/// ```
#[derive(Default)]
#[must_use = "it connects when it is told where to"]
pub struct ClientBuilder {
    prepared: Prepared,
    stays_lost: bool,
}

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("options", &self.prepared.options)
            .field("handlers", &self.prepared.subscriptions)
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    fn with(mut self, change: impl FnOnce(Options) -> Options) -> Self {
        self.prepared.options = change(self.prepared.options);
        self
    }

    /// All [`Options`] at once; those that were set before are replaced.
    pub fn options(self, options: Options) -> Self {
        self.with(|_| options)
    }

    /// The agent's id; a random one unless set.
    pub fn name(self, agent_id: impl Into<String>) -> Self {
        self.with(|options| Options { agent_id: agent_id.into(), ..options })
    }

    /// See [`Options::capabilities`].
    pub fn capabilities<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        self.with(|options| options.capabilities(names))
    }

    /// See [`Options::auth_token`].
    pub fn token(self, token: impl Into<String>) -> Self {
        self.with(|options| options.auth_token(token))
    }

    /// See [`Options::handshake_timeout`]; it holds for each attempt to reconnect, too.
    pub fn handshake_timeout(self, limit: Duration) -> Self {
        self.with(|options| options.handshake_timeout(limit))
    }

    /// See [`Options::call_timeout`].
    pub fn call_timeout(self, limit: Duration) -> Self {
        self.with(|options| options.call_timeout(limit))
    }

    /// How a lost connection is made again, where not by the defaults of [`Reconnect`].
    pub fn reconnect(mut self, policy: Reconnect) -> Self {
        self.stays_lost = false;
        self.with(|options| options.reconnect(policy))
    }

    /// A lost connection stays lost, and the client ends with it.
    pub fn without_reconnect(mut self) -> Self {
        self.stays_lost = true;
        self
    }

    /// As [`Client::on_push`], from the first line on and as long as the client lives.
    pub fn on_push(
        mut self,
        wire_type: &str,
        handler: impl Fn(&Received) + Send + Sync + 'static,
    ) -> Self {
        let taker = Taker::Handler(Arc::new(handler));
        let subscription = self.prepared.pushes.subscribe(wire_type, taker);
        self.prepared.subscriptions.push(subscription);
        self
    }

    /// Calls `handler` with every [`ConnectionState`], in order, the first and the last included. It runs
    /// on the reader, so it must not block. A panic is caught, counted and logged.
    pub fn on_state(mut self, handler: impl Fn(&ConnectionState) + Send + Sync + 'static) -> Self {
        self.prepared.on_state = Some(Arc::new(handler));
        self
    }

    /// Connects to an address as the command line writes it: `unix:///run/a2e/a2e.sock` or
    /// `tcp://127.0.0.1:8765`. The first connection is tried once.
    ///
    /// # Errors
    /// As [`Client::connect_to`].
    pub async fn connect_to(self, address: &str) -> Result<Client, ClientError> {
        self.to(Target::parse(address)?).await
    }

    /// Starts a host as a child process. When it dies, another is started: it knows the session only
    /// where hosts of this command keep their state in a common store.
    ///
    /// # Errors
    /// As [`Client::spawn_process`].
    pub async fn spawn(self, command: HostCommand) -> Result<Client, ClientError> {
        self.to(Target::Process(command)).await
    }

    /// Opens each connection by a function: for hosts in the same program, and carriers of your own.
    ///
    /// # Errors
    /// [`ClientError::Connect`] when it fails, and as [`Client::connect`].
    pub async fn connect_by<F>(
        self,
        open: impl Fn() -> F + Send + Sync + 'static,
    ) -> Result<Client, ClientError>
    where
        F: Future<Output = io::Result<Connection>> + Send + 'static,
    {
        self.to(Target::By(Arc::new(move || Box::pin(open())))).await
    }

    /// Speaks over a connection that is there. It cannot be made again.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect(self, connection: Connection) -> Result<Client, ClientError> {
        let limit = TimeLimit::new(Some(self.prepared.options.handshake_timeout));
        Client::over((connection, None), None, self.prepared, limit).await
    }

    async fn to(mut self, target: Target) -> Result<Client, ClientError> {
        let options = &mut self.prepared.options;
        if self.stays_lost {
            options.reconnect = None;
        } else {
            options.reconnect.get_or_insert_default();
        }
        Client::to(target, self.prepared).await
    }
}

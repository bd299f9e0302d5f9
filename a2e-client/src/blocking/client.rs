//! The blocking client: connecting, calls, the end.

use std::sync::Arc;
use std::time::Duration;

use a2e_core::protocol::{HandshakeResponse, Message, Pong, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::calling::Calling;
use super::pushes::Pushes;
use super::thread::{Thread, may_block};
use crate::builder::ClientBuilder;
use crate::error::{ClientError, Closed};
use crate::link::stats::Stats;
use crate::message::Received;
use crate::options::CallOptions;
use crate::push::Subscription;
use crate::reconnect::state::ConnectionState;
use crate::transport::HostCommand;

/// A connection to a host, for threads. Cheap to clone, and used from many threads at once; the
/// connection is cut when the last clone and call is dropped.
///
/// Every method that waits fails with [`ClientError::WouldDeadlock`] where waiting is not allowed.
#[derive(Clone, Debug)]
pub struct Client {
    // Dropped before its thread.
    inner: crate::Client,
    thread: Thread,
}

/// Connecting.
impl Client {
    /// Connects to an address as the command line writes it: `unix:///run/a2e/a2e.sock` or
    /// `tcp://127.0.0.1:8765`. A lost connection is made again.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect_to`].
    pub fn connect(address: &str) -> Result<Self, ClientError> {
        Self::connect_with(ClientBuilder::default(), address)
    }

    /// As [`connect`](Self::connect), with more to say. Handlers run on the client's own thread.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), a2e_client::ClientError> {
    /// use a2e_client::{Client, blocking};
    /// let agent = Client::builder()
    ///     .name("planner")
    ///     .on_push("env/state/push", |push| eprintln!("{}", push.text()));
    /// let client = blocking::Client::connect_with(agent, "unix:///run/a2e/a2e.sock")?;
    /// client.ping()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As `connect`.
    pub fn connect_with(agent: ClientBuilder, address: &str) -> Result<Self, ClientError> {
        Self::start(agent.connect_to(address))
    }

    /// Starts a host as a child process.
    ///
    /// # Errors
    /// As [`ClientBuilder::spawn`].
    pub fn spawn(command: HostCommand) -> Result<Self, ClientError> {
        Self::spawn_with(ClientBuilder::default(), command)
    }

    /// As [`spawn`](Self::spawn), with more to say. Handlers run on the client's own thread.
    ///
    /// # Errors
    /// As `spawn`.
    pub fn spawn_with(agent: ClientBuilder, command: HostCommand) -> Result<Self, ClientError> {
        Self::start(agent.spawn(command))
    }

    fn start(
        connecting: impl Future<Output = Result<crate::Client, ClientError>>,
    ) -> Result<Self, ClientError> {
        may_block()?;
        let thread = Thread::start()?;
        let inner = thread.wait(connecting)??;
        Ok(Self { inner, thread })
    }
}

/// Calls.
impl Client {
    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// As [`Client::rpc`](crate::Client::rpc).
    pub fn rpc<Q>(&self, request: &Q) -> Result<Q::Reply, ClientError>
    where
        Q: Request + Serialize,
        Q::Reply: DeserializeOwned,
    {
        self.rpc_with(request, CallOptions::default())
    }

    /// As [`rpc`](Self::rpc), with options of its own.
    ///
    /// # Errors
    /// As `rpc`.
    pub fn rpc_with<Q>(&self, request: &Q, options: CallOptions) -> Result<Q::Reply, ClientError>
    where
        Q: Request + Serialize,
        Q::Reply: DeserializeOwned,
    {
        self.thread.wait(self.inner.rpc_with(request, options))?
    }

    /// As [`rpc`](Self::rpc), for types that are known only at run time.
    ///
    /// # Errors
    /// As `rpc`.
    pub fn rpc_raw<T: Serialize + ?Sized>(
        &self,
        wire_type: &str,
        body: &T,
        options: CallOptions,
    ) -> Result<Received, ClientError> {
        self.thread.wait(self.inner.rpc_raw(wire_type, body, options))?
    }

    /// Sends a request and gives back the call, for its events and its reply.
    ///
    /// # Errors
    /// What keeps it from being sent.
    pub fn call<Q>(&self, request: &Q) -> Result<Calling<Q::Reply>, ClientError>
    where
        Q: Request + Serialize,
        Q::Reply: DeserializeOwned,
    {
        self.call_with(request, CallOptions::default())
    }

    /// As [`call`](Self::call), with options of its own.
    ///
    /// # Errors
    /// What keeps it from being sent.
    pub fn call_with<Q>(
        &self,
        request: &Q,
        options: CallOptions,
    ) -> Result<Calling<Q::Reply>, ClientError>
    where
        Q: Request + Serialize,
        Q::Reply: DeserializeOwned,
    {
        let calling = self.thread.wait(self.inner.call_with(request, options))??;
        Ok(Calling::new(calling, self.thread.clone()))
    }

    /// As [`call_with`](Self::call_with), for types that are known only at run time.
    ///
    /// # Errors
    /// What keeps it from being sent.
    pub fn call_raw<T: Serialize + ?Sized>(
        &self,
        wire_type: &str,
        body: &T,
        options: CallOptions,
    ) -> Result<Calling<Received>, ClientError> {
        let calling = self.thread.wait(self.inner.call_raw(wire_type, body, options))??;
        Ok(Calling::new(calling, self.thread.clone()))
    }

    /// Sends a message that is not answered.
    ///
    /// # Errors
    /// As [`Client::send`](crate::Client::send).
    pub fn send<M: Message + Serialize>(&self, message: &M) -> Result<(), ClientError> {
        self.thread.wait(self.inner.send(message))?
    }

    /// Asks whether the host lives; at most 5 s.
    ///
    /// # Errors
    /// As [`rpc`](Self::rpc).
    pub fn ping(&self) -> Result<Pong, ClientError> {
        self.thread.wait(self.inner.ping())?
    }

    /// Asks the host to end a request, by [`Calling::id`].
    ///
    /// # Errors
    /// As [`Client::cancel`](crate::Client::cancel).
    pub fn cancel(&self, req_id: &str) -> Result<(), ClientError> {
        self.thread.wait(self.inner.cancel(req_id))?
    }
}

/// Pushes, state, the end.
impl Client {
    /// Calls `handler` on the client's own thread with every push of this type, until the guard is
    /// dropped, see [`Client::on_push`](crate::Client::on_push). It must hand long work, and calls of
    /// this client, to another thread.
    pub fn on_push(
        &self,
        wire_type: &str,
        handler: impl Fn(&Received) + Send + Sync + 'static,
    ) -> Subscription {
        self.inner.on_push(wire_type, handler)
    }

    /// The same messages, to be taken when there is time; see [`PushStream`](crate::PushStream) for what
    /// happens when they are not.
    ///
    /// # Errors
    /// Only [`ClientError::WouldDeadlock`].
    pub fn pushes(&self, wire_type: &str) -> Result<Pushes, ClientError> {
        may_block()?;
        Ok(Pushes::new(self.inner.pushes(wire_type), self.thread.clone()))
    }

    /// What the host said in the last handshake.
    pub fn session(&self) -> Option<Arc<HandshakeResponse>> {
        self.inner.session()
    }

    /// The state of the connection now.
    pub fn state(&self) -> ConnectionState {
        self.inner.state()
    }

    /// A look at the connection.
    pub fn stats(&self) -> Stats {
        self.inner.stats()
    }

    /// The id of the host process, while this client's own host process lives.
    pub fn process_id(&self) -> Option<u32> {
        self.inner.process_id()
    }

    /// Waits for the end of the connection, `limit` at most; `None` when it still stands.
    ///
    /// # Errors
    /// Only [`ClientError::WouldDeadlock`].
    pub fn closed_within(&self, limit: Duration) -> Result<Option<Closed>, ClientError> {
        self.thread.wait(async { tokio::time::timeout(limit, self.inner.closed()).await.ok() })
    }

    /// Asks the host to finish accepted requests for up to `drain`, waits until it has, and closes.
    ///
    /// # Errors
    /// As [`Client::shutdown`](crate::Client::shutdown).
    pub fn shutdown(&self, drain: Duration) -> Result<(), ClientError> {
        self.thread.wait(self.inner.shutdown(drain))?
    }

    /// Ends the connection in order, see [`Client::close`](crate::Client::close).
    ///
    /// # Errors
    /// Only [`ClientError::WouldDeadlock`].
    pub fn close(&self) -> Result<(), ClientError> {
        self.thread.wait(self.inner.close())
    }
}

//! The executor: loads plugins, serves connections, ends in order. What an embedder holds.

mod builder;
mod kernel;
mod memory;
mod shutdown;
mod status;
mod stdio;
mod trial;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{HostConfig, PluginConfig};
use crate::lifecycle::{Change, Rebuild, Wanted};
use crate::plugin::{PluginClass, RegistryError};
use crate::protocol::{PluginName, Request};
use crate::request::{Nested, NestedTarget};
use crate::route::may_send_type;
use crate::sessions::{Front, serve};
use crate::transport::{Connection, Identity, Peer, memory_pair};
use crate::{Error, Result};

pub use crate::lifecycle::ReloadError;
pub use crate::protocol::host::{
    Explanation, HostStatus, PluginHealth, PluginStatus, ReloadProblem, ReloadReport,
};
pub use builder::{Builder, StartError};
use kernel::Kernel;
pub use trial::Trial;

/// A running host.
///
/// ```
/// use a2e_core::{Executor, config::HostConfig};
/// # let runtime = tokio::runtime::Runtime::new().unwrap();
/// # runtime.block_on(async {
/// let executor = Executor::builder(HostConfig::new()).lenient().start().await?;
/// let client_end = executor.connect();
/// executor.shutdown(std::time::Duration::from_secs(1)).await;
/// # drop(client_end);
/// # Ok::<(), a2e_core::executor::StartError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Executor {
    kernel: Arc<Kernel>,
}

impl Executor {
    /// A host to be started with this configuration.
    pub fn builder(config: HostConfig) -> Builder {
        Builder::new(config)
    }

    /// The configuration in force.
    pub fn config(&self) -> &HostConfig {
        &self.kernel.services.config
    }

    /// Serves one connection until it ends, with the identity that its peer has by itself
    /// ([`identity_of`](Self::identity_of)).
    pub async fn serve(&self, connection: Connection) {
        let identity = self.identity_of(&connection.peer);
        serve(Arc::clone(&self.kernel.hub), connection, identity).await;
    }

    /// Serves one connection in a task of its own, with the identity that its peer has by itself.
    pub fn spawn(&self, connection: Connection) -> tokio::task::JoinHandle<()> {
        let identity = self.identity_of(&connection.peer);
        self.spawn_as(connection, identity)
    }

    /// Serves one connection in a task of its own, with the identity that a front gives it.
    pub fn spawn_as(
        &self,
        connection: Connection,
        identity: Identity,
    ) -> tokio::task::JoinHandle<()> {
        let hub = Arc::clone(&self.kernel.hub);
        self.kernel.services.runtime.spawn(serve(hub, connection, identity))
    }

    /// The identity of a peer that no front knows more about: the parent over standard streams is an
    /// operator, and so is a peer of the host's own user on a Unix socket where `server.operators`
    /// says `same_uid`. Nothing is an operator by being in the process.
    pub fn identity_of(&self, peer: &Peer) -> Identity {
        stdio::identity_of(&self.kernel.services.config, peer)
    }

    /// The identity behind a token that a front was shown before there is a session.
    ///
    /// # Errors
    /// `unauthorized` when the token is none of this host's: it is audited, and the answer waits so that
    /// a peer has at most ten a second; `overloaded` when too many of this peer wait already.
    pub async fn identify(&self, token: &str, peer: &Peer) -> Result<Identity> {
        self.kernel.hub.identify(token, peer).await
    }

    /// Serves standard input and output on a thread of its own; the future resolves when that session
    /// has ended. Call once.
    ///
    /// The thread waits for its input itself. On the host's runtime another thread would wait while
    /// this one works, and each write of the peer would wake it for nothing: on one processor that
    /// cost a third of the throughput.
    ///
    /// # Errors
    /// When the thread cannot be started, or standard output cannot be written. What is wrong with
    /// standard input is logged, and the session ends.
    pub fn serve_stdio(&self) -> std::io::Result<impl Future<Output = ()> + use<>> {
        stdio::serve(&self.kernel)
    }

    /// Opens a session inside this process and gives back the client's end. It has no rights beyond
    /// its own session, see [`connect_as`](Self::connect_as).
    pub fn connect(&self) -> Connection {
        self.connect_as(Identity::default())
    }

    /// Opens a session inside this process, for the peer that a front has authenticated.
    pub fn connect_as(&self, identity: Identity) -> Connection {
        let (client, host) = memory_pair();
        self.spawn_as(host, identity);
        client
    }

    /// Asks the plugins that handle `Q`, as the program itself: in a session of its own, without a client and
    /// without rights beyond that. Memory, processes and what else a plugin keeps by session is that session's.
    ///
    /// # Errors
    /// What the plugin answered; `unknown_type` when none handles the type.
    pub async fn call<Q>(&self, request: &Q) -> Result<Q::Reply>
    where
        Q: Request + Serialize,
        Q::Reply: DeserializeOwned,
    {
        self.ask()?.request(request).await
    }

    /// As [`call`](Self::call), with more to say: which plugins are asked, how long it may take, where its
    /// events go, or types that are known only at run time.
    ///
    /// # Errors
    /// When the system gives no random bytes for the session's id.
    pub fn ask(&self) -> Result<Nested> {
        Ok(Nested::new(&self.kernel.own_session()?, None, NestedTarget::Route))
    }

    /// Opens a session that outlives its connections: the front feeds lines to it, and attaches sinks
    /// or reads what it sent. It ends when for `keep` nothing was fed, read or attached, and no request
    /// was in flight.
    ///
    /// # Errors
    /// `overloaded` when there are as many sessions as may be, `shutting_down` when the host is ending.
    pub fn open(&self, peer: Peer, identity: Identity, keep: Duration) -> Result<Arc<Front>> {
        Front::open(&self.kernel.hub, peer, identity, keep)
    }

    /// Puts the plugins of another configuration in force. Plugins that did not change keep their
    /// instance and their calls; changed ones take over the state of the instance before. What else
    /// differs takes effect at the next start, and is named in the report.
    ///
    /// # Errors
    /// When a plugin that is new or changed cannot be built or started; then nothing has changed.
    pub async fn reload(&self, config: HostConfig) -> Result<ReloadReport, ReloadError> {
        self.kernel.plugins.reload(Wanted::This(Box::new(config)), Rebuild::default()).await
    }

    /// As [`reload`](Self::reload), from the file given to [`Builder::config_file`].
    ///
    /// # Errors
    /// As [`reload`](Self::reload), when no file was given, or when the file has errors.
    pub async fn reload_file(&self) -> Result<ReloadReport, ReloadError> {
        self.kernel.plugins.reload(Wanted::File, Rebuild::default()).await
    }

    /// Builds plugins anew although nothing changed; also brings back one that was quarantined.
    ///
    /// # Errors
    /// As [`reload`](Self::reload), and when a name is unknown.
    pub async fn rebuild(&self, plugins: &[PluginName]) -> Result<ReloadReport, ReloadError> {
        let rebuild = Rebuild { names: plugins.to_vec(), is_suspect: false };
        self.kernel.plugins.reload(Wanted::InForce, rebuild).await
    }

    /// Adds a class that is known only at run time, so that plugins of it can be added.
    ///
    /// # Errors
    /// When its `cls` or an alias is taken.
    pub fn add_class(&self, class: Arc<dyn PluginClass>) -> Result<(), RegistryError> {
        self.kernel.plugins.registry.add(class)
    }

    /// Removes a class; plugins of it that are loaded stay. False when there was none.
    pub fn remove_class(&self, cls: &str) -> bool {
        self.kernel.plugins.registry.remove(cls)
    }

    /// Adds a plugin behind those that there are. Nothing else is touched.
    ///
    /// # Errors
    /// When its name is taken, or it cannot be built or started; then nothing has changed.
    pub async fn add_plugin(&self, config: PluginConfig) -> Result<ReloadReport, ReloadError> {
        self.kernel.plugins.change_one(Change::Add(Box::new(config))).await
    }

    /// Removes a plugin: its calls come to their end, then it is torn down.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn remove_plugin(&self, name: &PluginName) -> Result<ReloadReport, ReloadError> {
        self.kernel.plugins.change_one(Change::Remove(name.clone())).await
    }

    /// Replaces the configuration of a plugin: it moves, or is built anew with the state of the one
    /// before, as at a reload.
    ///
    /// # Errors
    /// When there is none of this name, or the new one cannot be built or started; then nothing has
    /// changed.
    pub async fn replace_plugin(&self, config: PluginConfig) -> Result<ReloadReport, ReloadError> {
        self.kernel.plugins.change_one(Change::Replace(Box::new(config))).await
    }

    /// How the host stands.
    pub fn status(&self) -> HostStatus {
        self.kernel.look()
    }

    /// The plugins that handle a message type, in which order, where, and within what time.
    pub fn explain(&self, message_type: &str) -> Explanation {
        self.kernel.explain_type(message_type)
    }

    /// Whether a session of this identity reaches a plugin with messages of a type: one that it sees handles
    /// them, and it may send them.
    pub fn serves(&self, identity: &Identity, message_type: &str) -> bool {
        let view = self.kernel.plugins.views.of(identity.tenant.as_deref());
        let route = view.table.get(message_type);
        route.is_some_and(|route| may_send_type(identity, message_type, route))
    }

    /// Whether the host is ending: it opens no more sessions.
    pub fn is_draining(&self) -> bool {
        self.kernel.services.live.is_draining()
    }

    /// Resolves when the host can no longer serve, with the reason.
    pub async fn failed(&self) -> String {
        self.kernel.failed().await
    }

    /// Resolves when an operator asks for the end (`host/stop/req`), with the time that accepted requests
    /// may go on: the program then calls [`shutdown`](Self::shutdown). As long as nobody waits here,
    /// operators are refused.
    pub async fn stop_asked(&self) -> Duration {
        self.kernel.stop_asked().await
    }

    /// Saves the state of every plugin now, also what it keeps of resumable sessions.
    ///
    /// # Errors
    /// When no store is configured, or a plugin or the store failed; what could be saved is saved.
    pub async fn save_state(&self) -> Result<()> {
        let (_, failed) = self.kernel.plugins.snapshot().await?;
        if failed.is_empty() { Ok(()) } else { Err(Error::runtime(failed.join("; "))) }
    }

    /// Lets a plugin forget its state, and deletes the saved one.
    ///
    /// # Errors
    /// When there is no such plugin, or it or the store failed.
    pub async fn clear_state(&self, plugin: &PluginName) -> Result<()> {
        self.kernel.plugins.clear(plugin).await
    }

    /// Ends the host: takes nothing new, lets accepted requests finish for up to `drain`, answers the
    /// rest `shutting_down`, saves state, tears plugins down in reverse order of loading, ends
    /// children, and closes the audit.
    pub async fn shutdown(&self, drain: Duration) {
        self.kernel.shut_down(drain).await;
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Without a shutdown before, sessions end now; the watchdog goes when the last has.
        self.kernel.services.live.drain(Duration::ZERO);
    }
}

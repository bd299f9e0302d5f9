//! The executor: loads plugins, serves connections, ends in order. What an embedder holds.

mod builder;
mod kernel;
mod memory;
mod plugin_set;
mod shutdown;
mod status;
mod stdio;

use std::sync::Arc;
use std::time::Duration;

use crate::config::HostConfig;
use crate::lifecycle::{Rebuild, Wanted};
use crate::protocol::PluginName;
use crate::sessions::{Front, serve};
use crate::transport::{Connection, Identity, Peer, memory_pair};
use crate::{Error, Result};

pub use crate::lifecycle::ReloadError;
pub use crate::protocol::host::{
    Explanation, HostStatus, PluginHealth, PluginStatus, ReloadProblem, ReloadReport,
};
pub use builder::{Builder, StartError};
use kernel::Kernel;

/// A running host.
///
/// ```
/// use a2e_core::{Executor, config::HostConfig};
/// # let runtime = tokio::runtime::Runtime::new().unwrap();
/// # runtime.block_on(async {
/// let executor = Executor::builder(HostConfig::new()).start().await?;
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

    /// How the host stands.
    pub fn status(&self) -> HostStatus {
        self.kernel.look()
    }

    /// The plugins that handle a message type, in which order, where, and within what time.
    pub fn explain(&self, message_type: &str) -> Explanation {
        self.kernel.explain_type(message_type)
    }

    /// Resolves when the host can no longer serve, with the reason.
    pub async fn failed(&self) -> String {
        self.kernel.failed().await
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

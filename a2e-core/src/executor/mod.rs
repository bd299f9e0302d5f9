//! The executor: loads plugins, serves connections, ends in order. What an embedder holds.

mod builder;
mod kernel;
mod load;
mod own_thread;
mod reload;
mod session_expiry;
mod session_state;
mod session_work;
mod shutdown;
mod state;
mod status;

use std::sync::Arc;
use std::time::Duration;

use crate::config::HostConfig;
use crate::protocol::PluginName;
use crate::session::serve::{self, Thread};
use crate::transport::{Connection, Socket, memory_pair, stdio};
use crate::{Error, Result};

pub use crate::protocol::host::{
    Explanation, HostStatus, PluginHealth, PluginStatus, ReloadProblem, ReloadReport,
};
pub use builder::{Builder, StartError};
pub(crate) use kernel::{Counter, Kernel};
use own_thread::OwnThread;
pub use reload::ReloadError;
pub(crate) use reload::{Rebuild, Wanted};
pub(crate) use session_work::{SessionWork, end_instance, start_instance, tear_down_instance};

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
        &self.kernel.config
    }

    /// Serves one connection until it ends.
    pub async fn serve(&self, connection: Connection) {
        serve::serve(Arc::clone(&self.kernel), connection, Thread::Shared).await;
    }

    /// Serves one connection in a task of its own.
    pub fn spawn(&self, connection: Connection) -> tokio::task::JoinHandle<()> {
        self.kernel.runtime.spawn(serve::serve(
            Arc::clone(&self.kernel),
            connection,
            Thread::Shared,
        ))
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
        let sink = {
            // While the session's thread is busy, the host's threads see when the peer has read.
            let _host = self.kernel.runtime.enter();
            stdio::sink()?
        };
        let kernel = Arc::clone(&self.kernel);
        let (ended, end) = tokio::sync::oneshot::channel::<()>();
        std::thread::Builder::new().name("a2e-stdio".into()).spawn(move || {
            let served = OwnThread::new().and_then(|own| {
                own.serve(kernel, || Ok(stdio::connection(stdio::source()?, sink)))
            });
            if let Err(error) = served {
                tracing::error!(%error, "standard input cannot be read");
            }
            drop(ended);
        })?;
        Ok(async move {
            // Dropped in either case: at the end, and by a panic.
            let _ended = end.await;
        })
    }

    /// Serves a socket: on a thread of its own while few sessions have one, as
    /// [`serve_stdio`](Self::serve_stdio) does, else on the host's runtime.
    pub fn spawn_socket(&self, socket: Socket) {
        if let Err(socket) = own_thread::spawn(&self.kernel, socket) {
            // The session reports for itself.
            drop(self.spawn(socket.into_connection()));
        }
    }

    /// Opens a session inside this process and gives back the client's end.
    pub fn connect(&self) -> Connection {
        let (client, host) = memory_pair();
        self.spawn(host);
        client
    }

    /// Puts the plugins of another configuration in force. Plugins that did not change keep their
    /// instance and their calls; changed ones take over the state of the instance before. What else
    /// differs takes effect at the next start, and is named in the report.
    ///
    /// # Errors
    /// When a plugin that is new or changed cannot be built or started; then nothing has changed.
    pub async fn reload(&self, config: HostConfig) -> Result<ReloadReport, ReloadError> {
        self.kernel.reload(Wanted::This(Box::new(config)), Rebuild::default()).await
    }

    /// As [`reload`](Self::reload), from the file given to [`Builder::config_file`].
    ///
    /// # Errors
    /// As [`reload`](Self::reload), when no file was given, or when the file has errors.
    pub async fn reload_file(&self) -> Result<ReloadReport, ReloadError> {
        self.kernel.reload(Wanted::File, Rebuild::default()).await
    }

    /// Builds plugins anew although nothing changed; also brings back one that was quarantined.
    ///
    /// # Errors
    /// As [`reload`](Self::reload), and when a name is unknown.
    pub async fn rebuild(&self, plugins: &[PluginName]) -> Result<ReloadReport, ReloadError> {
        let rebuild = Rebuild { names: plugins.to_vec(), is_suspect: false };
        self.kernel.reload(Wanted::InForce, rebuild).await
    }

    /// How the host stands.
    pub fn status(&self) -> HostStatus {
        self.kernel.status()
    }

    /// Who handles a message type, in which order, where, and within what time.
    pub fn explain(&self, message_type: &str) -> Explanation {
        self.kernel.explain(message_type)
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
        let (_, failed) = self.kernel.snapshot().await?;
        if failed.is_empty() { Ok(()) } else { Err(Error::runtime(failed.join("; "))) }
    }

    /// Lets a plugin forget its state, and deletes the saved one.
    ///
    /// # Errors
    /// When there is no such plugin, or it or the store failed.
    pub async fn clear_state(&self, plugin: &PluginName) -> Result<()> {
        self.kernel.clear(plugin).await
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
        self.kernel.drain_sessions();
    }
}

//! The thread of a blocking client.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::error::ClientError;

/// After the client is dropped its tasks may take this long to end: a host process is killed and
/// reaped.
const LAST_TASKS: Duration = Duration::from_secs(5);

/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(2);

/// Keeps the thread; it ends some time after the last clone is dropped.
#[derive(Clone, Debug)]
pub(super) struct Thread {
    handle: Handle,
    /// The thread ends when this is dropped.
    _stop: Arc<oneshot::Sender<()>>,
}

impl Thread {
    pub(super) fn start() -> Result<Self, ClientError> {
        let cannot = |error| ClientError::connect("a thread for the client", error);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || runtime.block_on(run(stopped));
        std::thread::Builder::new().name("a2e-client".into()).spawn(run).map_err(cannot)?;
        Ok(Self { handle, _stop: Arc::new(stop) })
    }

    /// Waits for `work` on this thread, while the client's own thread goes on.
    pub(super) fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, ClientError> {
        may_block()?;
        Ok(self.handle.block_on(work))
    }
}

async fn run(stopped: oneshot::Receiver<()>) {
    // An error: all senders are gone.
    drop(stopped.await);
    let metrics = Handle::current().metrics();
    let over = async {
        while metrics.num_alive_tasks() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(LAST_TASKS, over).await.is_err() {
        tracing::warn!("tasks of a client go on after it is gone; they are ended");
    }
}

/// An error on threads that must not be blocked.
pub(super) fn may_block() -> Result<(), ClientError> {
    if Handle::try_current().is_err() {
        return Ok(());
    }
    let text = "this thread runs asynchronous tasks or a handler of the client; \
                use `a2e_client::Client` there, or another thread";
    Err(ClientError::WouldDeadlock(text.into()))
}

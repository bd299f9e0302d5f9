//! Sessions that have a thread of their own, which waits for their input itself.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::OwnedSemaphorePermit;

use super::Kernel;
use crate::session::serve::{self, Thread};
use crate::transport::{ByteSink, Connection, Detached, Socket};

/// What such a thread waits with.
pub(super) struct OwnThread(Option<Runtime>);

impl OwnThread {
    /// Takes three descriptors.
    pub(super) fn new() -> io::Result<Self> {
        Builder::new_current_thread().enable_all().build().map(|runtime| Self(Some(runtime)))
    }

    /// Serves a connection on this thread.
    pub(super) fn serve(
        &self,
        kernel: Arc<Kernel>,
        connection: impl FnOnce() -> io::Result<Connection>,
    ) -> io::Result<()> {
        let Some(runtime) = &self.0 else { return Ok(()) };
        runtime.block_on(async {
            serve::serve(kernel, connection()?, Thread::Own).await;
            Ok(())
        })
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        // It may be dropped where waiting is not allowed.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Serves a socket on a thread of its own. Gives it back if there is none to be had, or if descriptors are
/// short: the host's threads need none for it.
pub(super) fn spawn(kernel: &Arc<Kernel>, socket: Socket) -> Result<(), Socket> {
    let Ok(place) = Arc::clone(&kernel.own_threads).try_acquire_owned() else { return Err(socket) };
    let (sink, give) = match prepare(kernel, &socket, place) {
        Ok(prepared) => prepared,
        Err(error) => {
            tracing::debug!(%error, "no thread for a session; the host's threads serve it");
            return Err(socket);
        }
    };
    match socket.detach(sink) {
        Ok(socket) => drop(give.send(socket)),
        Err(error) => tracing::warn!(%error, "a socket cannot be served"),
    }
    Ok(())
}

/// Takes all that may be short. The thread waits for the socket, and gives its place back in the end.
fn prepare(
    kernel: &Arc<Kernel>,
    socket: &Socket,
    place: OwnedSemaphorePermit,
) -> io::Result<(Arc<dyn ByteSink>, SyncSender<Detached>)> {
    let sink = socket.sink(&kernel.runtime)?;
    let own = OwnThread::new()?;
    let kernel = Arc::clone(kernel);
    let (give, take) = sync_channel::<Detached>(1);
    std::thread::Builder::new().name("a2e-session".into()).spawn(move || {
        let served = take.recv().map(|socket| own.serve(kernel, || socket.into_connection()));
        if let Ok(Err(error)) = served {
            tracing::warn!(%error, "a socket cannot be served");
        }
        drop(place);
    })?;
    Ok((sink, give))
}

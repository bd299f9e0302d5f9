//! The threads on which handlers' futures are polled.

use std::num::NonZero;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

/// A tokio apart from the one that serves sessions: futures that block their threads, which none may,
/// hold up others like them, but no session. It starts with the first future.
#[derive(Debug, Default)]
pub(crate) struct FutureThreads {
    runtime: OnceLock<Runtime>,
}

impl FutureThreads {
    /// Where to spawn; `otherwise` while threads or descriptors are short.
    pub(crate) fn handle<'a>(&'a self, otherwise: &'a Handle) -> &'a Handle {
        if self.runtime.get().is_none() {
            match start().map(|runtime| self.runtime.set(runtime)) {
                Ok(Ok(())) => {}
                // Another was quicker. Dropping it would wait, which is not allowed everywhere.
                Ok(Err(unused)) => unused.shutdown_background(),
                Err(error) => {
                    tracing::warn!(%error, "no threads for futures; those of the host poll them");
                }
            }
        }
        self.runtime.get().map_or(otherwise, Runtime::handle)
    }
}

fn start() -> std::io::Result<Runtime> {
    let processors = std::thread::available_parallelism().map_or(2, NonZero::get);
    Builder::new_multi_thread()
        .worker_threads(processors.max(2))
        .thread_name("a2e-future")
        .enable_all()
        .build()
}

impl Drop for FutureThreads {
    fn drop(&mut self) {
        // Whoever drops the host may not wait, and a future that hangs would make it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

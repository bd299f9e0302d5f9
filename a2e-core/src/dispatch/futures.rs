//! The threads on which handlers' futures are polled.

use std::num::NonZero;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

/// A tokio apart from the one that serves sessions: futures that block their threads, which none may,
/// hold up others like them, but no session. It starts with the first future.
#[derive(Debug, Default)]
pub(crate) struct FutureThreads {
    /// `None` where no threads could be started.
    runtime: OnceLock<Option<Runtime>>,
}

impl FutureThreads {
    /// Where to spawn; `otherwise` if there are no threads.
    pub(crate) fn handle<'a>(&'a self, otherwise: &'a Handle) -> &'a Handle {
        self.runtime.get_or_init(start).as_ref().map_or(otherwise, Runtime::handle)
    }
}

fn start() -> Option<Runtime> {
    let processors = std::thread::available_parallelism().map_or(2, NonZero::get);
    let built = Builder::new_multi_thread()
        .worker_threads(processors.max(2))
        .thread_name("a2e-future")
        .enable_all()
        .build();
    built
        .inspect_err(
            |error| tracing::error!(%error, "no threads for futures; those of the host poll them"),
        )
        .ok()
}

impl Drop for FutureThreads {
    fn drop(&mut self) {
        // Whoever drops the host may not wait, and a future that hangs would make it.
        if let Some(runtime) = self.runtime.take().flatten() {
            runtime.shutdown_background();
        }
    }
}

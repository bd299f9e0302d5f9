//! What targets stand on: a folder in memory where there is one, and a runtime.

use std::path::Path;

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// A folder that is removed when it is dropped.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = tempfile::Builder::new().prefix("a2e-fuzz-").tempdir_in(memory);
    made.or_else(|_| tempfile::tempdir()).expect("a scratch folder")
}

/// A runtime on the caller's thread: no time goes into waking another.
pub(crate) fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime")
}

//! The tests with the backend `sqlite`.

use std::cell::RefCell;
use std::path::Path;

use super::*;

#[path = "answers.rs"]
mod answers;
#[path = "reach.rs"]
mod reach;
#[path = "refusals.rs"]
mod refusals;
#[cfg(feature = "client")]
#[path = "typed.rs"]
mod typed;

thread_local! {
    /// The folders of a test, which end with its thread.
    static FOLDERS: RefCell<Vec<tempfile::TempDir>> = const { RefCell::new(Vec::new()) };
}

fn config(settings: Value) -> HostConfig {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(folder.path(), settings);
    FOLDERS.with_borrow_mut(|folders| folders.push(folder));
    config
}

/// As [`config`], for hosts that start again in this folder.
fn config_in(folder: &Path, mut settings: Value) -> HostConfig {
    let given = settings.as_object_mut().unwrap();
    given.entry("backend").or_insert(json!("sqlite"));
    given.entry("path").or_insert(json!(folder.join("memory.db")));
    configured(settings)
}

async fn host() -> TestHost {
    TestHost::start(config(json!({}))).await
}

//! The tests with the backend `memory`.

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

fn config(settings: Value) -> HostConfig {
    configured(settings)
}

/// As [`config`], for hosts that start again in this folder.
fn config_in(_: &std::path::Path, settings: Value) -> HostConfig {
    configured(settings)
}

async fn host() -> TestHost {
    TestHost::start(config(json!({}))).await
}

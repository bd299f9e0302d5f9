//! What a plugin says of itself: whether it can serve.

use crate::protocol::PluginName;
use crate::sync::Mutex;

/// How a plugin says that it fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    #[default]
    Serving,
    /// It serves, though not as it should; shown in status.
    Degraded,
    /// It cannot serve: calls are refused with `unavailable` until it says otherwise.
    Down,
}

/// What a plugin says now, and why.
#[derive(Debug, Default)]
pub(super) struct HealthCell(Mutex<(Health, String)>);

impl HealthCell {
    pub(super) fn get(&self) -> (Health, String) {
        self.0.lock().clone()
    }

    pub(super) fn set(&self, plugin: &PluginName, health: Health, why: &str) {
        let mut told = self.0.lock();
        if told.0 != health {
            tracing::info!(%plugin, ?health, why, "health");
        }
        *told = (health, why.to_owned());
    }
}

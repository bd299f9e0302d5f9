//! What is to be done with a call.

use std::time::Duration;

use super::Probe;
use crate::Error;
use crate::protocol::{ErrorCode, PluginName};

/// What is to be done with a call that comes to a plugin.
#[derive(Debug)]
pub(crate) enum Entry {
    /// It runs; as a probe where the breaker tries whether the plugin is well again.
    Go(Option<Probe>),
    /// It waits in the queue.
    Wait,
    /// It goes to the instance that stands in the plugin's place now.
    Moved,
    /// It does not run.
    Refused(Error),
}

impl Entry {
    pub(super) fn refused(plugin: &PluginName, why: &str) -> Self {
        Self::Refused(Error::new(ErrorCode::Unavailable, format!("plugin `{plugin}` {why}")))
    }

    /// Its breaker is open for this long.
    pub(super) fn left_alone(plugin: &PluginName, wait: Duration) -> Self {
        let text = format!("plugin `{plugin}` failed too often; it is left alone");
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        Self::Refused(Error::new(ErrorCode::Unavailable, text).with_detail("retry_after_ms", ms))
    }
}

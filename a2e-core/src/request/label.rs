//! What a request knows of the plugin that works on it: who it is, and its counts.

use std::sync::Arc;

use crate::Time;
use crate::counters::Counter;
use crate::layers::{Admission, Panics, Remedy};
use crate::protocol::{CapabilityName, PluginName};
use crate::sync::Mutex;

/// One instance of a plugin, as requests, records and per-session tables tell it from others.
#[derive(Debug)]
pub(crate) struct PluginLabel {
    /// Tells the instance from all others of the host.
    pub(crate) number: usize,
    pub(crate) name: PluginName,
    pub(crate) capability: CapabilityName,
    /// Whether it takes calls.
    pub(crate) admission: Arc<Admission>,
    /// Shared by all instances that stood in this place.
    pub(crate) stats: Arc<PluginStats>,
}

/// What happened to a plugin's calls.
#[derive(Debug, Default)]
pub(crate) struct PluginStats {
    pub(crate) calls: Counter,
    pub(crate) panics: Counter,
    pub(crate) timeouts: Counter,
    /// Instances that were built in the place of another, with the same configuration.
    pub(crate) rebuilds: Counter,
    /// When it panicked; guarded for a look.
    panic_times: Mutex<Panics>,
}

impl PluginStats {
    /// A call panicked: what is to be done beyond the answer.
    pub(crate) fn note_panic(&self, now: Time) -> Remedy {
        self.panic_times.lock().panicked(now.mono)
    }

    /// The plugin says that its state is not to be trusted.
    pub(crate) fn note_suspect(&self, now: Time) -> Remedy {
        self.panic_times.lock().remedy(now.mono)
    }
}

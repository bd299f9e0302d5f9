//! What a request knows of the plugin that works on it: who it is, and its counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Time;
use crate::layers::{Admission, Panics, Remedy};
use crate::protocol::{CapabilityName, PluginName};

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
    pub(crate) calls: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    /// Instances that were built in the place of another, with the same configuration.
    pub(crate) rebuilds: AtomicU64,
    /// When it panicked; guarded for a look.
    panic_times: Mutex<Panics>,
}

impl PluginStats {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A call panicked: what is to be done beyond the answer.
    pub(crate) fn note_panic(&self, now: Time) -> Remedy {
        self.panic_times.lock().unwrap_or_else(PoisonError::into_inner).panicked(now.mono)
    }

    /// The plugin says that its state is not to be trusted.
    pub(crate) fn note_suspect(&self, now: Time) -> Remedy {
        self.panic_times.lock().unwrap_or_else(PoisonError::into_inner).remedy(now.mono)
    }
}

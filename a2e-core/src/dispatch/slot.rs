//! A loaded plugin in its place: instance, order, permits, and how it fares.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Gate;
use crate::config::PluginConfig;
use crate::plugin::{Descriptor, Handler, Host, Loaded, PluginScope};
use crate::protocol::{CapabilityName, PluginName};

/// Whether a plugin serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// It takes messages.
    Serving,
    /// It does not, because of this.
    Failed(String),
}

/// A plugin that was built, with everything the dispatcher keeps about it.
pub(crate) struct PluginSlot {
    /// Its place in the configuration; also its index in per-session tables.
    pub(crate) number: usize,
    pub(crate) name: PluginName,
    pub(crate) capability: CapabilityName,
    pub(crate) config: PluginConfig,
    pub(crate) descriptor: &'static Descriptor,
    pub(crate) priority: i64,
    pub(crate) is_exclusive: bool,
    pub(crate) scope: PluginScope,
    /// The longest that one of its handlers may take, where configured.
    pub(crate) deadline: Option<Duration>,
    /// The instance; for `scope: session` the one that only declares the handlers.
    pub(crate) instance: Arc<dyn Loaded>,
    pub(crate) host: Host,
    pub(crate) gate: Arc<Gate>,
    pub(crate) stats: PluginStats,
    /// Guards the reason alone; whether it serves is known without the lock.
    state: Mutex<SlotState>,
    /// Why its saved state was not restored or not saved, the last time.
    state_problem: Mutex<Option<String>>,
    is_serving: AtomicBool,
    /// Who saves, clears or restores its state has this.
    pub(crate) saving: Arc<tokio::sync::Mutex<()>>,
    /// What is saved could not be restored and is not to be overwritten unasked.
    keeps_saved_state: AtomicBool,
}

/// What happened to a plugin's calls.
#[derive(Debug, Default)]
pub(crate) struct PluginStats {
    pub(crate) calls: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) timeouts: AtomicU64,
}

impl PluginStats {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What [`PluginSlot::new`] needs beyond the configuration.
pub(crate) struct Parts {
    pub(crate) number: usize,
    pub(crate) config: PluginConfig,
    pub(crate) descriptor: &'static Descriptor,
    pub(crate) instance: Arc<dyn Loaded>,
    pub(crate) host: Host,
    pub(crate) gate: Arc<Gate>,
}

impl PluginSlot {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { number, config, descriptor, instance, host, gate } = parts;
        let meta = &config.metadata;
        Self {
            number,
            name: config.name.clone(),
            capability: config.capability.clone(),
            priority: meta.priority.unwrap_or(descriptor.priority),
            is_exclusive: meta.exclusive.unwrap_or(descriptor.exclusive),
            scope: meta.scope.unwrap_or(descriptor.scope),
            deadline: meta.deadline,
            descriptor,
            instance,
            host,
            gate,
            stats: PluginStats::default(),
            state: Mutex::new(SlotState::Serving),
            state_problem: Mutex::new(None),
            is_serving: AtomicBool::new(true),
            saving: Arc::default(),
            keeps_saved_state: AtomicBool::new(false),
            config,
        }
    }

    /// The handlers that an instance declares.
    pub(crate) fn handlers(&self) -> &[Arc<Handler>] {
        self.instance.handlers()
    }

    /// Whether its saved state, which could not be restored, is left as it is.
    pub(crate) fn keeps_saved_state(&self) -> bool {
        self.keeps_saved_state.load(Ordering::Acquire)
    }

    pub(crate) fn keep_saved_state(&self, keeps: bool) {
        self.keeps_saved_state.store(keeps, Ordering::Release);
    }

    /// Whether it takes messages.
    pub(crate) fn is_serving(&self) -> bool {
        self.is_serving.load(Ordering::Acquire)
    }

    pub(crate) fn state(&self) -> SlotState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is wrong with its saved state, as of the last restore or save.
    pub(crate) fn state_problem(&self) -> Option<String> {
        self.state_problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_state_problem(&self, problem: Option<String>) {
        *self.state_problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// Takes the plugin out of service; the reason is shown in status.
    pub(crate) fn fail(&self, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::error!(plugin = %self.name, %reason, "plugin failed");
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = SlotState::Failed(reason);
        self.is_serving.store(false, Ordering::Release);
    }
}

impl fmt::Debug for PluginSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginSlot").field("name", &self.name).finish_non_exhaustive()
    }
}

//! A loaded plugin: its instance, its configuration, its endpoint, and how it fares beside its calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::instances::{InstanceSource, SessionInstances};
use super::keep::SessionWork;
use crate::config::PluginConfig;
use crate::layers::{Admission, Gate};
use crate::plugin::{Handler, Host, Loaded, PluginClass, PluginScope};
use crate::protocol::PluginName;
use crate::request::{PluginLabel, PluginStats};
use crate::route::{Endpoint, Instances, Order};
use crate::sync::Mutex;

/// Whether a plugin serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// It takes messages.
    Serving,
    /// It does not, because of this.
    Failed(String),
    /// It did, and panicked so often that it does no more.
    Quarantined(String),
}

/// A plugin that was built.
pub(crate) struct PluginSlot {
    pub(crate) config: PluginConfig,
    pub(crate) class: Arc<dyn PluginClass>,
    /// The instance; for `scope: session` the one that only declares the handlers.
    pub(crate) instance: Arc<Loaded>,
    pub(crate) host: Host,
    pub(crate) endpoint: Arc<Endpoint>,
    /// For `scope: session`: the instance of each session.
    pub(crate) instances: Option<Arc<SessionInstances>>,
    /// Guards the reason alone; whether it serves is known without the lock.
    state: Mutex<SlotState>,
    saved: Saved,
    /// What it does for sessions beside their requests.
    pub(crate) session_work: SessionWork,
}

/// How the plugin's own saved state stands.
struct Saved {
    /// Why it was not restored or not saved, the last time.
    problem: Mutex<Option<String>>,
    /// Held to save, clear or restore it. Shared by all instances that stood in this place.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// It could not be restored and is not to be overwritten unasked.
    is_kept: AtomicBool,
}

/// What [`PluginSlot::new`] needs beyond the configuration.
pub(crate) struct Parts {
    pub(crate) number: usize,
    pub(crate) config: PluginConfig,
    pub(crate) class: Arc<dyn PluginClass>,
    pub(crate) instance: Arc<Loaded>,
    pub(crate) host: Host,
    pub(crate) gate: Arc<Gate>,
    pub(crate) stats: Arc<PluginStats>,
    pub(crate) saving: Arc<tokio::sync::Mutex<()>>,
    /// For `scope: session`, where the instances stay.
    pub(crate) instances: Option<Arc<SessionInstances>>,
}

impl PluginSlot {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { number, config, class, instance, host, gate, stats, saving, instances } = parts;
        let meta = &config.metadata;
        let label = Arc::new(PluginLabel {
            number,
            name: config.name.clone(),
            capability: config.capability.clone(),
            admission: Admission::new(config.name.clone()),
            stats,
        });
        let order = Order {
            priority: meta.priority.unwrap_or(class.facts().priority),
            is_exclusive: meta.exclusive.unwrap_or(class.facts().exclusive),
        };
        let scope = meta.scope.unwrap_or(class.facts().scope);
        let instances = instances.or_else(|| {
            let source = InstanceSource {
                class: Arc::clone(&class),
                config: config.clone(),
                host: host.clone(),
                label: Arc::clone(&label),
            };
            (scope == PluginScope::Session).then(|| SessionInstances::new(source))
        });
        let own = instances.clone().map(|it| it as Arc<dyn Instances>);
        let handlers = instance.handlers();
        let endpoint = Endpoint::new(label, order, meta.deadline, gate, handlers, own);
        Self {
            class,
            instance,
            host,
            endpoint,
            instances,
            state: Mutex::new(SlotState::Serving),
            saved: Saved {
                problem: Mutex::default(),
                turn: saving,
                is_kept: AtomicBool::new(false),
            },
            session_work: SessionWork::default(),
            config,
        }
    }

    /// The same instance in another place: with the priority, permits and deadline of this
    /// configuration. `gate` is its own where permits stay.
    pub(crate) fn moved(&self, config: PluginConfig, gate: Arc<Gate>) -> Self {
        let moved = Self::new(Parts {
            number: self.number(),
            config,
            class: Arc::clone(&self.class),
            instance: Arc::clone(&self.instance),
            host: self.host.clone(),
            gate,
            stats: Arc::clone(self.stats()),
            saving: Arc::clone(&self.saved.turn),
            instances: self.instances.clone(),
        });
        moved.endpoint.set_handlers(self.endpoint.handlers());
        let (health, why) = self.endpoint.label.admission.health();
        moved.endpoint.label.admission.set_health(health, &why);
        moved
    }

    pub(crate) fn name(&self) -> &PluginName {
        &self.endpoint.label.name
    }

    /// Tells its instance from all others of the host.
    pub(crate) fn number(&self) -> usize {
        self.endpoint.label.number
    }

    pub(crate) fn stats(&self) -> &Arc<PluginStats> {
        &self.endpoint.label.stats
    }

    pub(crate) fn scope(&self) -> PluginScope {
        if self.instances.is_some() { PluginScope::Session } else { PluginScope::Host }
    }

    /// Whether sessions of this tenant see it.
    pub(crate) fn is_seen_by(&self, tenant: Option<&str>) -> bool {
        match &self.config.metadata.tenants {
            None => true,
            Some(tenants) => tenant.is_some_and(|tenant| tenants.iter().any(|it| it == tenant)),
        }
    }

    /// Whether it takes messages, though perhaps not just now.
    pub(crate) fn is_serving(&self) -> bool {
        self.endpoint.is_serving()
    }

    /// The handlers that it declares now.
    pub(crate) fn handlers(&self) -> Arc<[Arc<Handler>]> {
        self.endpoint.handlers()
    }

    pub(crate) fn state(&self) -> SlotState {
        self.state.lock().clone()
    }

    /// Takes the plugin out of service; the reason is shown in status.
    pub(crate) fn fail(&self, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::error!(plugin = %self.name(), %reason, "plugin failed");
        self.end_service(SlotState::Failed(reason));
    }

    /// Takes it out of service until an operator has it built anew.
    pub(crate) fn quarantine(&self, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::error!(plugin = %self.name(), %reason, "plugin quarantined");
        self.end_service(SlotState::Quarantined(reason));
    }

    fn end_service(&self, state: SlotState) {
        *self.state.lock() = state;
        self.endpoint.fail();
    }

    // --- its saved state

    pub(crate) fn saving(&self) -> &Arc<tokio::sync::Mutex<()>> {
        &self.saved.turn
    }

    /// Whether its saved state, which could not be restored, is left as it is.
    pub(crate) fn keeps_saved_state(&self) -> bool {
        self.saved.is_kept.load(Ordering::Acquire)
    }

    pub(crate) fn keep_saved_state(&self, keeps: bool) {
        self.saved.is_kept.store(keeps, Ordering::Release);
    }

    /// What is wrong with its saved state, as of the last restore or save.
    pub(crate) fn state_problem(&self) -> Option<String> {
        self.saved.problem.lock().clone()
    }

    pub(crate) fn set_state_problem(&self, problem: Option<String>) {
        *self.saved.problem.lock() = problem;
    }
}

show!(PluginSlot, name: |it| *it.name());

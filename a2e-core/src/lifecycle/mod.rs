//! The plugins of a host: built, restored, started, replaced, saved, ended.

mod desk;
mod instances;
pub(crate) mod keep;
mod load;
mod reload;
mod set;
mod slot;
mod state;
mod teardown;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::children::Supervisor;
use crate::plugin::Registry;
use crate::protocol::PluginName;
use crate::request::{Services, Session};
use crate::route::Views;
use crate::snapshot::SnapshotStore;
use crate::sync::Mutex;

use keep::Resumables;
pub(crate) use load::LoadError;
pub use reload::ReloadError;
use reload::Reloads;
pub(crate) use reload::{Change, Rebuild, Wanted};
use set::PluginSet;
pub(crate) use slot::{PluginSlot, SlotState};
use state::States;

/// The plugins of a host, and everything that happens to them beside their calls.
pub(crate) struct Plugins {
    pub(crate) services: Arc<Services>,
    pub(crate) registry: Registry,
    pub(crate) views: Views,
    pub(crate) set: PluginSet,
    pub(crate) reloads: Reloads,
    pub(crate) children: Option<Arc<Supervisor>>,
    pub(crate) states: States,
    /// Sessions that can be resumed, and what plugins keep of them.
    pub(crate) kept: Resumables,
    /// How long a plugin may take in each part of its life.
    pub(crate) limit: Duration,
    /// Sessions in which plugins make requests by themselves.
    own_sessions: Mutex<HashMap<PluginName, Arc<Session>>>,
    me: Weak<Plugins>,
}

/// What the builder brings.
pub(crate) struct Brought {
    pub(crate) registry: Registry,
    /// The file that a reload reads.
    pub(crate) source: Option<std::path::PathBuf>,
    /// Whether keys that nobody reads are only warnings in it.
    pub(crate) is_lenient: bool,
    pub(crate) store: Option<Arc<dyn SnapshotStore>>,
    pub(crate) children: Option<Arc<Supervisor>>,
    pub(crate) limit: Duration,
}

impl Plugins {
    pub(crate) fn new(services: &Arc<Services>, brought: Brought) -> Arc<Self> {
        let Brought { registry, source, is_lenient, store, children, limit } = brought;
        let config = &services.config;
        Arc::new_cyclic(|me| Self {
            services: Arc::clone(services),
            registry,
            views: Views::default(),
            set: PluginSet::default(),
            reloads: Reloads::new(source, is_lenient, &config.plugins),
            children,
            states: States::new(store, config.snapshot_mode),
            kept: Resumables::default(),
            limit,
            own_sessions: Mutex::default(),
            me: Weak::clone(me),
        })
    }

    /// Takes the requests out of all queues that have ended.
    pub(crate) fn sweep(&self) {
        if self.services.shortage.waiting() > 0 {
            for slot in self.set.all() {
                slot.endpoint.gate.sweep();
            }
        }
    }

    /// How children are held.
    pub(crate) fn isolation(&self) -> &'static str {
        self.children.as_ref().map_or("none", |children| children.isolation().as_str())
    }
}

show!(Plugins);

/// The result, or `None` when it takes too long.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, work).await.ok()
}

//! The plugins in force, and the views of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use super::{PluginSlot, Plugins};
use crate::config::ApproveRule;
use crate::plugin::{Contribution, Handler, Interception};
use crate::protocol::PluginName;
use crate::route::{Endpoint, RouteProblem, RouteTable, View};
use crate::sync::{Mutex, RwLock};

/// Every plugin that was built, and those that could not be.
#[derive(Debug, Default)]
pub(crate) struct PluginSet {
    /// In configuration order. Written when plugins change; read at handshakes, status and shutdown.
    slots: RwLock<Vec<Arc<PluginSlot>>>,
    unloaded: Mutex<Vec<Unloaded>>,
    /// Every instance by number, also one that is not in force yet.
    instances: Mutex<HashMap<usize, Weak<PluginSlot>>>,
    /// Numbers of plugin instances.
    next_instance: AtomicUsize,
    /// Held while views are put in force: an older one must not come after a newer one. Nothing of a
    /// plugin runs under it.
    installing: Mutex<()>,
}

/// A plugin that could not be built.
#[derive(Clone, Debug)]
pub(crate) struct Unloaded {
    pub(crate) name: PluginName,
    pub(crate) reason: String,
}

impl PluginSet {
    /// Every plugin that was built, in configuration order.
    pub(crate) fn all(&self) -> Vec<Arc<PluginSlot>> {
        self.slots.read().clone()
    }

    /// Every plugin that takes messages.
    pub(crate) fn serving(&self) -> Vec<Arc<PluginSlot>> {
        self.all().into_iter().filter(|slot| slot.is_serving()).collect()
    }

    pub(crate) fn find(&self, name: &PluginName) -> Option<Arc<PluginSlot>> {
        self.all().into_iter().find(|slot| slot.name() == name)
    }

    /// The plugin instance of this number, also one that is not in force yet.
    pub(crate) fn instance(&self, number: usize) -> Option<Arc<PluginSlot>> {
        self.instances.lock().get(&number).and_then(Weak::upgrade)
    }

    /// Notes an instance, or the place where it stands now.
    pub(super) fn note(&self, slot: PluginSlot) -> Arc<PluginSlot> {
        let slot = Arc::new(slot);
        let mut instances = self.instances.lock();
        instances.retain(|_, known| known.strong_count() > 0);
        instances.insert(slot.number(), Arc::downgrade(&slot));
        slot
    }

    /// A number that no other plugin instance of this host has.
    pub(super) fn next_instance(&self) -> usize {
        self.next_instance.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn forget_unloaded(&self) {
        self.unloaded.lock().clear();
    }

    pub(super) fn note_unloaded(&self, name: &PluginName, cls: &str, reason: &str) {
        tracing::error!(plugin = %name, cls, reason, "plugin not loaded");
        let (name, reason) = (name.clone(), reason.to_owned());
        let mut unloaded = self.unloaded.lock();
        unloaded.retain(|it| it.name != name);
        unloaded.push(Unloaded { name, reason });
    }

    pub(crate) fn unloaded(&self) -> Vec<Unloaded> {
        self.unloaded.lock().clone()
    }
}

/// The views of a set of plugins.
pub(super) struct NewViews {
    host: View,
    tenants: BTreeMap<String, View>,
}

impl NewViews {
    /// Sorts the plugins that serve into a view for sessions without a tenant, and one for each tenant
    /// that has plugins of its own. A plugin that contradicts an earlier one of a view is reported.
    pub(super) fn of(
        slots: &[Arc<PluginSlot>],
        interceptions: &[Contribution<Interception>],
        rules: &[ApproveRule],
    ) -> (Self, Vec<RouteProblem>) {
        let tenants: Vec<&String> =
            slots.iter().flat_map(|slot| slot.config.metadata.tenants.iter().flatten()).collect();
        let view = |tenant: Option<&str>| {
            let seen = slots.iter().filter(|slot| slot.is_serving() && slot.is_seen_by(tenant));
            let endpoints: Vec<Arc<Endpoint>> =
                seen.map(|slot| Arc::clone(&slot.endpoint)).collect();
            let (table, problems) = RouteTable::build(&endpoints, interceptions, rules);
            (View { table, endpoints }, problems)
        };
        let (host, mut problems) = view(None);
        let mut views = BTreeMap::new();
        for tenant in tenants {
            if views.contains_key(tenant) {
                continue;
            }
            let (own, more) = view(Some(tenant));
            views.insert(tenant.clone(), own);
            problems
                .extend(more.into_iter().filter(|it| !problems.contains(it)).collect::<Vec<_>>());
        }
        (Self { host, tenants: views }, problems)
    }
}

impl Plugins {
    /// Puts plugins and their views in force, in one step.
    pub(super) fn install(&self, views: NewViews, slots: Vec<Arc<PluginSlot>>) {
        let turn = self.set.installing.lock();
        self.set_views(views, slots);
        drop(turn);
        // What consumers make of contributions depends on which plugins serve, too.
        self.services.contributions.touch();
    }

    /// Builds the views of the plugins in force again: what they handle or intercept has changed.
    pub(super) fn rebuild_views(&self) {
        if self.views.generation() == 0 {
            // Load builds the first views when every plugin has started.
            return;
        }
        let _turn = self.set.installing.lock();
        let slots = self.set.all();
        let interceptions = self.services.contributions.all::<Interception>();
        let (views, problems) = NewViews::of(&slots, &interceptions, &self.services.config.approve);
        for problem in problems {
            tracing::error!(%problem, "route left out");
        }
        self.set_views(views, slots);
    }

    /// Gives a plugin other handlers. Where they contradict another plugin's, this plugin is refused,
    /// also when it stands before the other in the view.
    /// Errors: When a type would be declared twice, or otherwise than another plugin declares it; then nothing
    /// has changed.
    pub(super) fn redeclare(
        &self,
        slot: &PluginSlot,
        handlers: Arc<[Arc<Handler>]>,
    ) -> Result<(), RouteProblem> {
        let _turn = self.set.installing.lock();
        let slots = self.set.all();
        let interceptions = self.services.contributions.all::<Interception>();
        let (_, known) = NewViews::of(&slots, &interceptions, &self.services.config.approve);
        let before = slot.handlers();
        slot.endpoint.set_handlers(handlers);
        let (views, problems) = NewViews::of(&slots, &interceptions, &self.services.config.approve);
        if let Some(problem) = problems.into_iter().find(|it| !known.contains(it)) {
            slot.endpoint.set_handlers(before);
            return Err(problem);
        }
        // Load builds the first views when every plugin has started.
        if self.views.generation() > 0 {
            self.set_views(views, slots);
        }
        Ok(())
    }

    fn set_views(&self, views: NewViews, slots: Vec<Arc<PluginSlot>>) {
        *self.set.slots.write() = slots;
        self.views.replace(views.host, views.tenants);
    }
}

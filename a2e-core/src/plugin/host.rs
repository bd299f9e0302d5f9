//! What the host gives to a plugin.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::contribution::{Contribution, Owner};
use super::{Interception, Interceptor};
use crate::children::Supervisor;
use crate::clock::Clock;
use crate::config::{HostConfig, PluginConfig};
use crate::executor::Kernel;
use crate::protocol::{CapabilityName, PluginName};
use crate::snapshot::{SnapshotStore, State, StateKey};
use crate::{Error, Result, Time};

/// How long the end of a session waits for the tasks of an instance of its own.
const TASKS_END: std::time::Duration = std::time::Duration::from_millis(200);

/// The host as one plugin sees it. Cheap to clone; does not keep the host alive.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    owner: Owner,
    capability: CapabilityName,
    config: Arc<HostConfig>,
    clock: Arc<dyn Clock>,
    children: Option<Arc<Supervisor>>,
    store: Option<Arc<dyn SnapshotStore>>,
    runtime: tokio::runtime::Handle,
    contributions: Arc<super::Contributions>,
    kernel: Weak<Kernel>,
    tasks: TaskTracker,
    ends: CancellationToken,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host of plugin `{}`", self.0.owner.name)
    }
}

impl Host {
    pub(crate) fn new(kernel: &Arc<Kernel>, plugin: &PluginConfig, epoch: u64) -> Self {
        Self(Arc::new(Inner {
            owner: Owner { name: plugin.name.clone(), epoch },
            capability: plugin.capability.clone(),
            config: Arc::clone(&kernel.config),
            clock: Arc::clone(&kernel.clock),
            children: kernel.children.clone(),
            store: kernel.store.clone(),
            runtime: kernel.runtime.clone(),
            contributions: Arc::clone(&kernel.contributions),
            kernel: Arc::downgrade(kernel),
            tasks: TaskTracker::new(),
            ends: CancellationToken::new(),
        }))
    }

    /// The plugin's instance name.
    pub fn plugin(&self) -> &PluginName {
        &self.0.owner.name
    }

    /// The plugin's capability, as configured.
    pub fn capability(&self) -> &CapabilityName {
        &self.0.capability
    }

    /// The configuration of the host.
    pub fn config(&self) -> &HostConfig {
        &self.0.config
    }

    /// Every plugin of this host that serves, as name and capability, in configuration order.
    /// Empty before the plugins are started.
    pub fn plugins(&self) -> Vec<(PluginName, CapabilityName)> {
        let kernel = self.0.kernel.upgrade();
        let slots = kernel.map(|kernel| kernel.serving_plugins()).unwrap_or_default();
        slots.iter().map(|slot| (slot.name.clone(), slot.capability.clone())).collect()
    }

    /// The names of the serving plugins of one capability, highest priority first, ties in
    /// configuration order. Empty before the plugins are started.
    pub fn plugins_of(&self, capability: &str) -> Vec<PluginName> {
        let capability = CapabilityName::parse(capability);
        let kernel = self.0.kernel.upgrade();
        let mut slots = kernel.map(|kernel| kernel.serving_plugins()).unwrap_or_default();
        slots.retain(|slot| slot.capability == capability);
        slots.sort_by_key(|slot| std::cmp::Reverse(slot.priority));
        slots.iter().map(|slot| slot.name.clone()).collect()
    }

    /// The host's clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// The time now.
    pub fn now(&self) -> Time {
        self.0.clock.now()
    }

    /// Starts and holds child processes.
    ///
    /// # Errors
    /// When the host was started without a supervisor.
    pub fn children(&self) -> Result<&Arc<Supervisor>> {
        self.0.children.as_ref().ok_or_else(|| Error::runtime("this host starts no processes"))
    }

    /// Offers `item` to other plugins under `name`.
    ///
    /// # Errors
    /// When the name is taken among items of the same type.
    pub fn contribute<T: ?Sized + Send + Sync + 'static>(
        &self,
        name: &str,
        item: Arc<T>,
    ) -> Result<()> {
        let added = self.0.contributions.add(&self.0.owner, name, item);
        if let Err(error) = &added {
            tracing::warn!(plugin = %self.0.owner.name, %error, "contribution refused");
        }
        added
    }

    /// Has an interceptor asked about every request whose type fits `pattern` (each `*` stands for
    /// any run of characters), those of other plugins included. Higher `priority` is asked first.
    /// Interceptors that are registered in `start` hold from the first message on.
    ///
    /// # Errors
    /// When this host has an interceptor of this name already.
    pub fn intercept(
        &self,
        name: &str,
        pattern: impl Into<String>,
        priority: i64,
        interceptor: Arc<dyn Interceptor>,
    ) -> Result<()> {
        let pattern = pattern.into();
        self.contribute(name, Arc::new(Interception { pattern, priority, item: interceptor }))?;
        if let Some(kernel) = self.0.kernel.upgrade() {
            kernel.reroute();
        }
        Ok(())
    }

    /// The plugin says that its state is not to be trusted any more: it is torn down, built anew and
    /// restored from the last snapshot; calls wait meanwhile. The second time within 10 minutes it is
    /// taken out of service instead.
    pub fn suspect(&self, reason: &str) {
        let Some(kernel) = self.0.kernel.upgrade() else { return };
        let slot = kernel.plugins().into_iter().find(|it| it.host.epoch() == self.epoch());
        if let Some(slot) = slot {
            kernel.heal(&slot, slot.note_suspect(kernel.clock.now()), reason);
        }
    }

    /// Tells this instance from others of the same name.
    pub(crate) fn epoch(&self) -> u64 {
        self.0.owner.epoch
    }

    /// Everything of this type that plugins offer.
    pub fn contributions<T: ?Sized + Send + Sync + 'static>(&self) -> Vec<Contribution<T>> {
        self.0.contributions.all()
    }

    pub(crate) fn contribution_table(&self) -> &super::Contributions {
        &self.0.contributions
    }

    /// Rises when contributions change; equal numbers mean equal contributions.
    pub fn contribution_generation(&self) -> u64 {
        self.0.contributions.generation()
    }

    /// Runs a task beside the plugin's calls. It is dropped when the plugin ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let ends = self.0.ends.clone();
        let name = self.0.owner.name.clone();
        let task = self.0.tasks.track_future(async move {
            let task = std::panic::AssertUnwindSafe(task);
            tokio::select! {
                result = futures_util::FutureExt::catch_unwind(task) => if let Err(panic) = result {
                    let panic = crate::dispatch::text_of(panic);
                    tracing::error!(plugin = %name, panic, "task panicked");
                },
                () = ends.cancelled() => {}
            }
        });
        self.0.runtime.spawn(task);
    }

    /// Saves state under a key of the plugin's own. Blocks: not for inline or async handlers.
    ///
    /// # Errors
    /// When the host has no snapshot store, or the store fails.
    pub fn save_state(&self, key: &str, state: &State) -> Result<()> {
        self.store()?.save(&self.key(key), state)
    }

    /// Loads what [`save_state`](Self::save_state) saved. Blocks.
    ///
    /// # Errors
    /// When the host has no snapshot store, or no saved generation is whole.
    pub fn load_state(&self, key: &str) -> Result<Option<State>> {
        Ok(self.store()?.load(&self.key(key))?.map(|loaded| loaded.state))
    }

    /// Forgets what was saved under a key. Blocks.
    ///
    /// # Errors
    /// When the host has no snapshot store, or the store fails.
    pub fn delete_state(&self, key: &str) -> Result<()> {
        self.store()?.delete(&self.key(key))
    }

    fn store(&self) -> Result<&Arc<dyn SnapshotStore>> {
        self.0.store.as_ref().ok_or_else(|| Error::runtime("no `snapshot_store` is configured"))
    }

    fn key(&self, key: &str) -> StateKey {
        StateKey::new(self.0.owner.name.clone(), key, None)
    }

    /// Sends a message to every open session that is past its handshake; returns how many took it.
    /// A session whose reader is slow is left out and counted.
    pub fn push_all<T: Serialize + ?Sized>(&self, wire_type: &str, body: &T) -> usize {
        self.0.kernel.upgrade().map_or(0, |kernel| kernel.push_all(wire_type, body, None))
    }

    /// As [`push_all`](Self::push_all), but only to sessions that use this plugin's capability: those
    /// whose handshake asked for it.
    pub fn push_users<T: Serialize + ?Sized>(&self, wire_type: &str, body: &T) -> usize {
        let kernel = self.0.kernel.upgrade();
        kernel.map_or(0, |kernel| kernel.push_all(wire_type, body, Some(&self.0.capability)))
    }

    /// The same host for an instance of one session: its tasks end with that, and with the plugin's.
    pub(crate) fn for_session(&self) -> Self {
        let it = &self.0;
        Self(Arc::new(Inner {
            owner: it.owner.clone(),
            capability: it.capability.clone(),
            config: Arc::clone(&it.config),
            clock: Arc::clone(&it.clock),
            children: it.children.clone(),
            store: it.store.clone(),
            runtime: it.runtime.clone(),
            contributions: Arc::clone(&it.contributions),
            kernel: Weak::clone(&it.kernel),
            tasks: TaskTracker::new(),
            ends: it.ends.child_token(),
        }))
    }

    /// Ends the tasks of an instance of a session, and waits for them on a thread that may block.
    pub(crate) fn end_tasks_soon(&self) {
        let ended = async { tokio::time::timeout(TASKS_END, self.end_tasks()).await };
        if self.0.runtime.block_on(ended).is_err() {
            tracing::warn!(plugin = %self.0.owner.name, "tasks of a session's own instance go on");
        }
    }

    /// Ends the plugin's tasks and waits for them.
    pub(crate) async fn end_tasks(&self) {
        self.0.ends.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

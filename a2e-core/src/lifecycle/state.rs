//! Snapshots: saved at session end, on schedule and at shutdown, restored at start.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::load::{caught, on_thread};
use super::{PluginSlot, Plugins, within};
use crate::config::SnapshotMode;
use crate::plugin::{PluginScope, Scope};
use crate::protocol::PluginName;
use crate::snapshot::{MemoryStore, SnapshotStore, StateKey};
use crate::{Error, Result};

/// The key under which the kernel keeps a plugin's own state.
pub(super) const KEY: &str = "state";

/// Bytes of states of sessions that a host without a store keeps.
const SESSION_MEMORY: usize = 64 << 20;

pub(crate) struct States {
    pub(super) store: Option<Arc<dyn SnapshotStore>>,
    mode: SnapshotMode,
    /// Keeps states of sessions that wait to be resumed, in a host without a store.
    session_memory: Option<Arc<dyn SnapshotStore>>,
    /// Wakes the saver before its time.
    save_wanted: Arc<tokio::sync::Notify>,
}

impl States {
    pub(super) fn new(store: Option<Arc<dyn SnapshotStore>>, mode: SnapshotMode) -> Self {
        let keeps_in_memory = store.is_none() && mode != SnapshotMode::Plugin;
        let session_memory = keeps_in_memory.then(|| -> Arc<dyn SnapshotStore> {
            Arc::new(MemoryStore::with_max_bytes(SESSION_MEMORY))
        });
        Self { store, mode, session_memory, save_wanted: Arc::default() }
    }

    /// The store, unless plugins alone save their state.
    pub(super) fn kernel_store(&self) -> Option<&Arc<dyn SnapshotStore>> {
        match self.mode {
            SnapshotMode::Host | SnapshotMode::Hybrid => self.store.as_ref(),
            SnapshotMode::Plugin => None,
        }
    }

    /// Where states of sessions are kept: the store, or memory where there is none. `None` where
    /// plugins alone save.
    pub(super) fn session_store(&self) -> Option<&Arc<dyn SnapshotStore>> {
        self.kernel_store().or(self.session_memory.as_ref())
    }
}

/// Why the state of plugins is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Save {
    /// It is time, or a session has ended. A plugin whose last save still runs is left out.
    Scheduled,
    /// The host ends: comes after a save that still runs.
    Last,
    /// Somebody asked for it. Only this also overwrites a state that could not be restored; the
    /// others leave it to be repaired.
    Asked,
}

impl Plugins {
    /// Gives a plugin back what was saved. A failure is reported, and the plugin starts empty.
    pub(super) async fn restore(self: &Arc<Self>, slot: &Arc<PluginSlot>) {
        let Some(store) = self.states.kernel_store().filter(|_| has_host_state(slot)) else {
            return;
        };
        let (store, plugin) = (Arc::clone(store), Arc::clone(slot));
        let work = move || {
            let Some(loaded) = store.load(&key(plugin.name()))? else { return Ok(()) };
            if let Some(problem) = &loaded.problem {
                tracing::warn!(plugin = %plugin.name(), problem, "state of the previous generation");
                plugin.set_state_problem(Some(format!(
                    "state of the previous generation: {problem}"
                )));
            }
            caught("restore", || plugin.instance.restore(Scope::Host, loaded.state))
        };
        if let Err(error) = on_thread(self, "restore", work).await {
            tracing::error!(plugin = %slot.name(), %error, "state not restored; the plugin starts empty");
            slot.set_state_problem(Some(format!("not restored: {}", error.message())));
            slot.keep_saved_state(true);
        }
    }

    /// Saves every plugin; returns what failed. What is wrong with a plugin's saved state is in its
    /// status.
    pub(super) async fn save_all(self: &Arc<Self>, why: Save) -> Vec<String> {
        let Some(store) = self.states.store.clone() else { return Vec::new() };
        let mut failed = Vec::new();
        for slot in self.set.serving().into_iter().filter(has_host_state) {
            if let Err(reason) = self.save_one(&store, &slot, why).await {
                failed.push(format!("plugin `{}`: {reason}", slot.name()));
            }
        }
        failed
    }

    /// Saves because somebody asked for it: how many plugins did not fail, and what failed.
    pub(crate) async fn snapshot(self: &Arc<Self>) -> Result<(usize, Vec<String>)> {
        if self.states.store.is_none() {
            return Err(Error::runtime("no `snapshot_store` is configured"));
        }
        let mut failed = self.save_all(Save::Asked).await;
        let asked = self.set.serving().iter().filter(|slot| has_host_state(slot)).count();
        let saved = asked.saturating_sub(failed.len());
        failed.extend(self.keep_sessions(true).await);
        Ok((saved, failed))
    }

    /// Saves one plugin; what failed is also in its status.
    async fn save_one(
        self: &Arc<Self>,
        store: &Arc<dyn SnapshotStore>,
        slot: &Arc<PluginSlot>,
        why: Save,
    ) -> Result<(), String> {
        if why != Save::Asked && slot.keeps_saved_state() {
            return Ok(());
        }
        // One save at a time, or an older state could overwrite a newer one.
        let Some(turn) = self.turn(slot, why != Save::Scheduled).await else {
            return Err("its last save still runs".to_owned());
        };
        let (store, plugin) = (Arc::clone(store), Arc::clone(slot));
        let work = move || {
            // Held until the work is done, however long that takes.
            let _turn = turn;
            match caught("save", || plugin.instance.save(Scope::Host))? {
                Some(state) => store.save(&key(plugin.name()), &state),
                None => Ok(()),
            }
        };
        match on_thread(self, "save", work).await {
            Ok(()) => {
                slot.keep_saved_state(false);
                slot.set_state_problem(None);
                Ok(())
            }
            Err(error) => {
                tracing::error!(plugin = %slot.name(), %error, "state not saved");
                slot.set_state_problem(Some(format!("not saved: {}", error.message())));
                Err(error.message().to_owned())
            }
        }
    }

    /// Saves a plugin that a reload has removed, so that it finds its state when it comes back.
    pub(super) async fn save_removed(self: &Arc<Self>, slot: &Arc<PluginSlot>) {
        if let Some(store) =
            self.states.kernel_store().filter(|_| has_host_state(slot) && slot.is_serving())
        {
            // What failed is in the log.
            let _reported = self.save_one(store, slot, Save::Last).await;
        }
    }

    /// The right to touch a plugin's saved state; `None` when another has it for too long, or at all
    /// and nobody waits.
    async fn turn(&self, slot: &PluginSlot, waits: bool) -> Option<OwnedMutexGuard<()>> {
        let turn = Arc::clone(slot.saving());
        if waits { within(self.limit, turn.lock_owned()).await } else { turn.try_lock_owned().ok() }
    }

    async fn save_if_mine(self: &Arc<Self>, why: Save) {
        if self.states.kernel_store().is_some() {
            // What failed is in the log and in the plugin's status.
            let _reported = self.save_all(why).await;
        }
    }

    /// Has the state of every plugin saved before long; many calls make one save.
    pub(super) fn save_soon(&self) {
        self.states.save_wanted.notify_one();
    }

    /// The last save; the one that the end of a session has started is often under way.
    pub(crate) async fn save_at_shutdown(self: &Arc<Self>) {
        self.save_if_mine(Save::Last).await;
    }

    /// Starts the schedule of saves. It ends with the kernel.
    pub(crate) fn start_saving(self: &Arc<Self>) {
        self.start_keeping_sessions();
        if self.states.kernel_store().is_none() {
            return;
        }
        let (plugins, interval) = (Arc::downgrade(self), self.services.config.snapshot_interval);
        let wanted = Arc::clone(&self.states.save_wanted);
        self.services.runtime.spawn(async move {
            loop {
                // Woken early when a session has ended.
                let _early = within(interval, wanted.notified()).await;
                let Some(plugins) = plugins.upgrade() else { return };
                plugins.save_if_mine(Save::Scheduled).await;
            }
        });
    }

    /// Lets a plugin forget, of the host and of every session, and deletes what was saved of it.
    pub(crate) async fn clear(self: &Arc<Self>, name: &PluginName) -> Result<()> {
        let slot = self.set.find(name);
        let slot = slot.ok_or_else(|| Error::runtime(format!("no plugin is named `{name}`")))?;
        let turn = self.turn(&slot, true).await;
        let turn = turn.ok_or_else(|| Error::runtime("its last save still runs"))?;
        let store = self.states.store.clone();
        self.clear_sessions_of(&slot).await?;
        let work = move || {
            let _turn = turn;
            slot.keep_saved_state(false);
            if slot.scope() == PluginScope::Host {
                caught("clear", || slot.instance.clear(Scope::Host))?;
            }
            match store {
                Some(store) => store.delete(&key(slot.name())),
                None => Ok(()),
            }
        };
        on_thread(self, "clear", work).await
    }
}

/// An instance of a session has no state of the host.
fn has_host_state(slot: &Arc<PluginSlot>) -> bool {
    slot.scope() == PluginScope::Host
}

fn key(plugin: &PluginName) -> StateKey {
    StateKey::new(plugin.clone(), KEY, None)
}

//! What plugins have of one session: their instances with `scope: session`, and their slots of state.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};

use super::Session;
use crate::dispatch::{PluginSlot, catch, discard};
use crate::plugin::{Host, Loaded, Scope};
use crate::protocol::ErrorCode;
use crate::snapshot::State;
use crate::{Error, Result};

pub(crate) type PluginState = Arc<dyn Any + Send + Sync>;

/// A plugin's own instance for one session.
#[derive(Clone)]
pub(crate) struct Instance {
    pub(crate) slot: Arc<PluginSlot>,
    pub(crate) loaded: Arc<dyn Loaded>,
    /// The host as this instance sees it: its tasks end with the session.
    pub(crate) host: Host,
    /// Why it could not read the state that it was given.
    pub(crate) unread: Option<Error>,
}

/// What plugins have of one session, by plugin number.
#[derive(Default)]
pub(super) struct Belongings {
    /// Data made by [`Call::state`](crate::dispatch::Call::state).
    states: Mutex<HashMap<(usize, TypeId), PluginState>>,
    instances: Mutex<HashMap<usize, Arc<Cell>>>,
}

/// An instance on its way: built, restored and started on a thread, awaited by requests.
#[derive(Default)]
struct Cell {
    stage: Mutex<Stage>,
    settled: Condvar,
}

#[derive(Clone, Default)]
enum Stage {
    #[default]
    Starting,
    Ready(Instance),
    /// It will not be tried again in this session.
    Failed(Error),
}

impl Cell {
    /// Guards the stage; held for a look or a change.
    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles it, unless it was given up meanwhile; then what came too late is given back.
    fn settle(&self, result: Result<Instance>) -> Option<Instance> {
        let mut stage = self.lock();
        let (next, late) = match (&*stage, result) {
            (Stage::Starting, Ok(instance)) => (Some(Stage::Ready(instance)), None),
            (Stage::Starting, Err(error)) => (Some(Stage::Failed(error)), None),
            (_, late) => (None, late.ok()),
        };
        if let Some(next) = next {
            *stage = next;
        }
        drop(stage);
        self.settled.notify_all();
        late
    }

    /// Waits until it is settled, and gives it up when that takes too long.
    fn wait(&self, limit: Duration) -> Result<Instance> {
        let waits = |stage: &mut Stage| matches!(stage, Stage::Starting);
        let waited = self.settled.wait_timeout_while(self.lock(), limit, waits);
        let (mut stage, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if matches!(*stage, Stage::Starting) {
            let text = format!("start took longer than {} s", limit.as_secs_f64());
            *stage = Stage::Failed(Error::new(ErrorCode::Unavailable, text));
        }
        match &*stage {
            Stage::Ready(instance) => Ok(instance.clone()),
            Stage::Failed(error) => Err(error.clone()),
            Stage::Starting => Err(Error::internal("an instance that is neither there nor not")),
        }
    }
}

impl Session {
    /// A plugin's own data for this session, made on first use.
    pub(crate) fn plugin_state<T: Any + Send + Sync>(
        &self,
        plugin: usize,
        make: impl FnOnce() -> T,
    ) -> Arc<T> {
        let key = (plugin, TypeId::of::<T>());
        let known = || {
            let states = self.belongings.states.lock().unwrap_or_else(PoisonError::into_inner);
            states.get(&key).cloned().and_then(|state| state.downcast::<T>().ok())
        };
        if let Some(state) = known() {
            return state;
        }
        // Made without the lock: it is the plugin's code. Whoever comes second takes the first's.
        let fresh = Arc::new(make());
        let mut states = self.belongings.states.lock().unwrap_or_else(PoisonError::into_inner);
        let state = states.entry(key).or_insert_with(|| Arc::clone(&fresh) as PluginState);
        Arc::clone(state).downcast::<T>().unwrap_or(fresh)
    }

    /// This session's own instance of a plugin, built and started on first use. Who asks waits for
    /// that, for as long as a plugin may take to start.
    pub(crate) fn instance(&self, slot: &Arc<PluginSlot>) -> Result<Arc<dyn Loaded>> {
        let limit = self.kernel.plugin_limit();
        let (cell, is_new) = self.cell(slot);
        if !is_new && let Stage::Ready(instance) = &*cell.lock() {
            return Ok(Arc::clone(&instance.loaded));
        }
        if is_new && self.has_been_told() {
            let text = "the session has ended";
            let _starts_no_more = cell.settle(Err(Error::new(ErrorCode::ShuttingDown, text)));
        } else if is_new {
            self.start_instance(slot, &cell, None);
        }
        let waited = off_runtime(|| cell.wait(limit));
        waited.map(|instance| instance.loaded).map_err(|error| {
            let text = format!("plugin `{}`: {}", slot.name, error.message());
            Error::new(ErrorCode::Unavailable, text)
        })
    }

    /// As [`instance`](Self::instance), from a saved state; on a thread that may block.
    pub(crate) fn restored_instance(&self, slot: &Arc<PluginSlot>, state: State) -> Result<()> {
        let (cell, is_new) = self.cell(slot);
        if is_new {
            self.start_instance(slot, &cell, Some(state));
        }
        match cell.wait(self.kernel.plugin_limit())?.unread {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn cell(&self, slot: &PluginSlot) -> (Arc<Cell>, bool) {
        let mut is_new = false;
        let mut instances = lock(&self.belongings.instances);
        let cell = instances.entry(slot.number).or_insert_with(|| {
            is_new = true;
            Arc::default()
        });
        (Arc::clone(cell), is_new)
    }

    fn start_instance(&self, slot: &Arc<PluginSlot>, cell: &Arc<Cell>, state: Option<State>) {
        let (slot, cell, id) = (Arc::clone(slot), Arc::clone(cell), self.id().clone());
        self.kernel.runtime.spawn_blocking(move || {
            let started = crate::executor::start_instance(&slot, &id, state);
            if let Err(error) = &started {
                tracing::error!(plugin = %slot.name, session = %id, %error,
                    "the session's own instance did not start");
            }
            if let Some(late) = cell.settle(started) {
                crate::executor::end_instance(late, &id);
            }
        });
    }

    /// Lets go of what it has of a plugin instance that is no more; on a thread that may block.
    pub(crate) fn forget_plugin(&self, number: usize) {
        let states: Vec<PluginState> = {
            let mut states = self.belongings.states.lock().unwrap_or_else(PoisonError::into_inner);
            states.extract_if(|key, _| key.0 == number).map(|(_, state)| state).collect()
        };
        discard("state of a session", states);
        let cell = lock(&self.belongings.instances).remove(&number);
        let Some(cell) = cell else { return };
        let over = Error::new(ErrorCode::Unavailable, "the plugin was replaced or removed");
        let _starts_no_more = cell.settle(Err(over));
        ready(vec![cell]).into_iter().for_each(crate::executor::tear_down_instance);
    }

    /// Builds this session's instance in the new plugin, with the state of that in the old one.
    /// Nothing when it has none there.
    pub(crate) fn replace_instance(&self, old: &PluginSlot, new: &Arc<PluginSlot>) -> Result<()> {
        let known = lock(&self.belongings.instances).get(&old.number).cloned();
        let Some(before) = ready(known.into_iter().collect()).pop() else { return Ok(()) };
        let scope = Scope::Session(self.id());
        let state = catch(|| before.loaded.save(scope))
            .unwrap_or_else(|panic| Err(Error::internal(format!("panicked in save: {panic}"))))?;
        let (cell, is_new) = self.cell(new);
        if is_new {
            self.start_instance(new, &cell, state);
        }
        match cell.wait(self.kernel.plugin_limit())?.unread {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The instances that serve this session now.
    pub(crate) fn instances(&self) -> Vec<Instance> {
        let cells: Vec<Arc<Cell>> = lock(&self.belongings.instances).values().cloned().collect();
        ready(cells)
    }

    /// Takes the instances out of the session; one that is still starting is ended once it has.
    pub(crate) fn take_instances(&self) -> Vec<Instance> {
        let cells: Vec<Arc<Cell>> =
            lock(&self.belongings.instances).drain().map(|(_, cell)| cell).collect();
        for cell in &cells {
            let over = Error::new(ErrorCode::ShuttingDown, "the session has ended");
            let _starts_no_more = cell.settle(Err(over));
        }
        ready(cells)
    }

    pub(crate) fn take_states(&self) -> Vec<PluginState> {
        let mut states = self.belongings.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.drain().map(|(_, state)| state).collect()
    }
}

/// Guards the table; held for a look-up.
fn lock(instances: &Mutex<HashMap<usize, Arc<Cell>>>) -> MutexGuard<'_, HashMap<usize, Arc<Cell>>> {
    instances.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ready(cells: Vec<Arc<Cell>>) -> Vec<Instance> {
    let ready = cells.into_iter().filter_map(|cell| match &*cell.lock() {
        Stage::Ready(instance) => Some(instance.clone()),
        Stage::Starting | Stage::Failed(_) => None,
    });
    ready.collect()
}

/// Blocks this thread; where it is one of the runtime's, other tasks leave it first.
fn off_runtime<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

//! The end of sessions that nobody resumed: what plugins and the store keep of them goes after
//! `session_ttl`, also when the host was restarted meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;

use super::Resumable;
use super::states::{AT_A_TIME, read_record, record_key};
use crate::counters::Count;
use crate::lifecycle::load::on_thread;
use crate::lifecycle::{PluginSlot, Plugins, within};
use crate::plugin::{PluginScope, Scope};
use crate::protocol::{PluginName, SessionId};
use crate::snapshot::{SnapshotStore, StateKey};
use crate::{Error, Result};

/// How often is looked for sessions whose time is over: a quarter of the time, within these bounds.
const LOOKS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));

/// Sessions that are only in the store, and when (monotonic) their time is over. Remembered, so that
/// a jump of the wall clock ends no session.
type Strangers = HashMap<SessionId, Duration>;

impl Plugins {
    /// Starts to look for sessions whose time is over. It ends with the kernel.
    pub(super) fn start_expiring(self: &Arc<Self>) {
        let plugins = Arc::downgrade(self);
        let period = (self.services.config.session_ttl / 4).clamp(LOOKS.0, LOOKS.1);
        self.services.runtime.spawn(async move {
            let mut strangers = Strangers::new();
            loop {
                let Some(plugins) = plugins.upgrade() else { return };
                plugins.expire_known().await;
                plugins.expire_strangers(&mut strangers).await;
                plugins.trim_rings();
                let is_over = Arc::clone(&plugins.kept.is_over);
                drop(plugins);
                let _early = within(period, is_over.notified()).await;
            }
        });
    }

    /// Ends the sessions of this host that waited long enough.
    async fn expire_known(self: &Arc<Self>) {
        let now = self.services.clock.now().mono;
        let mut gone = self.kept.all();
        gone.retain(|resumable| resumable.expire(now));
        if gone.is_empty() {
            return;
        }
        let keys = self.session_keys().await;
        let forget = async |resumable: Arc<Resumable>| {
            tracing::debug!(session = %resumable.id, "not resumed in time");
            let keys = keys.get(&resumable.id).cloned().unwrap_or_default();
            self.forget_session(&resumable.id, keys).await;
            // Last: until then it is not looked for in the store.
            self.kept.remove(&resumable);
        };
        futures_util::stream::iter(gone).for_each_concurrent(AT_A_TIME, forget).await;
    }

    /// Has sessions that hold more than their share of the rings make room.
    fn trim_rings(&self) {
        if self.kept.budget.is_tight() {
            for session in self.services.live.all() {
                session.outbox.trim_ring();
            }
        }
    }

    /// Ends the sessions that an earlier life of the host left in the store.
    async fn expire_strangers(self: &Arc<Self>, strangers: &mut Strangers) {
        let Some(store) = self.states.kernel_store().cloned() else { return };
        let keys = self.session_keys().await;
        strangers.retain(|id, _| keys.contains_key(id));
        for (id, keys) in keys {
            if self.kept.find(id.as_str()).is_some() {
                strangers.remove(&id);
                continue;
            }
            let now = self.services.clock.now().mono;
            if strangers.get(&id).is_some_and(|until| now < *until) {
                continue;
            }
            let is_first = !strangers.contains_key(&id);
            let (store, key) = (Arc::clone(&store), record_key(&id));
            let read = on_thread(self, "restore", move || read_record(&*store, &key)).await;
            let left = match read {
                Ok(Some(record)) => self.time_left(&record),
                // No record, or none that can be read: its writer may be at work, once.
                Ok(None) | Err(_) if is_first => self.services.config.session_ttl,
                Ok(None) | Err(_) => Duration::ZERO,
            };
            if left.is_zero() {
                strangers.remove(&id);
                self.forget_session(&id, keys).await;
            } else {
                strangers.insert(id, now.saturating_add(left));
            }
        }
    }

    /// The keys of sessions in the store that the kernel writes to.
    async fn session_keys(self: &Arc<Self>) -> BTreeMap<SessionId, Vec<StateKey>> {
        let mut of_sessions: BTreeMap<SessionId, Vec<StateKey>> = BTreeMap::new();
        let Some(store) = self.states.session_store().cloned() else { return of_sessions };
        match on_thread(self, "list", move || store.keys(None)).await {
            Ok(keys) => {
                for key in keys {
                    if let Some(id) = key.session.clone() {
                        of_sessions.entry(id).or_default().push(key);
                    }
                }
            }
            Err(error) => self.note_expiry_failure(&error),
        }
        of_sessions
    }

    /// Lets plugins forget a session, and deletes what was saved of it.
    async fn forget_session(self: &Arc<Self>, id: &SessionId, keys: Vec<StateKey>) {
        let mut slots = self.set.serving();
        slots.retain(|slot| slot.scope() == PluginScope::Host);
        let clears = slots.into_iter().map(|slot| {
            let (plugin, of) = (Arc::clone(&slot), id.clone());
            let work = move || plugin.instance.clear(Scope::Session(&of));
            async move { self.for_session(&slot, id, "clear", work).await }
        });
        // What failed is noted; the others go on.
        let _noted: Vec<Result<()>> = join_all(clears).await;
        let Some(store) = self.states.session_store().cloned() else { return };
        let deleted = on_thread(self, "clear", move || delete_all(&*store, keys)).await;
        if let Err(error) = deleted {
            self.note_expiry_failure(&error);
        }
    }

    fn note_expiry_failure(&self, error: &Error) {
        tracing::error!(%error, "states of ended sessions are still in the store");
        self.services.counters.add(Count::SessionStateFailure);
    }

    /// Lets a plugin forget its part of every session; returns the first failure.
    pub(crate) async fn clear_sessions_of(self: &Arc<Self>, slot: &Arc<PluginSlot>) -> Result<()> {
        let mut result = Ok(());
        for session in self.services.live.all() {
            let own = slot.instances.as_ref().and_then(|it| it.of(&session));
            let Some(own) = own else { continue };
            let id = session.id().clone();
            let work = move || own.loaded.clear(Scope::Session(&id));
            let cleared = self.for_session(slot, session.id(), "clear", work).await;
            result = result.and(cleared);
        }
        // A save that is under way would write down again what is deleted here.
        let mut turns = Vec::new();
        for resumable in self.kept.all() {
            turns.extend(self.turn_to_store(&resumable).await);
            resumable.forget_kept(slot.name());
        }
        let Some(store) = self.states.session_store().cloned() else { return result };
        let name = slot.name().clone();
        let deleted = on_thread(self, "clear", move || delete_of(&*store, &name)).await;
        drop(turns);
        result.and(deleted)
    }
}

/// The record of the session last: what is left after an interruption is still known to be its own.
fn delete_all(store: &dyn SnapshotStore, mut keys: Vec<StateKey>) -> Result<()> {
    keys.sort_by_key(|key| key.session.as_ref().is_some_and(|id| *key == record_key(id)));
    keys.iter().try_for_each(|key| store.delete(key))
}

fn delete_of(store: &dyn SnapshotStore, plugin: &PluginName) -> Result<()> {
    let keys = store.keys(Some(plugin))?;
    let of_sessions = keys.iter().filter(|key| key.session.is_some());
    let of_sessions =
        of_sessions.filter(|key| key.session.as_ref().is_some_and(|id| **key != record_key(id)));
    of_sessions.into_iter().try_for_each(|key| store.delete(key))
}

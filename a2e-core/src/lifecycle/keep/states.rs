//! State of resumable sessions: saved at their end, on schedule and at the end of the host, restored
//! when they are resumed.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;

use super::{KeptState, Principal, Resumable};
use crate::counters::Count;
use crate::lifecycle::load::on_thread;
use crate::lifecycle::state::KEY;
use crate::lifecycle::{PluginSlot, Plugins, within};
use crate::plugin::Scope;
use crate::protocol::{PluginName, SessionId};
use crate::request::Session;
use crate::snapshot::{SnapshotStore, State, StateKey};
use crate::{Error, Result};

/// Sessions that are saved, or forgotten, at a time: a plugin that hangs must not hold up the others.
pub(super) const AT_A_TIME: usize = 16;

/// The version of [`Record`].
const VERSION: u32 = 1;

/// What is kept of a session itself, so that it can be resumed after a restart of the host. Written
/// before any state of the session and deleted after all of them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    principal: Principal,
    /// Wall milliseconds since the epoch at which it was seen last.
    seen_ms: u64,
}

/// What plugins have to keep of a session, and the right to store it.
pub(super) struct Collected {
    resumable: Arc<Resumable>,
    states: Vec<(Arc<PluginSlot>, Option<State>)>,
    turn: OwnedMutexGuard<()>,
    /// Nothing comes after it on this connection.
    is_last: bool,
    failed: Vec<PluginName>,
}

impl Plugins {
    // --- saving

    /// Asks every plugin what it keeps of a session; `is_last`: before they let go of it. `None`
    /// where nothing is to be stored.
    pub(super) async fn collect(
        self: &Arc<Self>,
        session: &Arc<Session>,
        is_last: bool,
    ) -> Option<Collected> {
        let resumable = self.kept.of(session)?;
        self.states.session_store()?;
        // Before plugins are asked, or an older state could overwrite a newer one.
        let turn = self.turn_to_store(&resumable).await?;
        // What plugins do not have yet, or no more, would be deleted from the store.
        if !resumable.is_restored() || is_last != session.life.has_been_told() {
            return None;
        }
        let asked: Vec<_> = self
            .set
            .serving()
            .into_iter()
            .filter(|slot| !resumable.kept_of(slot.name()).is_unread)
            .filter_map(|slot| {
                let loaded = match &slot.instances {
                    None => Arc::clone(&slot.instance),
                    Some(own) => own.of(session)?.loaded,
                };
                Some((slot, loaded))
            })
            .collect();
        let saves = asked.into_iter().map(|(slot, loaded)| {
            let id = resumable.id.clone();
            async move {
                let scope = id.clone();
                let work = move || loaded.save(Scope::Session(&scope));
                let state = self.for_session(&slot, &id, "save", work).await;
                (slot, state)
            }
        });
        let (mut states, mut failed) = (Vec::new(), Vec::new());
        for (slot, state) in join_all(saves).await {
            match state {
                Ok(state) => states.push((slot, state)),
                Err(_) => failed.push(slot.name().clone()),
            }
        }
        Some(Collected { resumable, states, turn, is_last, failed })
    }

    pub(super) async fn turn_to_store(&self, resumable: &Resumable) -> Option<OwnedMutexGuard<()>> {
        let turn = within(self.limit, Arc::clone(&resumable.storing).lock_owned()).await;
        if turn.is_none() {
            tracing::error!(session = %resumable.id, "its states are still being stored");
            self.services.counters.add(Count::SessionStateFailure);
        }
        turn
    }

    /// Stores what plugins keep of a session.
    pub(super) async fn store_collected(self: &Arc<Self>, collected: Collected) -> Result<()> {
        let Collected { resumable, states, turn, is_last, .. } = collected;
        let Some(store) = self.states.session_store().cloned() else { return Ok(()) };
        let (plugins, id) = (Arc::clone(self), resumable.id.clone());
        let work = move || {
            let _turn = turn;
            plugins.record(&*store, &resumable, is_last)?;
            let mut result = Ok(());
            for (slot, state) in &states {
                if let Err(error) = store_one(&*store, &resumable, slot.name(), state.as_ref()) {
                    plugins.note_session_failure(slot, &resumable.id, "save", &error);
                    result = Err(error);
                }
            }
            result
        };
        let stored = on_thread(self, "save", work).await;
        if let Err(error) = &stored {
            tracing::error!(session = %id, %error, "state of a session not stored");
        }
        stored
    }

    /// Writes down that the session is there and whose it is, where that outlives the host: at its
    /// beginning and its end, and in between before anybody could think that its time is over.
    fn record(
        &self,
        store: &dyn SnapshotStore,
        resumable: &Resumable,
        is_last: bool,
    ) -> Result<()> {
        if self.states.kernel_store().is_none() {
            return Ok(());
        }
        let seen_ms =
            u64::try_from(self.services.clock.now().wall.as_millis()).unwrap_or(u64::MAX).max(1);
        let last = resumable.recorded_ms.load(Ordering::Acquire);
        let age = Duration::from_millis(seen_ms.abs_diff(last));
        if !is_last && last != 0 && age < self.services.config.session_ttl / 4 {
            return Ok(());
        }
        let record = Record { principal: resumable.principal.clone(), seen_ms };
        let written = State::bincode(VERSION, &record)
            .and_then(|state| store.save(&record_key(&resumable.id), &state));
        match &written {
            Ok(()) => resumable.recorded_ms.store(seen_ms, Ordering::Release),
            Err(_) => self.services.counters.add(Count::SessionStateFailure),
        }
        written
    }

    /// Saves the states of live sessions: of all, or of those that no record tells of yet. Returns
    /// what failed.
    pub(crate) async fn keep_sessions(self: &Arc<Self>, all: bool) -> Vec<String> {
        let is_wanted = |it: &Arc<Resumable>| all || it.recorded_ms.load(Ordering::Acquire) == 0;
        let wanted = self.kept.all().into_iter().filter(is_wanted);
        let kept = futures_util::stream::iter(wanted).map(|resumable| self.keep_session(resumable));
        kept.buffer_unordered(AT_A_TIME).concat().await
    }

    async fn keep_session(self: &Arc<Self>, resumable: Arc<Resumable>) -> Vec<String> {
        let Some(session) = resumable.session() else { return Vec::new() };
        let Some(collected) = self.collect(&session, false).await else { return Vec::new() };
        let of = |what: String| format!("session `{}`: {what}", resumable.id);
        let failed = collected.failed.iter().map(|plugin| of(format!("plugin `{plugin}`")));
        let mut failed: Vec<String> = failed.collect();
        if let Err(error) = self.store_collected(collected).await {
            failed.push(of(error.message().to_owned()));
        }
        failed
    }

    /// Starts the schedule of saves for sessions. It ends with the kernel.
    pub(crate) fn start_keeping_sessions(self: &Arc<Self>) {
        self.start_expiring();
        if self.states.kernel_store().is_none() {
            return;
        }
        let (plugins, interval) = (Arc::downgrade(self), self.services.config.snapshot_interval);
        let is_new = Arc::clone(&self.kept.is_new);
        self.services.runtime.spawn(async move {
            let mut interval = tokio::time::interval(interval.max(Duration::from_millis(1)));
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                let all = tokio::select! {
                    _ = interval.tick() => true,
                    () = is_new.notified() => false,
                };
                let Some(plugins) = plugins.upgrade() else { return };
                // What failed is in the log and in the counters.
                let _reported = plugins.keep_sessions(all).await;
            }
        });
    }

    /// Waits until the sessions that have ended are stored.
    pub(crate) async fn sessions_stored(&self) {
        self.kept.ending.close();
        if within(self.limit, self.kept.ending.wait()).await.is_none() {
            tracing::error!("states of sessions were not stored in time");
        }
    }

    // --- restoring

    /// A session that an earlier life of the host, or another host at the same store, has left.
    pub(crate) async fn stored_session(self: &Arc<Self>, id: &str) -> Option<Arc<Resumable>> {
        let store = Arc::clone(self.states.kernel_store()?);
        let (wanted, key) = (SessionId::from(id), record_key(&SessionId::from(id)));
        let read = on_thread(self, "restore", move || read_record(&*store, &key)).await;
        let record = read.unwrap_or_else(|error| {
            tracing::error!(session = %wanted, %error, "record of a session not read");
            self.services.counters.add(Count::SessionStateFailure);
            None
        })?;
        let left = self.time_left(&record);
        let until = self.services.clock.now().mono.saturating_add(left);
        (!left.is_zero()).then(|| Resumable::stored(wanted, record.principal, until))
    }

    /// How long the session of a record may still be resumed.
    pub(super) fn time_left(&self, record: &Record) -> Duration {
        let age =
            self.services.clock.now().wall.saturating_sub(Duration::from_millis(record.seen_ms));
        self.services.config.session_ttl.saturating_sub(age)
    }

    /// Gives plugins back what they kept of a session. A plugin that fails starts empty, which is reported.
    pub(crate) async fn restore_session(self: &Arc<Self>, session: &Arc<Session>) {
        let Some(resumable) = self.kept.of(session) else { return };
        if let Some(store) = self.states.session_store().cloned() {
            self.restore_from(store, session, &resumable).await;
        }
        resumable.set_restored();
    }

    async fn restore_from(
        self: &Arc<Self>,
        store: Arc<dyn SnapshotStore>,
        session: &Arc<Session>,
        resumable: &Arc<Resumable>,
    ) {
        let slots = self.set.serving();
        // Until they are read, nothing is to be saved in their place.
        for slot in &slots {
            let saved = resumable.kept_of(slot.name()).saved;
            resumable.keep(slot.name(), KeptState { saved, is_unread: true });
        }
        let Some(turn) = self.turn_to_store(resumable).await else { return };
        let id = resumable.id.clone();
        let load = move || {
            let loaded = slots.into_iter().map(|slot| {
                let state = store.load(&state_key(slot.name(), &id));
                (slot, state)
            });
            Ok((loaded.collect::<Vec<_>>(), turn))
        };
        let (loaded, _turn) = match on_thread(self, "restore", load).await {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::error!(session = %resumable.id, %error, "states not read");
                return self.services.counters.add(Count::SessionStateFailure);
            }
        };
        let restores = loaded.into_iter().filter_map(|(slot, loaded)| match loaded {
            Ok(None) => {
                resumable.forget_kept(slot.name());
                None
            }
            Ok(Some(loaded)) => Some(self.restore_one(session, resumable, slot, loaded.state)),
            Err(error) => {
                self.note_session_failure(&slot, &resumable.id, "restore", &error);
                None
            }
        });
        join_all(restores).await;
    }

    /// Gives a new instance of a plugin what is saved of live sessions: the one before it could not
    /// hand it over.
    pub(crate) async fn restore_sessions_of(self: &Arc<Self>, slot: &Arc<PluginSlot>) {
        let Some(store) = self.states.session_store() else { return };
        for resumable in self.kept.all() {
            let Some(session) = resumable.session() else { continue };
            let Some(_turn) = self.turn_to_store(&resumable).await else { continue };
            let (store, key) = (Arc::clone(store), state_key(slot.name(), &resumable.id));
            match on_thread(self, "restore", move || store.load(&key)).await {
                Ok(None) => {}
                Ok(Some(loaded)) => {
                    self.restore_one(&session, &resumable, Arc::clone(slot), loaded.state).await;
                }
                Err(error) => self.note_session_failure(slot, &resumable.id, "restore", &error),
            }
        }
    }

    async fn restore_one(
        self: &Arc<Self>,
        session: &Arc<Session>,
        resumable: &Arc<Resumable>,
        slot: Arc<PluginSlot>,
        state: State,
    ) {
        let saved = Some(hash(&state));
        let (session, plugin, id) = (Arc::clone(session), Arc::clone(&slot), resumable.id.clone());
        let limit = self.limit;
        let work = move || match &plugin.instances {
            None => plugin.instance.restore(Scope::Session(session.id()), state),
            Some(own) => own.restore(&session, state, limit),
        };
        if self.for_session(&slot, &id, "restore", work).await.is_ok() {
            resumable.keep(slot.name(), KeptState { saved, is_unread: false });
        }
    }
}

fn store_one(
    store: &dyn SnapshotStore,
    resumable: &Resumable,
    plugin: &PluginName,
    state: Option<&State>,
) -> Result<()> {
    let (key, kept) = (state_key(plugin, &resumable.id), resumable.kept_of(plugin));
    match state {
        Some(state) => {
            let saved = Some(hash(state));
            if kept.saved != saved {
                store.save(&key, state)?;
                resumable.keep(plugin, KeptState { saved, is_unread: false });
            }
        }
        // What it kept before is over.
        None if kept.saved.is_some() => {
            store.delete(&key)?;
            resumable.forget_kept(plugin);
        }
        None => {}
    }
    Ok(())
}

/// Tells a state from the one that was stored before; of the same process, so any hash will do.
fn hash(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u32(state.version());
    hasher.write(state.bytes());
    hasher.finish()
}

pub(super) fn read_record(store: &dyn SnapshotStore, key: &StateKey) -> Result<Option<Record>> {
    let Some(loaded) = store.load(key)? else { return Ok(None) };
    if loaded.state.version() != VERSION {
        let version = loaded.state.version();
        let text = format!("record of version {version}; this host reads {VERSION}");
        return Err(Error::runtime(text));
    }
    loaded.state.decode().map(Some)
}

/// Only the kernel makes keys with a session; none of a plugin is under this one.
pub(super) fn record_key(id: &SessionId) -> StateKey {
    StateKey::new("kernel", "resume", Some(id.clone()))
}

pub(super) fn state_key(plugin: &PluginName, id: &SessionId) -> StateKey {
    StateKey::new(plugin.clone(), KEY, Some(id.clone()))
}

//! A session that can be resumed: its principal, where it stands, and what is kept of it meanwhile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::principal::Principal;
use crate::lifecycle::Plugins;
use crate::out::{Ring, RingBudget};
use crate::protocol::{PluginName, SessionId};
use crate::request::{CancelReason, Session};
use crate::sync::Mutex;

/// Bytes that the rings of all sessions may hold. Those of sessions that wait hold at most half.
const ALL_RINGS: usize = 64 << 20;

/// How long a resume waits for the connection that still has the session.
const PATIENCE: Duration = Duration::from_secs(2);

/// One session that can be resumed, over all its connections.
#[derive(Debug)]
pub(crate) struct Resumable {
    pub(crate) id: SessionId,
    pub(crate) principal: Principal,
    /// Guards where it stands; held for a look or a change, never while a plugin runs.
    stage: Mutex<Custody>,
    changed: Notify,
    /// What is known of its saved state, by plugin.
    kept: Mutex<HashMap<PluginName, KeptState>>,
    /// Wall milliseconds of its record in the store; 0: it has none.
    pub(crate) recorded_ms: AtomicU64,
    /// Whether plugins have what they kept of it; until then nothing of theirs is saved.
    is_restored: AtomicBool,
    /// Held to read or write its states in the store.
    pub(crate) storing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct Custody {
    place: Holder,
    /// The number of the last attempt to resume it; only that one may succeed.
    latest: u64,
}

#[derive(Debug)]
enum Holder {
    /// A connection has it, or is losing it.
    Live(Weak<Session>),
    /// No connection has it; it can be resumed until this monotonic time. The ring is gone after a restart.
    Parked { ring: Option<Box<Ring>>, until: Duration },
    /// Forgotten.
    Gone,
}

/// What is known of a plugin's state of one session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeptState {
    /// The hash of what is in the store; `None`: nothing, or not known.
    pub(crate) saved: Option<u64>,
    /// It could not be restored, and is not to be overwritten by what the plugin has without it.
    pub(crate) is_unread: bool,
}

/// What became of one try to take a session over.
enum Claim {
    /// It is ours. The ring is gone after a restart.
    Taken(Option<Box<Ring>>),
    /// This one has it, and has to end first.
    Wait(Option<Arc<Session>>),
    /// It cannot be had.
    Refused,
}

impl Resumable {
    /// A session that goes on over the connection of `session`.
    pub(crate) fn live(session: &Arc<Session>, principal: Principal) -> Arc<Self> {
        let place = Holder::Live(Arc::downgrade(session));
        Self::new(session.id().clone(), principal, place)
    }

    /// A session of an earlier life of the host, with this long to go.
    pub(crate) fn stored(id: SessionId, principal: Principal, until: Duration) -> Arc<Self> {
        Self::new(id, principal, Holder::Parked { ring: None, until })
    }

    fn new(id: SessionId, principal: Principal, place: Holder) -> Arc<Self> {
        Arc::new(Self {
            id,
            principal,
            stage: Mutex::new(Custody { place, latest: 0 }),
            changed: Notify::new(),
            kept: Mutex::default(),
            recorded_ms: AtomicU64::new(0),
            is_restored: AtomicBool::new(true),
            storing: Arc::default(),
        })
    }

    /// What is known of a plugin's state.
    pub(crate) fn kept_of(&self, plugin: &PluginName) -> KeptState {
        self.kept.lock().get(plugin).copied().unwrap_or_default()
    }

    /// Notes what is known of a plugin's state.
    pub(crate) fn keep(&self, plugin: &PluginName, kept: KeptState) {
        self.kept.lock().insert(plugin.clone(), kept);
    }

    /// The plugin's state was deleted from the store.
    pub(crate) fn forget_kept(&self, plugin: &PluginName) {
        self.kept.lock().remove(plugin);
    }

    /// Whether plugins have what they kept of it.
    pub(crate) fn is_restored(&self) -> bool {
        self.is_restored.load(Ordering::Acquire)
    }

    pub(crate) fn set_restored(&self) {
        self.is_restored.store(true, Ordering::Release);
    }

    /// The connection that has it.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        match &self.stage.lock().place {
            Holder::Live(session) => session.upgrade(),
            Holder::Parked { .. } | Holder::Gone => None,
        }
    }

    /// Whether an attempt that knows the first `received` lines can succeed as things stand.
    pub(crate) fn may_resume(&self, received: u64, now: Duration) -> bool {
        let live = match &self.stage.lock().place {
            Holder::Live(session) => session.upgrade(),
            Holder::Parked { ring, until } => {
                return now < *until && ring.as_ref().is_none_or(|it| it.gap(received).is_some());
            }
            Holder::Gone => return false,
        };
        // Without a ring it is being parked; the claim looks again.
        live.is_none_or(|it| it.outbox.numbered().is_none_or(|sent| received <= sent))
    }

    /// Takes the session over for `session`, ending the connection that has it. `None` when it
    /// cannot be had, or not within [`PATIENCE`]. The ring is gone after a restart.
    pub(crate) async fn take(
        &self,
        session: &Arc<Session>,
        received: u64,
    ) -> Option<Option<Box<Ring>>> {
        let attempt = self.next_attempt();
        let taken = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                match self.claim(attempt, session, received) {
                    Claim::Taken(ring) => return Some(ring),
                    Claim::Refused => return None,
                    Claim::Wait(holder) => {
                        if let Some(holder) = holder {
                            give_way(&holder);
                        }
                    }
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, taken).await.ok().flatten()
    }

    /// The number of a new attempt; earlier ones are given up.
    fn next_attempt(&self) -> u64 {
        let mut stage = self.stage.lock();
        stage.latest += 1;
        let number = stage.latest;
        drop(stage);
        self.changed.notify_waiters();
        number
    }

    fn claim(&self, attempt: u64, session: &Arc<Session>, received: u64) -> Claim {
        let now = session.now().mono;
        let mut stage = self.stage.lock();
        if stage.latest != attempt {
            return Claim::Refused;
        }
        let ring = match &mut stage.place {
            Holder::Gone => return Claim::Refused,
            Holder::Live(holder) => return Claim::Wait(holder.upgrade()),
            Holder::Parked { until, .. } if now >= *until => return Claim::Refused,
            Holder::Parked { ring: Some(ring), .. } if ring.gap(received).is_none() => {
                return Claim::Refused;
            }
            Holder::Parked { ring, .. } => ring.take(),
        };
        stage.place = Holder::Live(Arc::downgrade(session));
        self.is_restored.store(false, Ordering::Release);
        Claim::Taken(ring)
    }

    /// The connection of `session` has ended; it can be resumed until then.
    pub(crate) fn park(&self, session: &Session, ring: Option<Box<Ring>>, until: Duration) {
        let mut stage = self.stage.lock();
        if let Holder::Live(holder) = &stage.place
            && std::ptr::eq(holder.as_ptr(), session)
        {
            stage.place = Holder::Parked { ring, until };
        }
        drop(stage);
        self.changed.notify_waiters();
    }

    /// Forgets it for good if its time is over; true for the first call that does.
    pub(crate) fn expire(&self, now: Duration) -> bool {
        let mut stage = self.stage.lock();
        let Holder::Parked { until, .. } = &stage.place else { return false };
        if now < *until {
            return false;
        }
        stage.place = Holder::Gone;
        drop(stage);
        self.changed.notify_waiters();
        true
    }

    /// Until when it waits, and the bytes that it keeps; `None` where nobody waits for a resume.
    fn parked(&self) -> Option<(Duration, usize)> {
        match &self.stage.lock().place {
            Holder::Parked { ring, until } => {
                Some((*until, ring.as_ref().map_or(0, |ring| ring.bytes())))
            }
            Holder::Live(_) | Holder::Gone => None,
        }
    }

    fn is_held_by(&self, session: &Session) -> bool {
        match &self.stage.lock().place {
            Holder::Live(holder) => std::ptr::eq(holder.as_ptr(), session),
            Holder::Parked { .. } | Holder::Gone => false,
        }
    }

    fn shorten(&self, to: Option<Duration>) {
        if let Holder::Parked { ring, until } = &mut self.stage.lock().place {
            match (to, ring) {
                (Some(now), _) => *until = now,
                (None, Some(ring)) => ring.empty(),
                (None, None) => {}
            }
        }
    }
}

/// Every session of a host that can be resumed, live or waiting.
#[derive(Debug)]
pub(crate) struct Resumables {
    table: DashMap<SessionId, Arc<Resumable>>,
    pub(crate) budget: Arc<RingBudget>,
    /// Sessions whose states are on their way to the store.
    pub(crate) ending: TaskTracker,
    /// Wakes the task that records new sessions.
    pub(crate) is_new: Arc<Notify>,
    /// Wakes the task that ends old ones.
    pub(crate) is_over: Arc<Notify>,
}

impl Default for Resumables {
    fn default() -> Self {
        Self {
            table: DashMap::new(),
            budget: RingBudget::new(ALL_RINGS),
            ending: TaskTracker::new(),
            is_new: Arc::default(),
            is_over: Arc::default(),
        }
    }
}

impl Resumables {
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Resumable>> {
        self.table.get(id).map(|entry| Arc::clone(entry.value()))
    }

    /// The session that this one is, over all its connections; `None` where it cannot be resumed, or
    /// another connection has it by now.
    pub(crate) fn of(&self, session: &Session) -> Option<Arc<Resumable>> {
        let found = self.find(session.id().as_str())?;
        found.is_held_by(session).then_some(found)
    }

    /// Lists a session; the one that is there already stays.
    pub(crate) fn list(&self, fresh: Arc<Resumable>) -> Arc<Resumable> {
        Arc::clone(self.table.entry(fresh.id.clone()).or_insert(fresh).value())
    }

    /// Takes a forgotten session off the list.
    pub(crate) fn remove(&self, gone: &Resumable) {
        self.table.remove_if(&gone.id, |_, listed| std::ptr::eq(Arc::as_ptr(listed), gone));
    }

    /// Every session that can be resumed.
    pub(crate) fn all(&self) -> Vec<Arc<Resumable>> {
        self.table.iter().map(|entry| Arc::clone(entry.value())).collect()
    }

    /// Sessions that nobody has now.
    pub(crate) fn parked(&self) -> usize {
        self.all().iter().filter(|it| it.parked().is_some()).count()
    }

    /// Keeps what waits within bounds: `most` sessions, and half of the room for rings. The time of
    /// the oldest is over first, and the oldest rings are emptied first.
    pub(crate) fn bound(&self, most: usize, now: Duration) {
        let half = ALL_RINGS / 2;
        if self.table.len() <= most && self.budget.bytes() <= half {
            return;
        }
        let all = self.all();
        let parked = all.iter().filter_map(|it| it.parked().map(|parked| (parked, it)));
        let mut waiting: Vec<_> = parked.filter(|((until, _), _)| now < *until).collect();
        waiting.sort_by_key(|((until, _), _)| *until);
        if waiting.len() > most {
            // A few more than needed, so that not each session that comes sorts them all.
            let excess = waiting.len() - (most - most / 8);
            for (_, oldest) in waiting.drain(..excess) {
                oldest.shorten(Some(now));
            }
            self.is_over.notify_one();
        }
        let mut held: usize = waiting.iter().map(|((_, bytes), _)| bytes).sum();
        if held <= half {
            return;
        }
        for ((_, bytes), oldest) in waiting {
            if held <= half / 4 * 3 {
                return;
            }
            held -= bytes;
            oldest.shorten(None);
        }
    }
}

/// Another connection takes this session over: this one is cut.
fn give_way(session: &Arc<Session>) {
    if !session.outbox.is_dead() {
        tracing::debug!(session = %session.id(), "another connection takes the session over");
        session.outbox.kill();
    }
    session.end_all(CancelReason::ClientGone);
}

impl Plugins {
    /// Leaves a session to the connection that resumes it, for as long as sessions are kept.
    pub(super) fn park(&self, session: &Session) {
        let Some(resumable) = self.kept.of(session) else { return };
        let mut ring = session.outbox.take_ring();
        if let Some(ring) = &mut ring {
            ring.shrink();
        }
        let (now, config) = (session.now().mono, &self.services.config);
        resumable.park(session, ring, now.saturating_add(config.session_ttl));
        self.kept.bound(config.limits.max_sessions, now);
    }
}

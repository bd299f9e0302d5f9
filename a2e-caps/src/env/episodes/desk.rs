//! The episodes of one session, and how many there may be.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use a2e_core::protocol::{ErrorCode, id};
use a2e_core::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::episode::{Episode, Places, Start};
use super::history::History;
use crate::env::config::EnvConfig;
use crate::env::kind::Served;

/// KiB that an agent may bring into the episodes of its session: options, and what restores and forks begin with.
const MOST_BROUGHT: usize = 16 << 10;

/// What the desks of a plugin share.
#[derive(Debug)]
pub(in crate::env) struct Room {
    config: EnvConfig,
    places: Arc<Semaphore>,
    next: AtomicU64,
}

impl Room {
    pub(in crate::env) fn new(config: EnvConfig) -> Self {
        let places = Arc::new(Semaphore::new(config.max_host_episodes.get()));
        Self { config, places, next: AtomicU64::new(0) }
    }

    /// Episodes of all sessions.
    pub(in crate::env) fn episodes(&self) -> usize {
        self.config.max_host_episodes.get().saturating_sub(self.places.available_permits())
    }
}

/// The episodes of a session.
#[derive(Debug)]
pub(in crate::env) struct Desk {
    room: Arc<Room>,
    table: Mutex<Table>,
    places: Arc<Semaphore>,
    /// A permit for each KiB that may still be brought.
    brought: Arc<Semaphore>,
    pub(in crate::env) history: Arc<Mutex<History>>,
}

#[derive(Debug, Default)]
struct Table {
    episodes: HashMap<String, Arc<Episode>>,
    is_ended: bool,
}

impl Desk {
    pub(in crate::env) fn new(room: Arc<Room>) -> Self {
        let EnvConfig { max_episodes, max_history, max_history_bytes, .. } = &room.config;
        let history = History::new(*max_history, *max_history_bytes);
        let places = Arc::new(Semaphore::new(max_episodes.get()));
        let (table, brought) = (Mutex::default(), Arc::new(Semaphore::new(MOST_BROUGHT)));
        Self { table, places, brought, history: Arc::new(Mutex::new(history)), room }
    }

    /// Guards the table; held for a look-up or a change.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The episode of this id.
    pub(in crate::env) fn find(&self, id: &str) -> Option<Arc<Episode>> {
        self.table().episodes.get(id).cloned()
    }

    /// The one that was begun last.
    pub(in crate::env) fn newest(&self) -> Option<Arc<Episode>> {
        self.table().episodes.values().max_by_key(|it| it.number).cloned()
    }

    /// All of them, oldest first.
    pub(in crate::env) fn all(&self) -> Vec<Arc<Episode>> {
        let mut all: Vec<_> = self.table().episodes.values().cloned().collect();
        all.sort_by_key(|it| it.number);
        all
    }

    /// The parts of a new episode that begins with this many bytes of its agent; and the one that had to leave
    /// for it, which is over.
    ///
    /// # Errors
    /// `reset_denied` when the session has as many as it may, or as much in them, `overloaded` when the host has.
    pub(in crate::env) fn start(
        &self,
        served: &Arc<Served>,
        bytes: usize,
    ) -> Result<(Start, Option<Arc<Episode>>)> {
        let mut left = None;
        let own = self.places.clone().try_acquire_owned().or_else(|_| {
            left = self.take_oldest_done();
            self.places.clone().try_acquire_owned()
        });
        let own = own.map_err(|_| {
            let most = self.room.config.max_episodes.get();
            let is_ending = self.table().episodes.len() < most;
            let what = if is_ending { "one has not ended yet" } else { "none is over; close one" };
            let text = format!("this session has {most} episodes, and {what}");
            Error::new(ErrorCode::ResetDenied, text).with_retryable(is_ending)
        })?;
        let brought = self.brought.clone().try_acquire_many_owned(kib(bytes)).map_err(|_| {
            let text = format!(
                "this session has brought {MOST_BROUGHT} KiB into its episodes, with these {bytes} bytes; close one"
            );
            Error::new(ErrorCode::ResetDenied, text)
        })?;
        let id = uuid(&id::random_hex()?);
        let places = self.room_for(own, brought).ok_or_else(|| {
            let text = format!("this host has {} episodes", self.room.config.max_host_episodes);
            Error::new(ErrorCode::Overloaded, text)
        })?;
        Ok((self.parts(id, served, places), left))
    }

    /// The parts of an episode that had this id before.
    pub(in crate::env) fn start_again(
        &self,
        id: String,
        served: &Arc<Served>,
        bytes: usize,
    ) -> Option<Start> {
        let own = self.places.clone().try_acquire_owned().ok()?;
        // It had room when it began; its state may have grown since.
        let left = u32::try_from(self.brought.available_permits()).unwrap_or(u32::MAX);
        let brought = self.brought.clone().try_acquire_many_owned(kib(bytes).min(left)).ok()?;
        Some(self.parts(id, served, self.room_for(own, brought)?))
    }

    fn room_for(&self, own: OwnedSemaphorePermit, brought: OwnedSemaphorePermit) -> Option<Places> {
        let host = Arc::clone(&self.room.places).try_acquire_owned().ok()?;
        Some(Arc::new([own, brought, host]))
    }

    fn parts(&self, id: String, served: &Arc<Served>, places: Places) -> Start {
        let number = self.room.next.fetch_add(1, Ordering::Relaxed);
        let (served, history) = (Arc::clone(served), Arc::clone(&self.history));
        Start { id, number, served, history, places }
    }

    fn take_oldest_done(&self) -> Option<Arc<Episode>> {
        let mut table = self.table();
        let done = table.episodes.values().filter(|it| it.is_done());
        let id = done.min_by_key(|it| it.number)?.id.clone();
        let oldest = table.episodes.remove(&id)?;
        oldest.retire();
        // For the one that comes in its stead.
        oldest.free();
        Some(oldest)
    }

    /// Adds one that was begun; false when the session has ended.
    pub(in crate::env) fn add(&self, episode: Arc<Episode>) -> bool {
        let mut table = self.table();
        if !table.is_ended {
            table.episodes.insert(episode.id.clone(), episode);
        }
        !table.is_ended
    }

    /// Takes one out; it is retired.
    pub(in crate::env) fn take(&self, id: &str) -> Option<Arc<Episode>> {
        let taken = self.table().episodes.remove(id);
        if let Some(episode) = &taken {
            episode.retire();
        }
        taken
    }

    /// The session has ended: takes out all, retired.
    pub(in crate::env) fn end(&self) -> Vec<Arc<Episode>> {
        let mut table = self.table();
        table.is_ended = true;
        let taken: Vec<_> = table.episodes.drain().map(|(_, episode)| episode).collect();
        drop(table);
        for episode in &taken {
            episode.retire();
        }
        taken
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// 32 hex digits as a UUID of version 4.
fn uuid(hex: &str) -> String {
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    // Two bits of the variant: 8, 9, a or b.
    let variant = u8::from_str_radix(part(16, 17), 16).unwrap_or_default() & 3 | 8;
    format!(
        "{}-{}-4{}-{variant:x}{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_id_is_a_uuid_of_version_4() {
        let id = super::uuid("0123456789abcdef0123456789abcdef");
        assert_eq!(id, "01234567-89ab-4def-8123-456789abcdef");
        assert_eq!(super::uuid("ffffffffffffffffffffffffffffffff").len(), 36);
    }
}

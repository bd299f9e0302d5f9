//! The memory in an SQLite file that several hosts may share. Same meaning as the store in RAM.
//!
//! What outlives sessions is in the file, what does not in temporary tables of the same connection, so
//! that one transaction covers both and a killed host leaves nothing behind.

#![allow(clippy::similar_names, reason = "a shelf is not taken for `self`")]

mod find;
mod line;
mod room;
mod rows;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use a2e_core::protocol::{ErrorCode, SessionId};
use a2e_core::sqlite::{self, PATIENCE};
use a2e_core::{Error, Result, Time};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::config::MemoryConfig;
use super::protocol::{MemoryEntry, MemoryTier};
use super::store::rank::{Best, Cut, Wanted};
use super::store::relevance::Relevance;
use super::store::shelves::{Memories, Partition, not_found};
use super::store::tier::{Doomed, Entry};
use super::store::{Lasting, Put, chosen, full};
use crate::json::JsonObject;
use line::Line;
pub(super) use line::Ticket;
use room::{Home, SEMANTIC, home, idle, name, working};
use rows::Shelf;
use tables::{SCHEMA, Side};

/// How long one attempt to write waits. Between attempts the writer checks whether the request was given up.
const TRY: Duration = Duration::from_millis(100);

/// The store.
#[derive(Debug)]
pub(super) struct SqliteStore {
    path: PathBuf,
    limits: MemoryConfig,
    /// See [`rows::base_us`].
    base_us: i64,
    /// Whether the file was made by this start.
    is_new: bool,
    /// Guards what sessions have open; held for a look-up. Taken after `connection`, if both are.
    sessions: Mutex<HashMap<SessionId, Session>>,
    /// Guards the connection; held for one request, on threads that may block.
    connection: Mutex<Connection>,
}

#[derive(Debug, Default)]
struct Session {
    memories: Memories,
    line: Arc<Line>,
}

/// Whether the call was cancelled or has timed out.
type IsCancelled<'a> = &'a dyn Fn() -> bool;

/// Why a request of the store failed.
enum Trouble {
    Sqlite(rusqlite::Error),
    Other(Error),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl SqliteStore {
    /// Opens a file, making it if it is missing.
    ///
    /// # Errors
    /// As [`sqlite::open`].
    pub(super) fn open_file(path: &Path, limits: MemoryConfig, now: Time) -> Result<Self> {
        let connection = sqlite::open(path, &SCHEMA)?;
        let own = connection
            .execute_batch(&tables::own_tables())
            .and_then(|()| connection.busy_timeout(TRY));
        own.map_err(|error| sqlite::failure(&SCHEMA, "opened", path, &error))?;
        let mut store = Self {
            path: path.to_owned(),
            limits,
            base_us: rows::base_us(now),
            is_new: false,
            sessions: Mutex::default(),
            connection: Mutex::new(connection),
        };
        store.is_new = store.change(&|| false, |it, change| {
            rows::purge(change, it.now_us(now.mono))?;
            // A wall clock that went back gives no entry more than its whole ttl.
            change.execute(
                "UPDATE entries SET end_us = ?1 + ttl * 1000000
                 WHERE ttl > 0 AND end_us > ?1 + ttl * 1000000",
                [it.now_us(now.mono)],
            )?;
            let is_new = rows::shelf(change, Side::Kept, SEMANTIC)?.is_none();
            if is_new {
                rows::add_shelf(change, Side::Kept, SEMANTIC, 0)?;
            }
            Ok(is_new)
        })?;
        Ok(store)
    }

    /// Opens a memory of this session. Touches no file.
    ///
    /// # Errors
    /// `memory_full` when the session has too many.
    pub(super) fn open(&self, session: &SessionId, id: &str, partition: Partition) -> Result<()> {
        let mut sessions = self.sessions();
        let most = self.limits.max_memories.get();
        if let Some(session) = sessions.get_mut(session) {
            return session.memories.open(id, &Arc::new(partition), most);
        }
        let mut opened = Session::default();
        opened.memories.open(id, &Arc::new(partition), most)?;
        sessions.insert(session.clone(), opened);
        Ok(())
    }

    /// The namespace that a memory was opened with; `None` without such a memory.
    pub(super) fn namespace(&self, session: &SessionId, id: &str) -> Option<String> {
        self.partition(session, id).ok().map(|partition| partition.namespace.clone())
    }

    /// A place in the order of the session's requests.
    ///
    /// # Errors
    /// `memory_not_found`.
    pub(super) fn ticket(&self, session: &SessionId, id: &str) -> Result<Ticket> {
        let sessions = self.sessions();
        let session = sessions.get(session).filter(|it| it.memories.find(id).is_some());
        session.map(|it| it.line.ticket()).ok_or_else(not_found)
    }

    /// The session has ended: its memories close, what was its own goes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn close(&self, session: &SessionId) -> Result<()> {
        let Some(closed) = self.sessions().remove(session) else { return Ok(()) };
        self.change(&|| false, |it, change| {
            let working = working(session);
            let partitions: HashSet<_> = closed.memories.partitions().map(|it| name(it)).collect();
            let open = it.open_names();
            for (side, name) in [(Side::Own, working)].into_iter().chain(partitions) {
                let Some(shelf) = rows::shelf(change, side, &name)? else { continue };
                if side == Side::Own || (shelf.entries == 0 && !open.contains(&name)) {
                    rows::remove_shelf(change, side, shelf.id)?;
                } else {
                    rows::touch(change, &shelf)?;
                }
            }
            let most = it.limits.max_partitions.get();
            while idle(change, &open)?.len() > most && it.drop_idle(change, &open)? {}
            Ok(())
        })
    }

    /// Stores entries, in one transaction. For each: what that did, or why it was not stored.
    ///
    /// # Errors
    /// `memory_not_found`, or when the file cannot be written; nothing has changed then.
    pub(super) fn put_all(
        &self,
        session: &SessionId,
        id: &str,
        entries: Vec<Result<Entry, String>>,
        now: Duration,
        is_cancelled: IsCancelled<'_>,
    ) -> Result<Vec<Result<Put, String>>> {
        self.change(is_cancelled, |it, change| {
            let partition = it.partition(session, id)?;
            rows::purge(change, it.now_us(now))?;
            let mut put = Vec::with_capacity(entries.len());
            for (place, entry) in entries.into_iter().enumerate() {
                let entry = match entry {
                    Ok(entry) => entry,
                    Err(error) => {
                        put.push(Err(error));
                        continue;
                    }
                };
                let home = home(session, &partition, entry.wire.tier);
                put.push(match it.put(change, &home, &entry) {
                    Ok(evicted) => Ok(Put { key: entry.wire.key, evicted }),
                    Err(Trouble::Other(error)) => Err(format!("entries[{place}]: {error}")),
                    Err(error) => return Err(error),
                });
            }
            Ok(put)
        })
    }

    /// The best entries of a memory, and how many meet the conditions.
    ///
    /// # Errors
    /// `memory_not_found`, or when the file cannot be read.
    #[allow(clippy::too_many_arguments, reason = "the conditions of a search")]
    pub(super) fn search(
        &self,
        (session, id): (&SessionId, &str),
        tier: Option<MemoryTier>,
        ids: Option<&[Arc<str>]>,
        wanted: &Wanted,
        cut: Cut,
        now: Duration,
        is_cancelled: IsCancelled<'_>,
    ) -> Result<(Vec<MemoryEntry>, usize)> {
        let look = || -> Result<_, Trouble> {
            let connection = self.connection();
            let partition = self.partition(session, id)?;
            // One reading of the file for all of it.
            let reading = connection.unchecked_transaction()?;
            let mut shelves = Vec::new();
            for tier in chosen(tier) {
                let (side, name, _) = home(session, &partition, tier);
                shelves.extend(rows::shelf(&reading, side, &name)?.map(|shelf| (tier, shelf)));
            }
            let counted: Vec<Shelf> = shelves.iter().map(|(_, shelf)| *shelf).collect();
            // Entries that were asked for by their key are few; nothing is counted for them.
            let relevance = match ids {
                Some(_) => Relevance::default(),
                None => find::relevance(&reading, wanted, &counted)?,
            };
            let mut best = Best::new(cut);
            for (tier, shelf) in &shelves {
                let (tier, now_us) = (*tier, self.now_us(now));
                let place = find::Place { shelf, tier, ids, now_us };
                let goes_on = || !is_cancelled();
                find::search(&reading, &place, wanted, &relevance, &mut best, &goes_on)??;
            }
            Ok(best.finish())
        };
        look().map_err(|trouble| self.said("read", trouble))
    }

    /// Removes entries; returns how many.
    ///
    /// # Errors
    /// `memory_not_found`, or when the file cannot be written.
    pub(super) fn forget(
        &self,
        (session, id): (&SessionId, &str),
        tier: Option<MemoryTier>,
        doomed: &Doomed,
        now: Duration,
        is_cancelled: IsCancelled<'_>,
    ) -> Result<usize> {
        self.change(is_cancelled, |it, change| {
            let partition = it.partition(session, id)?;
            rows::purge(change, it.now_us(now))?;
            let mut removed = 0;
            for tier in chosen(tier) {
                let (side, name, _) = home(session, &partition, tier);
                let Some(shelf) = rows::shelf(change, side, &name)? else { continue };
                let places = find::doomed(change, &shelf, doomed)?;
                removed += find::remove(change, side, &places)?;
            }
            Ok(removed)
        })
    }

    /// Forgets every entry, also for other hosts; open memories stay open.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn clear(&self) -> Result<()> {
        self.change(&|| false, |_, change| {
            change.execute("DELETE FROM entries", [])?;
            change.execute("DELETE FROM own_entries", [])?;
            change.execute("DELETE FROM shelves WHERE name <> ?1", [SEMANTIC])?;
            change.execute("DELETE FROM own_shelves", [])?;
            Ok(())
        })
    }

    /// Forgets the working entries of a session.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn clear_session(&self, session: &SessionId) -> Result<()> {
        self.change(&|| false, |_, change| {
            if let Some(shelf) = rows::shelf(change, Side::Own, &working(session))? {
                rows::remove_shelf(change, Side::Own, shelf.id)?;
            }
            Ok(())
        })
    }

    /// Takes over what a store in RAM has saved, into a file that this start has made; into another
    /// one nothing: what it holds is newer. Returns whether it did.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn take_over(
        &self,
        (semantic, partitions): Lasting<Entry, Partition>,
    ) -> Result<bool> {
        if !self.is_new {
            return Ok(false);
        }
        self.change(&|| false, |it, change| {
            let put = |home: &Home, entries: Vec<Entry>| -> Result<(), Trouble> {
                for entry in entries {
                    match it.put(change, home, &entry) {
                        Ok(_) => {}
                        Err(Trouble::Other(error)) => {
                            tracing::warn!(%error, "an entry is left behind");
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            };
            put(&(Side::Kept, SEMANTIC.to_owned(), 0), semantic)?;
            for (partition, entries) in partitions {
                let (side, shelf) = name(&partition);
                put(&(side, shelf, partition.len()), entries)?;
            }
            Ok(true)
        })
    }

    /// What everything counts, in bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        rows::total(&self.connection()).unwrap()
    }

    /// Puts one entry on the shelf that is its home. Returns the keys of those that had to leave it.
    fn put(
        &self,
        change: &Transaction<'_>,
        home: &Home,
        entry: &Entry,
    ) -> Result<Vec<JsonObject>, Trouble> {
        let (bytes, most) = (entry.bytes, self.limits.max_entry_bytes.get());
        if bytes > most {
            let text = format!("{bytes} bytes; an entry may have {most} (max_entry_bytes)");
            return Err(full(text).into());
        }
        let (side, name, name_bytes) = home;
        let limit = self.limit(entry.wire.tier);
        let there = rows::shelf(change, *side, name)?;
        let freed = match &there {
            Some(shelf) => rows::freed_by(change, shelf, &entry.id, limit)?,
            None => 0,
        };
        let name_bytes = if there.is_some() { 0 } else { *name_bytes };
        self.make_room(change, (bytes + name_bytes).saturating_sub(freed))?;
        // Again, for room may have been made on it.
        let shelf = match rows::shelf(change, *side, name)? {
            Some(shelf) => shelf,
            None => rows::add_shelf(change, *side, name, name_bytes)?,
        };
        Ok(rows::put(change, &shelf, entry, rows::end_us(entry, self.base_us), limit)?)
    }

    fn limit(&self, tier: MemoryTier) -> usize {
        match tier {
            MemoryTier::Working => self.limits.working_limit.get(),
            MemoryTier::Episodic => self.limits.episodic_limit.get(),
            MemoryTier::Semantic => self.limits.semantic_limit.get(),
        }
    }

    /// The partitions in the file that this host has open, by name. Another host's are not known; a
    /// shelf of its that is dropped is made anew when it stores the next entry.
    fn open_names(&self) -> HashSet<String> {
        let sessions = self.sessions();
        let partitions = sessions.values().flat_map(|it| it.memories.partitions());
        partitions.map(|it| name(it)).filter(|it| it.0 == Side::Kept).map(|it| it.1).collect()
    }

    fn partition(&self, session: &SessionId, id: &str) -> Result<Arc<Partition>> {
        let sessions = self.sessions();
        let partition = sessions.get(session).and_then(|it| it.memories.find(id));
        partition.cloned().ok_or_else(not_found)
    }

    fn now_us(&self, now: Duration) -> i64 {
        let now = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
        self.base_us.saturating_add(now)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the file in one transaction, which is undone where the call was cancelled before its end. Waits
    /// for other hosts, and keeps no request of this host from reading meanwhile.
    fn change<R>(
        &self,
        is_cancelled: IsCancelled<'_>,
        work: impl FnOnce(&Self, &Transaction<'_>) -> Result<R, Trouble>,
    ) -> Result<R> {
        let mut tries = PATIENCE.as_millis() / TRY.as_millis();
        loop {
            if is_cancelled() {
                return Err(cancelled());
            }
            let connection = self.connection();
            match Transaction::new_unchecked(&connection, TransactionBehavior::Immediate) {
                Err(error) if sqlite::is_busy(&error) && tries > 0 => tries -= 1,
                Err(error) => return Err(self.said("written", error.into())),
                // It was given up while this attempt waited.
                Ok(_) if is_cancelled() => return Err(cancelled()),
                Ok(change) => {
                    let done = work(self, &change).and_then(|done| {
                        if is_cancelled() {
                            return Err(cancelled().into());
                        }
                        change.commit()?;
                        Ok(done)
                    });
                    return done.map_err(|trouble| self.said("written", trouble));
                }
            }
        }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error of SQLite as one of ours.
    fn said(&self, done: &str, trouble: Trouble) -> Error {
        let error = match trouble {
            Trouble::Other(error) => return error,
            Trouble::Sqlite(error) => error,
        };
        let said = sqlite::failure(&SCHEMA, done, &self.path, &error);
        if !sqlite::is_full(&error) {
            return said;
        }
        let full = Error::new(ErrorCode::MemoryFull, said.message());
        said.detail().iter().fold(full, |full, (key, value)| full.with_detail(key, value.clone()))
    }
}

/// A call that was cancelled has no effect.
fn cancelled() -> Error {
    Error::new(ErrorCode::Cancelled, "nobody waits for the answer")
}

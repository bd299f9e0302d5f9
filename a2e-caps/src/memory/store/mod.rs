//! The in-RAM store: the owners of memories, and the bound on all entries together. Time is passed in.

pub(super) mod key;
#[cfg(test)]
pub(super) mod model_tests;
pub(super) mod rank;
pub(super) mod relevance;
pub(super) mod saved;
pub(super) mod shelves;
#[cfg(test)]
pub(super) mod tests;
pub(super) mod text;
pub(super) mod tier;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::protocol::{ErrorCode, SessionId};
use a2e_core::{Error, Result};

use crate::json::JsonObject;
use crate::memory::config::MemoryConfig;
use crate::memory::protocol::MemoryTier;
use shelves::{Memories, Partition, Shelves, not_found};
use tier::{Doomed, Entry, Tier};

#[derive(Debug, Default)]
struct SessionMemory {
    working: Tier,
    memories: Memories,
}

/// The store.
#[derive(Debug)]
pub(in crate::memory) struct Store {
    limits: MemoryConfig,
    sessions: HashMap<SessionId, SessionMemory>,
    /// What the working tiers of all sessions count.
    working_bytes: usize,
    episodic: Shelves,
    semantic: Tier,
}

/// What the store of one entry did.
#[derive(Debug)]
pub(in crate::memory) struct Put {
    pub(in crate::memory) key: JsonObject,
    /// The keys of the entries that had to leave its tier.
    pub(in crate::memory) evicted: Vec<JsonObject>,
}

/// What a search would look through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::memory) struct Weight {
    pub(in crate::memory) entries: usize,
    pub(in crate::memory) bytes: usize,
}

impl Store {
    pub(in crate::memory) fn new(limits: MemoryConfig) -> Self {
        Self {
            sessions: HashMap::new(),
            working_bytes: 0,
            episodic: Shelves::new(limits.max_partitions.get()),
            semantic: Tier::default(),
            limits,
        }
    }

    /// What everything counts, in bytes; never above `max_bytes`.
    pub(in crate::memory) fn bytes(&self) -> usize {
        self.working_bytes + self.episodic.bytes() + self.semantic.bytes()
    }

    /// Opens a memory of this session.
    ///
    /// # Errors
    /// `memory_full` when the session has too many, or the host has no room for its names.
    pub(in crate::memory) fn open(
        &mut self,
        session: &SessionId,
        id: &str,
        partition: Partition,
        now: Duration,
    ) -> Result<()> {
        let most = self.limits.max_memories.get();
        if let Some(session) = self.sessions.get(session) {
            session.memories.check(most)?;
        }
        let partition = Arc::new(partition);
        if !self.episodic.contains(&partition) {
            self.make_room(partition.len(), now)?;
        }
        self.episodic.open(&partition);
        let session = self.sessions.entry(session.clone()).or_default();
        session.memories.open(id, &partition, most)
    }

    /// The session has ended: its memories close, its working entries go.
    pub(in crate::memory) fn close(&mut self, session: &SessionId) {
        let Some(memory) = self.sessions.remove(session) else { return };
        self.working_bytes -= memory.working.bytes();
        memory.memories.partitions().for_each(|partition| self.episodic.close(partition));
    }

    /// The namespace that a memory was opened with; `None` without such a memory.
    pub(in crate::memory) fn namespace(&self, session: &SessionId, id: &str) -> Option<String> {
        self.place(session, id).ok().map(|place| place.partition.namespace.clone())
    }

    /// Whether the session has this memory, and what its tiers hold.
    ///
    /// # Errors
    /// `memory_not_found`.
    pub(in crate::memory) fn weigh(
        &self,
        session: &SessionId,
        id: &str,
        tier: Option<MemoryTier>,
    ) -> Result<Weight> {
        let place = self.place(session, id)?;
        let tiers = chosen(tier).filter_map(|name| match name {
            MemoryTier::Working => self.sessions.get(session).map(|it| &it.working),
            MemoryTier::Episodic => self.episodic.tier(&place.partition),
            MemoryTier::Semantic => Some(&self.semantic),
        });
        Ok(tiers.fold(Weight::default(), |sum, tier| Weight {
            entries: sum.entries + tier.len(),
            bytes: sum.bytes + tier.bytes(),
        }))
    }

    /// Stores an entry in the tier that it names. Returns the entries that had to leave that tier.
    ///
    /// # Errors
    /// `memory_not_found`, or `memory_full` when it finds no room; nothing has changed then.
    pub(in crate::memory) fn put(
        &mut self,
        session: &SessionId,
        id: &str,
        entry: Entry,
        now: Duration,
    ) -> Result<Vec<Arc<Entry>>> {
        let place = self.place(session, id)?;
        let (name, bytes, most) = (entry.wire.tier, entry.bytes, self.limits.max_entry_bytes.get());
        if bytes > most {
            return Err(full(format!("{bytes} bytes; an entry may have {most} (max_entry_bytes)")));
        }
        let limit = self.limit(name);
        let freed = self.change(&place, name, now, |tier| tier.freed_by(&entry.id, limit));
        self.make_room(bytes.saturating_sub(freed), now)?;
        Ok(self.change(&place, name, now, |tier| tier.put(Arc::new(entry), limit)))
    }

    /// The entries of a memory, in the order of tiers and insertion: those of `ids`, or all.
    ///
    /// # Errors
    /// `memory_not_found`.
    pub(in crate::memory) fn collect(
        &mut self,
        session: &SessionId,
        id: &str,
        tier: Option<MemoryTier>,
        ids: Option<&[Arc<str>]>,
        now: Duration,
    ) -> Result<Vec<Arc<Entry>>> {
        let place = self.place(session, id)?;
        let mut found = Vec::new();
        for name in chosen(tier) {
            self.change(&place, name, now, |tier| match ids {
                Some(ids) => found.extend(tier.of_ids(ids).cloned()),
                None => found.extend(tier.all().cloned()),
            });
        }
        Ok(found)
    }

    /// Removes entries; returns how many.
    ///
    /// # Errors
    /// `memory_not_found`.
    pub(in crate::memory) fn forget(
        &mut self,
        session: &SessionId,
        id: &str,
        tier: Option<MemoryTier>,
        doomed: &Doomed,
        now: Duration,
    ) -> Result<usize> {
        let place = self.place(session, id)?;
        Ok(chosen(tier).map(|name| self.change(&place, name, now, |it| it.forget(doomed))).sum())
    }

    /// Forgets every entry; open memories stay open.
    pub(in crate::memory) fn clear(&mut self) {
        for memory in self.sessions.values_mut() {
            memory.working = Tier::default();
        }
        self.working_bytes = 0;
        self.semantic = Tier::default();
        self.episodic.clear();
    }

    /// Forgets the working entries of a session.
    pub(in crate::memory) fn clear_session(&mut self, session: &SessionId) {
        if let Some(memory) = self.sessions.get_mut(session) {
            self.working_bytes -= std::mem::take(&mut memory.working).bytes();
        }
    }

    /// What outlives sessions: the semantic entries, and the partitions of agents, longest unused first.
    pub(in crate::memory) fn lasting(
        &mut self,
        now: Duration,
    ) -> Lasting<Arc<Entry>, Arc<Partition>> {
        self.episodic.purge(now);
        self.semantic.purge(now);
        (self.semantic.all().cloned().collect(), self.episodic.of_agents())
    }

    /// Puts back what [`lasting`](Self::lasting) gave, into an empty store. What the bounds of now have
    /// no room for is left out: the oldest entries, the partitions that were unused for the longest.
    pub(in crate::memory) fn refill(&mut self, (semantic, shelves): Lasting<Entry, Partition>) {
        self.semantic = self.newest(semantic, MemoryTier::Semantic, self.limits.max_bytes.get());
        let mut room = self.limits.max_bytes.get() - self.semantic.bytes();
        let mut kept = Vec::new();
        for (partition, entries) in shelves.into_iter().rev().take(self.limits.max_partitions.get())
        {
            let Some(left) = room.checked_sub(partition.len()) else { break };
            let tier = self.newest(entries, MemoryTier::Episodic, left);
            if !tier.is_empty() {
                room = left - tier.bytes();
                kept.push((partition, tier));
            }
        }
        for (partition, tier) in kept.into_iter().rev() {
            self.episodic.put_back(partition, tier);
        }
    }

    /// A tier of the newest of these, oldest first, that its limit and the room allow.
    fn newest(&self, mut entries: Vec<Entry>, name: MemoryTier, mut room: usize) -> Tier {
        let limit = self.limit(name);
        let fits = entries.iter().rev().take(limit).take_while(|entry| {
            let rest = room.checked_sub(entry.bytes);
            room = rest.unwrap_or(room);
            rest.is_some()
        });
        let surplus = entries.len() - fits.count();
        let mut tier = Tier::default();
        for entry in entries.drain(surplus..) {
            tier.put(Arc::new(entry), limit);
        }
        tier
    }

    fn place(&self, session: &SessionId, id: &str) -> Result<Place> {
        let partition = self.sessions.get(session).and_then(|it| it.memories.find(id));
        let partition = partition.cloned().ok_or_else(not_found)?;
        Ok(Place { session: session.clone(), partition })
    }

    /// Works on a tier from which ended entries were removed, and counts what that changes.
    fn change<R: Default>(
        &mut self,
        place: &Place,
        name: MemoryTier,
        now: Duration,
        work: impl FnOnce(&mut Tier) -> R,
    ) -> R {
        let work = |tier: &mut Tier| {
            tier.purge(now);
            work(tier)
        };
        let done = match name {
            MemoryTier::Working => self.sessions.get_mut(&place.session).map(|memory| {
                let before = memory.working.bytes();
                let result = work(&mut memory.working);
                self.working_bytes = self.working_bytes - before + memory.working.bytes();
                result
            }),
            MemoryTier::Episodic => self.episodic.change(&place.partition, work),
            MemoryTier::Semantic => Some(work(&mut self.semantic)),
        };
        // A memory's session and partition stand as long as it is open.
        done.unwrap_or_default()
    }

    fn limit(&self, name: MemoryTier) -> usize {
        match name {
            MemoryTier::Working => self.limits.working_limit.get(),
            MemoryTier::Episodic => self.limits.episodic_limit.get(),
            MemoryTier::Semantic => self.limits.semantic_limit.get(),
        }
    }

    /// Makes sure that `wanted` more bytes fit: ended entries go, then idle partitions; those only if
    /// that is enough.
    fn make_room(&mut self, wanted: usize, now: Duration) -> Result<()> {
        let most = self.limits.max_bytes.get();
        if self.bytes() + wanted <= most {
            return Ok(());
        }
        self.episodic.purge(now);
        self.semantic.purge(now);
        if self.bytes() + wanted > most + self.episodic.idle_bytes() {
            return Err(full(format!("the memory of this host has {most} bytes (max_bytes)")));
        }
        while self.bytes() + wanted > most && self.episodic.drop_idle() {}
        Ok(())
    }
}

/// Semantic entries, and entries by partition.
pub(in crate::memory) type Lasting<E, P> = (Vec<E>, Vec<(P, Vec<E>)>);

/// Where the entries of one memory are.
struct Place {
    session: SessionId,
    partition: Arc<Partition>,
}

pub(in crate::memory) fn full(text: String) -> Error {
    Error::new(ErrorCode::MemoryFull, text)
}

pub(in crate::memory) fn chosen(tier: Option<MemoryTier>) -> impl Iterator<Item = MemoryTier> {
    MemoryTier::ALL.into_iter().filter(move |it| tier.is_none_or(|tier| tier == *it))
}

//! Episodic entries by partition: an agent, a namespace, a scope.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use a2e_core::protocol::{ErrorCode, SessionId};
use a2e_core::{Error, Result};

use super::tier::{Entry, Tier};

/// The owner of episodic entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::memory) struct Partition {
    pub(in crate::memory) owner: Owner,
    pub(in crate::memory) namespace: String,
    pub(in crate::memory) scope: BTreeMap<String, String>,
}

/// A named agent, or the session of an agent without a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::memory) enum Owner {
    Agent(String),
    Session(SessionId),
}

impl Partition {
    /// The bytes of its names.
    pub(in crate::memory) fn len(&self) -> usize {
        let owner = match &self.owner {
            Owner::Agent(agent) => agent.len(),
            Owner::Session(session) => session.as_str().len(),
        };
        let scope: usize = self.scope.iter().map(|(key, value)| key.len() + value.len()).sum();
        owner + self.namespace.len() + scope
    }
}

/// The memories that a session has open: the id of each, and its partition.
#[derive(Debug, Default)]
pub(in crate::memory) struct Memories(HashMap<Box<str>, Arc<Partition>>);

impl Memories {
    /// Notes a memory.
    ///
    /// # Errors
    /// `memory_full` when there are `most` already.
    pub(in crate::memory) fn open(
        &mut self,
        id: &str,
        partition: &Arc<Partition>,
        most: usize,
    ) -> Result<()> {
        self.check(most)?;
        self.0.insert(id.into(), Arc::clone(partition));
        Ok(())
    }

    /// Whether there is room for one more.
    pub(in crate::memory) fn check(&self, most: usize) -> Result<()> {
        if self.0.len() >= most {
            let text = format!("a session may open {most} memories (max_memories)");
            return Err(Error::new(ErrorCode::MemoryFull, text));
        }
        Ok(())
    }

    /// The partition of each.
    pub(in crate::memory) fn partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.0.values()
    }

    /// The partition of a memory: by its id, or by its namespace while the session has opened that
    /// namespace in one scope only. So a session that is written down beforehand can use a memory.
    pub(in crate::memory) fn find(&self, id: &str) -> Option<&Arc<Partition>> {
        self.0.get(id).or_else(|| {
            let mut named = self.0.values().filter(|partition| partition.namespace == id);
            let first = named.next()?;
            named.all(|other| other == first).then_some(first)
        })
    }
}

/// No memory of that name.
pub(in crate::memory) fn not_found() -> Error {
    let text = "this session has no memory of that id; `memory/init/req` opens one";
    Error::new(ErrorCode::MemoryNotFound, text)
}

/// The entries of one partition.
#[derive(Debug, Default)]
struct Shelf {
    tier: Tier,
    /// Memories that are open on it.
    open: usize,
    /// Its place in [`Shelves::idle`] while there are none.
    closed_at: u64,
}

/// Every partition. Open ones are bounded by the sessions and the memories that each may open; idle
/// ones (not open in any session) by `most_idle`.
#[derive(Debug)]
pub(in crate::memory) struct Shelves {
    all: HashMap<Arc<Partition>, Shelf>,
    /// The one that has been closed for the longest comes first.
    idle: BTreeMap<u64, Arc<Partition>>,
    most_idle: usize,
    closings: u64,
    bytes: usize,
    /// Partitions that were dropped for room.
    dropped: u64,
}

impl Shelves {
    pub(in crate::memory) fn new(most_idle: usize) -> Self {
        Self {
            all: HashMap::new(),
            idle: BTreeMap::new(),
            most_idle,
            closings: 0,
            bytes: 0,
            dropped: 0,
        }
    }

    /// What entries and names count.
    pub(in crate::memory) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What [`drop_idle`](Self::drop_idle) could free.
    pub(in crate::memory) fn idle_bytes(&self) -> usize {
        self.idle.values().map(|it| it.len() + self.tier(it).map_or(0, Tier::bytes)).sum()
    }

    pub(in crate::memory) fn contains(&self, partition: &Partition) -> bool {
        self.all.contains_key(partition)
    }

    pub(in crate::memory) fn tier(&self, partition: &Partition) -> Option<&Tier> {
        self.all.get(partition).map(|shelf| &shelf.tier)
    }

    /// Works on the entries of a partition and counts what that changes.
    pub(in crate::memory) fn change<R>(
        &mut self,
        partition: &Partition,
        work: impl FnOnce(&mut Tier) -> R,
    ) -> Option<R> {
        let tier = &mut self.all.get_mut(partition)?.tier;
        let before = tier.bytes();
        let result = work(tier);
        self.bytes = self.bytes - before + tier.bytes();
        Some(result)
    }

    /// A memory opens on this partition.
    pub(in crate::memory) fn open(&mut self, partition: &Arc<Partition>) {
        if !self.contains(partition) {
            self.bytes += partition.len();
        }
        let opened = self.all.entry(Arc::clone(partition)).or_default();
        self.idle.remove(&opened.closed_at);
        opened.open += 1;
    }

    /// A memory on this partition closes.
    pub(in crate::memory) fn close(&mut self, partition: &Arc<Partition>) {
        let Some(closed) = self.all.get_mut(partition) else { return };
        closed.open = closed.open.saturating_sub(1);
        if closed.open > 0 {
            return;
        }
        if closed.tier.is_empty() || matches!(partition.owner, Owner::Session(_)) {
            self.remove(partition);
            return;
        }
        self.closings += 1;
        closed.closed_at = self.closings;
        self.idle.insert(self.closings, Arc::clone(partition));
        if self.idle.len() > self.most_idle {
            self.drop_idle();
        }
    }

    /// Drops the partition that has been closed for the longest; false when all are open.
    pub(in crate::memory) fn drop_idle(&mut self) -> bool {
        let Some((_, oldest)) = self.idle.pop_first() else { return false };
        self.dropped += 1;
        tracing::warn!(
            owner = ?oldest.owner, namespace = %oldest.namespace, dropped = self.dropped,
            "no room; the episodic entries that were unused for the longest are dropped"
        );
        self.remove(&oldest);
        true
    }

    /// Removes what has ended, and idle partitions in which nothing is left.
    pub(in crate::memory) fn purge(&mut self, now: Duration) {
        for shelf in self.all.values_mut() {
            let before = shelf.tier.bytes();
            shelf.tier.purge(now);
            self.bytes = self.bytes - before + shelf.tier.bytes();
        }
        self.drop_empty();
    }

    /// Forgets every entry; open partitions stay open.
    pub(in crate::memory) fn clear(&mut self) {
        for shelf in self.all.values_mut() {
            self.bytes -= std::mem::take(&mut shelf.tier).bytes();
        }
        self.drop_empty();
    }

    /// The partitions of agents that have entries, longest unused first.
    pub(in crate::memory) fn of_agents(&self) -> Vec<(Arc<Partition>, Vec<Arc<Entry>>)> {
        let mut shelves: Vec<_> = self.all.iter().collect();
        shelves.retain(|it| matches!(it.0.owner, Owner::Agent(_)) && !it.1.tier.is_empty());
        shelves.sort_unstable_by_key(|it| (it.1.open > 0, it.1.closed_at));
        let entries = |shelf: &Shelf| shelf.tier.all().cloned().collect();
        shelves.into_iter().map(|it| (Arc::clone(it.0), entries(it.1))).collect()
    }

    /// Puts back an idle partition, as the one that was closed last.
    pub(in crate::memory) fn put_back(&mut self, partition: Partition, tier: Tier) {
        let partition = Arc::new(partition);
        self.bytes += partition.len() + tier.bytes();
        self.closings += 1;
        self.idle.insert(self.closings, Arc::clone(&partition));
        self.all.insert(partition, Shelf { tier, open: 0, closed_at: self.closings });
    }

    fn drop_empty(&mut self) {
        let is_empty = |partition: &Arc<Partition>, shelves: &HashMap<_, Shelf>| {
            shelves.get(partition).is_none_or(|shelf| shelf.tier.is_empty())
        };
        let empty: Vec<_> = self.idle.extract_if(.., |_, it| is_empty(it, &self.all)).collect();
        for (_, partition) in empty {
            self.remove(&partition);
        }
    }

    fn remove(&mut self, partition: &Partition) {
        if let Some(shelf) = self.all.remove(partition) {
            self.bytes -= partition.len() + shelf.tier.bytes();
        }
    }
}

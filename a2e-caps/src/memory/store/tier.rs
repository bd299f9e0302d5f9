//! One tier of one owner: entries by key, in the order of insertion, each with its end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use a2e_core::Time;

use super::key::{NoCanonicalForm, canonical};
use super::text::composed;
use crate::memory::protocol::MemoryEntry;

/// An entry as it is kept.
#[derive(Debug)]
pub(in crate::memory) struct Entry {
    /// The canonical form of its key.
    pub(in crate::memory) id: Arc<str>,
    /// What was stored, with its times set.
    pub(in crate::memory) wire: MemoryEntry,
    /// When it ends, on the monotonic scale.
    pub(in crate::memory) end: Option<Duration>,
    /// What it counts against the bounds.
    pub(in crate::memory) bytes: usize,
}

impl Entry {
    /// An entry that begins now.
    ///
    /// # Errors
    /// When its key cannot be compared.
    pub(in crate::memory) fn new(
        mut wire: MemoryEntry,
        now: Time,
    ) -> Result<Self, NoCanonicalForm> {
        let id = canonical(&wire.key)?;
        let wall = now.wall.as_secs_f64();
        wire.created_at.get_or_insert(wall);
        wire.updated_at.get_or_insert(wall);
        // What would end after the scale's end never ends.
        let end = match wire.ttl {
            0 => None,
            ttl => now.mono.checked_add(Duration::from_secs(ttl)),
        };
        let bytes = bytes_of(&wire) + id.len();
        Ok(Self { id, wire, end, bytes })
    }
}

fn bytes_of(wire: &MemoryEntry) -> usize {
    const PER_ENTRY: usize = 256;
    const PER_TAG: usize = 32;
    let tags: usize = wire.tags.iter().map(|tag| tag.len() + PER_TAG).sum();
    PER_ENTRY + wire.key.raw().get().len() + wire.content.get().len() + wire.source.len() + tags
}

/// Which entries `memory/forget` means.
#[derive(Debug, Default)]
pub(in crate::memory) struct Doomed {
    pub(in crate::memory) ids: Vec<Arc<str>>,
    /// In composed form.
    pub(in crate::memory) tags: BTreeSet<String>,
}

impl Doomed {
    /// Whether one of these tags is meant.
    pub(in crate::memory) fn has_tag(&self, tags: &[String]) -> bool {
        tags.iter().any(|tag| self.tags.contains(&*composed(tag)))
    }
}

/// The entries of one owner. The caller of [`Tier::put`] bounds them.
#[derive(Debug, Default)]
pub(in crate::memory) struct Tier {
    /// By place; the lowest is the oldest.
    entries: BTreeMap<u64, Arc<Entry>>,
    places: HashMap<Arc<str>, u64>,
    ends: BTreeSet<(Duration, u64)>,
    next_place: u64,
    bytes: usize,
}

impl Tier {
    pub(in crate::memory) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(in crate::memory) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(in crate::memory) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Removes what has ended.
    pub(in crate::memory) fn purge(&mut self, now: Duration) {
        while let Some(&(end, place)) = self.ends.first()
            && end <= now
        {
            self.remove(place);
        }
    }

    /// How many bytes `put` would free: of the entry that is replaced, or of the oldest in a full tier.
    pub(in crate::memory) fn freed_by(&self, id: &str, limit: usize) -> usize {
        let replaced = self.places.get(id).and_then(|place| self.entries.get(place));
        let oldest = || self.entries.values().next().filter(|_| self.len() >= limit);
        replaced.or_else(oldest).map_or(0, |entry| entry.bytes)
    }

    /// Stores an entry. An entry of the same key is replaced and keeps its place; else the oldest leave
    /// until the tier has at most `limit`. Returns those.
    pub(in crate::memory) fn put(&mut self, entry: Arc<Entry>, limit: usize) -> Vec<Arc<Entry>> {
        let mut evicted = Vec::new();
        let place = if let Some(place) = self.places.get(&entry.id).copied() {
            self.remove(place);
            place
        } else {
            while self.len() >= limit
                && let Some((&oldest, _)) = self.entries.first_key_value()
            {
                evicted.extend(self.remove(oldest));
            }
            self.next_place += 1;
            self.next_place
        };
        self.bytes += entry.bytes;
        self.places.insert(Arc::clone(&entry.id), place);
        self.ends.extend(entry.end.map(|end| (end, place)));
        self.entries.insert(place, entry);
        evicted
    }

    /// Every entry, oldest first.
    pub(in crate::memory) fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// The entries of these ids, oldest first.
    pub(in crate::memory) fn of_ids<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a Arc<str>>,
    ) -> impl Iterator<Item = &Arc<Entry>> {
        let places: BTreeSet<u64> =
            ids.into_iter().filter_map(|id| self.places.get(id).copied()).collect();
        places.into_iter().filter_map(|place| self.entries.get(&place))
    }

    /// Removes the entries that are meant; returns how many.
    pub(in crate::memory) fn forget(&mut self, doomed: &Doomed) -> usize {
        let mut places: BTreeSet<u64> =
            doomed.ids.iter().filter_map(|id| self.places.get(id).copied()).collect();
        if !doomed.tags.is_empty() {
            let has_tag = |entry: &Entry| doomed.has_tag(&entry.wire.tags);
            places.extend(self.entries.iter().filter(|it| has_tag(it.1)).map(|it| *it.0));
        }
        for place in &places {
            self.remove(*place);
        }
        places.len()
    }

    fn remove(&mut self, place: u64) -> Option<Arc<Entry>> {
        let entry = self.entries.remove(&place)?;
        self.bytes -= entry.bytes;
        self.places.remove(&entry.id);
        if let Some(end) = entry.end {
            self.ends.remove(&(end, place));
        }
        Some(entry)
    }
}

//! Which entries meet the conditions of a search, how well, and in which order they are answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::text::Words;
use super::tier::Entry;
use crate::memory::protocol::MemoryEntry;

/// The conditions of a search; an empty one is met by all. Those of keys and tier were met when the
/// entries were collected, and count for the score.
#[derive(Debug)]
pub(in crate::memory) struct Wanted {
    pub(in crate::memory) by_key: bool,
    pub(in crate::memory) by_tier: bool,
    pub(in crate::memory) tags: BTreeSet<String>,
    pub(in crate::memory) words: Words,
    pub(in crate::memory) min_score: f64,
}

impl Wanted {
    /// The score of an entry, with four decimals; `None` when it does not meet the conditions.
    fn score(&self, entry: &Entry) -> Option<f64> {
        let shared: BTreeSet<&String> =
            entry.wire.tags.iter().filter(|tag| self.tags.contains(*tag)).collect();
        if !self.tags.is_empty() && shared.is_empty() {
            return None;
        }
        let mut score = if self.by_key { 1.0 } else { 0.0 };
        score += if self.by_tier { 0.25 } else { 0.0 };
        #[allow(clippy::cast_precision_loss, reason = "a request has at most a thousand tags")]
        if !self.tags.is_empty() {
            score += shared.len() as f64 / self.tags.len() as f64;
        }
        let score = (score * 10_000.0).round() / 10_000.0;
        (score >= self.min_score && self.has_words(&entry.wire)).then_some(score)
    }

    fn has_words(&self, entry: &MemoryEntry) -> bool {
        if self.words.len() == 0 {
            return true;
        }
        let mut search = self.words.search();
        search.json(entry.key.raw().get());
        entry.tags.iter().for_each(|tag| search.text(tag));
        search.json(entry.content.get());
        search.is_done()
    }
}

/// How much of what was found is wanted.
#[derive(Clone, Copy, Debug)]
pub(in crate::memory) struct Cut {
    pub(in crate::memory) entries: usize,
    /// A first entry is given even when it alone is more.
    pub(in crate::memory) bytes: usize,
}

/// A search that has collected what it looks through.
#[derive(Debug)]
pub(in crate::memory) struct Search {
    /// In the order of tiers and insertion.
    pub(in crate::memory) entries: Vec<Arc<Entry>>,
    pub(in crate::memory) wanted: Wanted,
    pub(in crate::memory) cut: Cut,
}

impl Search {
    /// An upper bound of the bytes that [`run`](Self::run) reads and the reply copies.
    pub(in crate::memory) fn cost(&self) -> usize {
        let (sum, largest) = self
            .entries
            .iter()
            .fold((0, 0), |(sum, largest), entry| (sum + entry.bytes, entry.bytes.max(largest)));
        let reply = largest.saturating_mul(self.cut.entries).min(sum).min(self.cut.bytes);
        sum.saturating_mul(self.wanted.words.len()) + reply
    }

    /// The best entries, best first, and how many were found. Entries of one score stay in their
    /// order. Stops early when `goes_on` says so; the result is of no use then.
    pub(in crate::memory) fn run(self, goes_on: impl Fn() -> bool) -> (Vec<MemoryEntry>, usize) {
        let scored = self.entries.into_iter().take_while(|_| goes_on());
        let mut found: Vec<(f64, Arc<Entry>)> =
            scored.filter_map(|entry| Some((self.wanted.score(&entry)?, entry))).collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        let total = found.len();
        let mut room = self.cut.bytes;
        let mut best = Vec::with_capacity(total.min(self.cut.entries));
        for (score, entry) in found.into_iter().take(self.cut.entries) {
            match room.checked_sub(entry.bytes) {
                Some(left) => room = left,
                None if best.is_empty() => room = 0,
                None => break,
            }
            best.push(MemoryEntry { score, ..entry.wire.clone() });
        }
        (best, total)
    }
}

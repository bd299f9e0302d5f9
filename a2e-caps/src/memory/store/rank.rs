//! Which entries meet the conditions of a search, how well, and in which order they are answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::relevance::{Relevance, float};
use super::text::{Words, composed, document};
use super::tier::Entry;
use crate::memory::protocol::MemoryEntry;

/// The conditions of a search; an empty one is met by all. Those of keys and tier were met when the
/// entries were collected, and count for the score.
#[derive(Debug)]
pub(in crate::memory) struct Wanted {
    pub(in crate::memory) by_key: bool,
    pub(in crate::memory) by_tier: bool,
    /// In composed form.
    pub(in crate::memory) tags: BTreeSet<String>,
    pub(in crate::memory) words: Words,
    pub(in crate::memory) min_score: f64,
}

impl Wanted {
    /// Whether tags meet the condition of them.
    pub(in crate::memory) fn has_tag(&self, tags: &[String]) -> bool {
        self.tags.is_empty() || tags.iter().any(|tag| self.tags.contains(&*composed(tag)))
    }

    /// The score of an entry, with four decimals, and its relevance; `None` when it does not meet the
    /// conditions. `document` is its text, read only where there are words.
    pub(in crate::memory) fn score(
        &self,
        entry: &Entry,
        document: &str,
        relevance: &Relevance,
    ) -> Option<(f64, f64)> {
        if !self.has_tag(&entry.wire.tags) {
            return None;
        }
        let tags: BTreeSet<_> = entry.wire.tags.iter().map(|tag| composed(tag)).collect();
        let shared = tags.iter().filter(|tag| self.tags.contains(&***tag)).count();
        let mut score = if self.by_key { 1.0 } else { 0.0 };
        score += if self.by_tier { 0.25 } else { 0.0 };
        if !self.tags.is_empty() {
            score += float(shared) / float(self.tags.len());
        }
        let mut relevant = 0.0;
        if !self.words.is_empty() {
            let found = self.words.count_in(document);
            if found == 0 {
                return None;
            }
            relevant = relevance.of(document, entry.bytes);
            // All words first, then most words: relevance never makes up for one.
            score += (float(found) + relevant.min(0.99)) / float(self.words.len());
        }
        let score = (score * 10_000.0).round() / 10_000.0;
        (score >= self.min_score).then_some((score, relevant))
    }
}

/// The bounds of a reply.
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
        let passes = if self.wanted.words.is_empty() { 0 } else { self.wanted.words.len() + 2 };
        sum.saturating_mul(passes) + reply
    }

    /// The best entries, best first, and how many were found. Entries of one score stay in their
    /// order. Stops early when `goes_on` says so; the result is of no use then.
    pub(in crate::memory) fn run(self, goes_on: impl Fn() -> bool) -> (Vec<MemoryEntry>, usize) {
        let Self { entries, wanted, cut } = self;
        let mut best = Best::new(cut);
        let mut documents = Vec::new();
        if !wanted.words.is_empty() {
            let all = entries.iter().take_while(|_| goes_on());
            documents = all.map(|entry| document(&entry.wire)).collect();
        }
        let bytes = entries.iter().map(|entry| entry.bytes).sum();
        let relevance = if wanted.by_key {
            Relevance::default()
        } else {
            let having = |word: &str| documents.iter().filter(|it| it.contains(word)).count();
            Relevance::counted(&wanted.words, entries.len(), bytes, having)
        };
        let mut documents = documents.into_iter();
        for entry in entries.into_iter().take_while(|_| goes_on()) {
            let document = documents.next().unwrap_or_default();
            if let Some((score, relevance)) = wanted.score(&entry, &document, &relevance) {
                best.add(score, relevance, entry);
            }
        }
        best.finish()
    }
}

/// The best of what was found so far: as many as a reply may hold, and somewhat more.
#[derive(Debug)]
pub(in crate::memory) struct Best {
    cut: Cut,
    total: usize,
    kept: Vec<Found>,
    /// What the kept entries count.
    bytes: usize,
}

#[derive(Debug)]
struct Found {
    score: f64,
    relevance: f64,
    entry: Arc<Entry>,
}

impl Best {
    pub(in crate::memory) fn new(cut: Cut) -> Self {
        Self { cut, total: 0, kept: Vec::new(), bytes: 0 }
    }

    /// Adds an entry. Of one score, the more relevant come first, then those that were added first.
    pub(in crate::memory) fn add(&mut self, score: f64, relevance: f64, entry: Arc<Entry>) {
        self.total += 1;
        self.bytes += entry.bytes;
        self.kept.push(Found { score, relevance, entry });
        let most = self.cut.entries.saturating_mul(2).max(64);
        if self.kept.len() > most || self.bytes > self.cut.bytes.saturating_mul(2) {
            self.trim();
        }
    }

    /// Sorts, and drops what no reply will hold, whatever else is found: an entry only moves back.
    fn trim(&mut self) {
        self.kept
            .sort_by(|a, b| b.score.total_cmp(&a.score).then(b.relevance.total_cmp(&a.relevance)));
        let mut room = self.cut.bytes;
        let fits = self.kept.iter().take(self.cut.entries).enumerate().take_while(|(place, it)| {
            let left = room.checked_sub(it.entry.bytes);
            room = left.unwrap_or(0);
            left.is_some() || *place == 0
        });
        let fitting = fits.count();
        self.kept.truncate(fitting);
        self.bytes = self.kept.iter().map(|it| it.entry.bytes).sum();
    }

    /// The best entries with their scores, best first, and how many were found.
    pub(in crate::memory) fn finish(mut self) -> (Vec<MemoryEntry>, usize) {
        self.trim();
        let reply = |it: Found| MemoryEntry { score: it.score, ..it.entry.wire.clone() };
        (self.kept.into_iter().map(reply).collect(), self.total)
    }
}

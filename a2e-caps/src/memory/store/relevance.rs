//! What makes an entry relevant to a query: BM25 over what the session may see, and nothing else.

use std::convert::Infallible;

use super::text::{Words, count_in};

/// Most words that count for relevance, the longest ones.
const MAX_WORDS: usize = 16;

/// The index of a file knows three characters and more.
const SHORTEST: usize = 3;

/// The constants of BM25, and the most that a word's count brings.
const K: f64 = 1.2;
const B: f64 = 0.75;
const MOST: f64 = K + 1.0;

/// A word that counts, and how much.
#[derive(Debug)]
struct Weighed {
    word: String,
    weight: f64,
}

/// The words of a query with what each is worth among these entries; by default nothing counts.
#[derive(Debug, Default)]
pub(in crate::memory) struct Relevance {
    words: Vec<Weighed>,
    average_bytes: f64,
}

impl Relevance {
    /// Of `all` entries that have `bytes` together; `having` says how many have a word. Words that no index
    /// knows are worth what a word of every entry is.
    pub(in crate::memory) fn counted(
        words: &Words,
        all: usize,
        bytes: usize,
        mut having: impl FnMut(&str) -> usize,
    ) -> Self {
        let counted = Self::try_counted(words, all, bytes, |word| Ok(having(word)));
        counted.unwrap_or_else(|never: Infallible| match never {})
    }

    /// As [`counted`](Self::counted), where counting can fail.
    ///
    /// # Errors
    /// Those of `having`.
    pub(in crate::memory) fn try_counted<E>(
        words: &Words,
        all: usize,
        bytes: usize,
        mut having: impl FnMut(&str) -> Result<usize, E>,
    ) -> Result<Self, E> {
        let mut longest: Vec<&str> = words.iter().collect();
        longest.sort_by_key(|word| std::cmp::Reverse(word.len()));
        longest.truncate(MAX_WORDS);
        let mut weighed = Vec::with_capacity(longest.len());
        for word in longest {
            let having = if is_indexed(word) { having(word)?.min(all) } else { all };
            let (all, having) = (float(all), float(having));
            let weight = (1.0 + (all - having + 0.5) / (having + 0.5)).ln();
            weighed.push(Weighed { word: word.to_owned(), weight });
        }
        Ok(Self { words: weighed, average_bytes: float(bytes) / float(all.max(1)) })
    }

    /// From 0 to 1: the share of what the words could bring.
    pub(in crate::memory) fn of(&self, document: &str, bytes: usize) -> f64 {
        let length = float(bytes) / self.average_bytes.max(1.0);
        let (mut sum, mut most) = (0.0, 0.0);
        for it in &self.words {
            let count = float(count_in(document, &it.word));
            sum += it.weight * count * MOST / (count + K * (1.0 - B + B * length));
            most += it.weight * MOST;
        }
        if most > 0.0 { sum / most } else { 0.0 }
    }
}

/// Whether an index knows a word. A text with NUL ends there for it, so it holds white space in its place.
pub(in crate::memory) fn is_indexed(word: &str) -> bool {
    word.chars().count() >= SHORTEST && !word.contains('\0')
}

#[allow(clippy::cast_precision_loss, reason = "a score need not be exact")]
pub(super) fn float(count: usize) -> f64 {
    count as f64
}

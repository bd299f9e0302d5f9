//! The last lines that a resumable session was sent, so that a resume can send them again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::counters::Counter;

/// What the rings of a host share: the room for all of them, and what was dropped for want of it.
#[derive(Debug)]
pub(crate) struct RingBudget {
    bytes: AtomicUsize,
    rings: AtomicUsize,
    most: usize,
    /// Lines that left a ring before a resume asked for them.
    pub(crate) dropped: Counter,
}

impl RingBudget {
    /// Room for this many bytes.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let (bytes, rings) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { bytes, rings, most, dropped: Counter::default() })
    }

    /// Bytes that all rings hold.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether so little is left that rings have to make room for each other.
    pub(crate) fn is_tight(&self) -> bool {
        self.bytes() >= self.most / 4 * 3
    }

    /// What each ring may hold so that all have room.
    fn share(&self) -> usize {
        self.most / self.rings.load(Ordering::Relaxed).max(1)
    }

    fn take(&self, bytes: usize) -> bool {
        let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.most);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The last lines of one session, bounded in bytes. Lines count from 1.
pub(crate) struct Ring {
    budget: Arc<RingBudget>,
    limit: usize,
    /// Whole lines, each with its newline.
    bytes: VecDeque<u8>,
    /// The length of each line in `bytes`.
    lengths: VecDeque<usize>,
    /// The number of the line sent last.
    sent: u64,
}

impl Ring {
    /// An empty ring that keeps up to `limit` bytes.
    pub(crate) fn new(budget: &Arc<RingBudget>, limit: usize) -> Self {
        budget.rings.fetch_add(1, Ordering::Relaxed);
        Self {
            budget: Arc::clone(budget),
            limit,
            bytes: VecDeque::new(),
            lengths: VecDeque::new(),
            sent: 0,
        }
    }

    /// How many lines were sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Notes lines that are sent now; each ends in a newline. Those that are not to be kept have a
    /// number all the same, and are lost to a resume.
    pub(crate) fn push(&mut self, lines: &[u8], is_kept: bool) {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            if is_kept {
                self.push_line(line);
            } else {
                // What is kept has no holes.
                while self.drop_oldest() {}
                self.sent += 1;
                self.budget.dropped.add();
            }
        }
    }

    fn push_line(&mut self, line: &[u8]) {
        self.sent += 1;
        let length = line.len();
        // What is kept has no holes: a line that cannot be kept takes the earlier ones with it.
        let limit = self.limit.min(self.budget.share());
        while self.bytes.len() + length > limit || !self.budget.take(length) {
            if !self.drop_oldest() {
                return self.budget.dropped.add();
            }
        }
        self.make_room(length);
        self.bytes.extend(line);
        self.lengths.push_back(length);
    }

    /// Grows by doubling, but never beyond the limit.
    fn make_room(&mut self, more: usize) {
        let (length, capacity) = (self.bytes.len(), self.bytes.capacity());
        if length + more > capacity {
            let wanted = (2 * capacity).max(length + more).min(self.limit);
            self.bytes.reserve_exact(wanted.saturating_sub(length));
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let was_there = self.forget_oldest();
        if was_there {
            self.budget.dropped.add();
        }
        was_there
    }

    fn forget_oldest(&mut self) -> bool {
        let Some(length) = self.lengths.pop_front() else { return false };
        self.bytes.drain(..length);
        self.budget.give(length);
        true
    }

    /// How many lines after the first `received` are lost; `None` when fewer were ever sent.
    pub(crate) fn gap(&self, received: u64) -> Option<u64> {
        (received <= self.sent).then(|| self.before_kept().saturating_sub(received))
    }

    /// The number of the line before the oldest that is kept.
    fn before_kept(&self) -> u64 {
        let kept = u64::try_from(self.lengths.len()).unwrap_or(u64::MAX);
        self.sent.saturating_sub(kept)
    }

    /// Writes every kept line after the first `received`, which are forgotten.
    pub(crate) fn replay(&mut self, received: u64, out: &mut Vec<u8>) {
        while self.before_kept() < received && self.forget_oldest() {}
        let (front, back) = self.bytes.as_slices();
        out.extend_from_slice(front);
        out.extend_from_slice(back);
    }

    /// Writes every kept line after the first `received`, which stay.
    pub(crate) fn copy_after(&self, received: u64, out: &mut Vec<u8>) {
        let passed = received.saturating_sub(self.before_kept());
        let passed = usize::try_from(passed).unwrap_or(usize::MAX);
        let from: usize = self.lengths.iter().take(passed).sum();
        out.extend(self.bytes.iter().skip(from));
    }

    /// Drops the oldest lines beyond its share; for rings that grew when there were fewer.
    pub(crate) fn trim(&mut self) {
        while self.bytes.len() > self.budget.share() && self.drop_oldest() {}
        self.shrink();
    }

    /// Drops every line; their numbers stay.
    pub(crate) fn empty(&mut self) {
        while self.drop_oldest() {}
        self.shrink();
    }

    /// Gives back memory that is not in use; for rings that wait.
    pub(crate) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.lengths.shrink_to_fit();
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.budget.give(self.bytes.len());
        self.budget.rings.fetch_sub(1, Ordering::Relaxed);
    }
}

show!(Ring, sent: |it| it.sent, kept: |it| it.lengths.len(), bytes: |it| it.bytes.len());

#[cfg(test)]
mod tests;

//! The last lines that a resumable session was sent, so that a resume can send them again.

use std::collections::VecDeque;
use std::fmt;
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

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("sent", &self.sent)
            .field("kept", &self.lengths.len())
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        /// A line of this many bytes, and whether it is to be kept.
        Send(usize, bool),
        /// Resume this many lines before the last one that was sent.
        Resume(u64),
        Empty,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (1..40_usize, proptest::bool::weighted(0.95)).prop_map(|(it, kept)| Step::Send(it, kept)),
            1 => (0..12_u64).prop_map(Step::Resume),
            1 => Just(Step::Empty),
        ];
        proptest::collection::vec(step, 1..120)
    }

    /// Every line ever sent, and how many of the first may no longer be kept.
    #[derive(Default)]
    struct Model {
        lines: Vec<Vec<u8>>,
        gone: usize,
    }

    impl Model {
        fn kept(&self, limit: usize) -> usize {
            let mut bytes = 0;
            let rest = self.lines[self.gone..].iter().rev();
            rest.take_while(|line| {
                bytes += line.len();
                bytes <= limit
            })
            .count()
        }
    }

    fn line(number: usize, length: usize) -> Vec<u8> {
        let digit = b'a' + u8::try_from(number % 26).unwrap();
        let mut line = vec![digit; length - 1];
        line.push(b'\n');
        line
    }

    proptest! {
        #[test]
        fn r25_a_ring_gives_back_the_longest_tail_that_fits(steps in steps(), limit in 0..200_usize) {
            let budget = RingBudget::new(usize::MAX);
            let mut ring = Ring::new(&budget, limit);
            let mut model = Model::default();
            for step in steps {
                match step {
                    Step::Send(length, is_kept) => {
                        let line = line(model.lines.len(), length);
                        ring.push(&line, is_kept);
                        model.lines.push(line);
                        if !is_kept {
                            model.gone = model.lines.len();
                        }
                    }
                    Step::Resume(back) => {
                        let sent = model.lines.len() as u64;
                        let received = sent.saturating_sub(back);
                        let kept = model.kept(limit) as u64;
                        let gap = (sent - kept).saturating_sub(received);
                        prop_assert_eq!(ring.gap(received), Some(gap));
                        prop_assert_eq!(ring.gap(sent + 1 + back), None);
                        let (mut out, mut copy) = (Vec::new(), Vec::new());
                        ring.copy_after(received, &mut copy);
                        ring.replay(received, &mut out);
                        prop_assert_eq!(&copy, &out);
                        let from = usize::try_from(received + gap).unwrap();
                        prop_assert_eq!(out, model.lines[from..].concat());
                        model.gone = model.gone.max(usize::try_from(received).unwrap());
                    }
                    Step::Empty => {
                        ring.empty();
                        model.gone = model.lines.len();
                    }
                }
                prop_assert_eq!(ring.sent(), model.lines.len() as u64);
                prop_assert!(ring.bytes() <= limit);
                prop_assert_eq!(budget.bytes(), ring.bytes());
            }
            drop(ring);
            prop_assert_eq!(budget.bytes(), 0);
        }

        #[test]
        fn r20_rings_of_a_host_share_one_bound(
            sends in proptest::collection::vec((0..3_usize, 1..40_usize), 1..200),
            most in 0..150_usize,
        ) {
            let budget = RingBudget::new(most);
            let mut rings = [0; 3].map(|_| Ring::new(&budget, 100));
            let mut sent = [const { Vec::new() }; 3];
            for (place, length) in sends {
                let line = line(sent[place].len(), length);
                rings[place].push(&line, true);
                sent[place].push(line);
                let held: usize = rings.iter().map(Ring::bytes).sum();
                prop_assert!(budget.bytes() == held && held <= most);
                prop_assert!(rings[place].bytes() <= most / 3);
            }
            for ring in &mut rings {
                ring.trim();
                prop_assert!(ring.bytes() <= most / 3);
            }
            let mut lost = 0;
            for (ring, sent) in rings.iter_mut().zip(&sent) {
                let gap = ring.gap(0).unwrap();
                let mut out = Vec::new();
                ring.replay(0, &mut out);
                prop_assert_eq!(out, sent[usize::try_from(gap).unwrap()..].concat());
                lost += gap;
            }
            prop_assert_eq!(budget.dropped.get(), lost, "each lost line is counted once");
        }
    }
}

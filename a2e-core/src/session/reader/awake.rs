//! Whether a reader stays awake for the next line of its peer.

use std::time::Duration;

/// A peer that needs less time for an answer than it takes to put a thread to sleep and to wake it again
/// is waited for awake. That is done where it was right the last time; where it was wrong it is tried
/// ever more rarely, so that a slow peer costs next to nothing.
#[derive(Debug, Default)]
pub(super) struct Awake {
    /// How many pauses are still slept through.
    to_skip: u32,
    /// How many were to be, the last time.
    skipped: u32,
}

impl Awake {
    /// For how long at most. To sleep and to wake takes 5 to 10 us on hardware and 60 us on a virtual
    /// machine, whose processor is stopped meanwhile; and a peer may have had to be woken too.
    pub(super) const LIMIT: Duration = Duration::from_micros(100);

    /// A peer for whom it is never worth it costs [`LIMIT`](Self::LIMIT) once in so many pauses.
    const MOST_SKIPPED: u32 = 64;

    /// Asked once for each pause.
    pub(super) fn is_worth_it(&mut self) -> bool {
        let is_due = self.to_skip == 0;
        self.to_skip = self.to_skip.saturating_sub(1);
        is_due
    }

    /// How it ended.
    pub(super) fn note(&mut self, came: bool) {
        self.skipped = if came { 0 } else { (self.skipped * 2).clamp(1, Self::MOST_SKIPPED) };
        self.to_skip = self.skipped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In how many of 1,000 pauses a session looks, if something comes in time in one of `every`.
    fn looks(every: usize) -> usize {
        let mut awake = Awake::default();
        (1..=1000)
            .filter(|pause| {
                let looks = awake.is_worth_it();
                if looks {
                    awake.note(pause % every == 0);
                }
                looks
            })
            .count()
    }

    #[test]
    fn looks_where_it_pays() {
        for (every, expected) in [(1, 1000), (10_000, 21)] {
            assert_eq!(looks(every), expected, "one of {every}");
        }
        assert!((300..1000).contains(&looks(2)), "{}", looks(2));
    }

    #[test]
    fn comes_back_once_it_pays_again() {
        let mut awake = Awake::default();
        for _ in 0..10 {
            awake.note(false);
        }
        let slept = (0..1000).take_while(|_| !awake.is_worth_it()).count();
        assert_eq!(slept, 64);
        awake.note(true);
        assert!(awake.is_worth_it());
    }
}

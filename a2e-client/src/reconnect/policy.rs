//! When a lost connection is made again, and when that is given up.

use std::time::Duration;

/// What a new call does while the connection is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhileAway {
    /// It waits for the connection, within its own time limit.
    #[default]
    Wait,
    /// It fails at once with [`ClientError::Reconnecting`](crate::ClientError::Reconnecting).
    Fail,
}

/// How a lost connection is made again: after 100 ms, doubling to 30 s, each wait shortened at random
/// by up to half, for 10 min at most unless set otherwise.
///
/// ```
/// use a2e_client::{Reconnect, WhileAway};
/// use std::time::Duration;
/// let patient = Reconnect::new().within(None);
/// let brisk = Reconnect::new()
///     .delays(Duration::from_millis(20), Duration::from_secs(1))
///     .attempts(Some(5))
///     .while_away(WhileAway::Fail);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconnect {
    first: Duration,
    longest: Duration,
    pub(crate) attempts: Option<u32>,
    pub(crate) within: Option<Duration>,
    pub(crate) while_away: WhileAway,
    pub(crate) max_waiting: usize,
    pub(crate) max_kept_bytes: usize,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(30),
            attempts: None,
            within: Some(Duration::from_mins(10)),
            while_away: WhileAway::Wait,
            max_waiting: 1024,
            max_kept_bytes: 16 << 20,
        }
    }
}

impl Reconnect {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The wait before the first attempt, which doubles with each further one, and the longest wait.
    #[must_use]
    pub fn delays(mut self, first: Duration, longest: Duration) -> Self {
        self.first = first;
        self.longest = longest.max(first);
        self
    }

    /// Gives up after this many attempts that failed; `None`, the default, does not count them.
    /// A connection that lasts less than a second counts as a failed attempt.
    #[must_use]
    pub fn attempts(mut self, most: Option<u32>) -> Self {
        self.attempts = most;
        self
    }

    /// Gives up when this long has passed since the loss; 10 min unless set, `None` never does.
    #[must_use]
    pub fn within(mut self, limit: Option<Duration>) -> Self {
        self.within = limit;
        self
    }

    /// What new calls do in the meantime; they wait unless set.
    #[must_use]
    pub fn while_away(mut self, what: WhileAway) -> Self {
        self.while_away = what;
        self
    }

    /// How many calls may wait for the connection; further ones fail at once. 1024 unless set.
    #[must_use]
    pub fn max_waiting(mut self, most: usize) -> Self {
        self.max_waiting = most;
        self
    }

    /// How many bytes of requests are kept to be sent again, all
    /// [repeatable](crate::CallOptions::repeatable) calls together; 16 MiB unless set. A call that
    /// finds no room is not repeated.
    #[must_use]
    pub fn max_kept_bytes(mut self, most: usize) -> Self {
        self.max_kept_bytes = most;
        self
    }

    /// The wait before an attempt, counted from 1: doubled with each, and of that a half to all, by
    /// `chance` of 0 to 255. Clients that a host lost together do not come back together.
    pub(crate) fn delay(&self, attempt: u32, chance: u8) -> Duration {
        let factor = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let whole = self.first.saturating_mul(factor).min(self.longest);
        whole / 2 + (whole / 2) * u32::from(chance) / u32::from(u8::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_longest_and_are_spread() {
        let policy = Reconnect::new();
        for (attempt, low, high) in [
            (1, 50, 100),
            (2, 100, 200),
            (5, 800, 1_600),
            (9, 12_800, 25_600),
            (10, 15_000, 30_000),
            (32, 15_000, 30_000),
            (33, 15_000, 30_000),
            (u32::MAX, 15_000, 30_000),
        ] {
            let spread = [0, 255].map(|chance| policy.delay(attempt, chance).as_millis());
            assert_eq!(spread, [low, high], "attempt {attempt}");
            let middle = policy.delay(attempt, 100).as_millis();
            assert!((low..=high).contains(&middle), "attempt {attempt}: {middle}");
        }
    }

    #[test]
    fn a_longest_wait_below_the_first_is_the_first() {
        let policy = Reconnect::new().delays(Duration::from_secs(2), Duration::from_millis(1));
        assert_eq!(policy.delay(1, 255), Duration::from_secs(2));
        assert_eq!(policy.delay(7, 255), Duration::from_secs(2));
        let none = Reconnect::new().delays(Duration::ZERO, Duration::ZERO);
        assert_eq!(none.delay(9, 255), Duration::ZERO);
    }
}

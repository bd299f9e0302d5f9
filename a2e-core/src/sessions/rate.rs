//! How many messages a session may send (R27): as many per second as the limit says, and as many at
//! once.

use std::time::Duration;

/// Messages that may still come.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// Per second; `None`: no limit.
    limit: Option<u32>,
    /// What was there at `since`.
    left: f64,
    since: Duration,
}

impl Rate {
    pub(super) fn new(limit: Option<usize>, now: Duration) -> Self {
        let limit = limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
        Self { limit, left: limit.map_or(0.0, f64::from), since: now }
    }

    /// Takes one message; else how long to wait for the next.
    pub(super) fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let Some(limit) = self.limit.map(f64::from) else { return Ok(()) };
        let gained = now.saturating_sub(self.since).as_secs_f64() * limit;
        self.left = (self.left + gained).min(limit);
        self.since = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.left) / limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r27_a_session_sends_as_many_as_the_limit_says() {
        let ms = Duration::from_millis;
        let mut free = Rate::new(None, ms(0));
        assert!((0..1000).all(|_| free.take(ms(0)).is_ok()));
        let mut rate = Rate::new(Some(10), ms(0));
        let taken = (0..20).filter(|_| rate.take(ms(0)).is_ok()).count();
        assert_eq!(taken, 10);
        let wait = rate.take(ms(0)).unwrap_err();
        assert!(wait > ms(90) && wait <= ms(100), "{wait:?}");
        assert!(rate.take(ms(101)).is_ok() && rate.take(ms(102)).is_err());
        let later = (0..20).filter(|_| rate.take(ms(60_000)).is_ok()).count();
        assert_eq!(later, 10, "a pause is not saved up");
    }
}

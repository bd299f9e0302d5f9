//! Paces: how many messages a session may send, and how often wrong tokens are answered (R27).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::Time;
use crate::transport::Peer;

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

/// When the next wrong token of a peer is answered.
#[derive(Debug, Default)]
pub(crate) struct WrongTokens {
    /// Monotonic time of the next free slot by peer; guarded for a look-up. At most [`MAX_PEERS`].
    next: Mutex<HashMap<String, Duration>>,
}

/// Ten a second.
const SPACING: Duration = Duration::from_millis(100);

/// A peer that has more than this waiting is cut.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Peers that are remembered; those whose slots are over are forgotten first.
const MAX_PEERS: usize = 4096;

impl WrongTokens {
    /// How long the answer has to wait; `None` when too many wait already.
    pub(crate) fn next_slot(&self, peer: &Peer, now: Time) -> Option<Duration> {
        // Ports change with each attempt, hosts do not.
        let name = peer.name.rsplit_once(':').map_or(peer.name.as_str(), |(host, _)| host);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.len() >= MAX_PEERS {
            next.retain(|_, slot| *slot > now.mono);
        }
        if next.len() >= MAX_PEERS {
            return None;
        }
        let slot = next.entry(name.to_owned()).or_insert(now.mono);
        let at = (*slot).max(now.mono);
        let wait = at.saturating_sub(now.mono);
        if wait > MAX_WAIT {
            return None;
        }
        *slot = at + SPACING;
        Some(wait)
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

    #[test]
    fn r27_wrong_tokens_are_spaced_by_peer_and_bounded() {
        let tokens = WrongTokens::default();
        let now = Time::default();
        let peer = |port: u16| Peer::named(format!("tcp 10.0.0.1:{port}"));
        let waits: Vec<_> = (0..4).map(|port| tokens.next_slot(&peer(port), now)).collect();
        let expected = [0, 100, 200, 300].map(|ms| Some(Duration::from_millis(ms)));
        assert_eq!(waits, expected);
        let other = tokens.next_slot(&Peer::named("unix uid=1"), now);
        assert_eq!(other, Some(Duration::ZERO), "one peer does not slow another");
        let refused = (0..200).filter(|_| tokens.next_slot(&peer(1), now).is_none()).count();
        assert!(refused > 90, "a flood is not queued without end: {refused}");
    }
}

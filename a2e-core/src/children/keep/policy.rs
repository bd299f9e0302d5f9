//! The restart policy as data, and its state machine, which reads no clock.

use std::collections::VecDeque;
use std::time::Duration;

/// When a program that has ended is started again: after `first`, then `factor` times longer after
/// each further end, `longest` at most. More than `burst` ends within `window` put it in quarantine.
///
/// ```
/// use a2e_core::children::{RestartPolicy, Restarts, Verdict};
/// use std::time::Duration;
/// let mut restarts = Restarts::new(RestartPolicy::default());
/// let first = restarts.ended(Duration::from_secs(1), Duration::ZERO);
/// assert_eq!(first, Verdict::After(Duration::from_millis(100)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// The wait after the first end; 100 ms.
    pub first: Duration,
    /// How much longer each further wait is; 2.
    pub factor: u32,
    /// The longest wait; 30 s.
    pub longest: Duration,
    /// The number of ends within `window` that are tolerated; 5.
    pub burst: u32,
    /// How far back ends are counted, 60 s. A run that lasts longer makes the next wait `first` again.
    pub window: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            factor: 2,
            longest: Duration::from_secs(30),
            burst: 5,
            window: Duration::from_mins(1),
        }
    }
}

/// What follows an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start again after this wait.
    After(Duration),
    /// Leave it until an operator says otherwise.
    Quarantine,
}

/// The ends of one program under its policy. Times are monotonic, from any one start.
#[derive(Clone, Debug)]
pub struct Restarts {
    policy: RestartPolicy,
    /// Ends within the window, oldest first; at most `burst` and one more.
    ends: VecDeque<Duration>,
    /// Ends since the last long run.
    streak: u32,
    /// The quarantine holds.
    is_quarantined: bool,
}

impl Restarts {
    /// No end yet.
    pub fn new(policy: RestartPolicy) -> Self {
        Self { policy, ends: VecDeque::new(), streak: 0, is_quarantined: false }
    }

    /// The program has ended at `now`, after a run of this length (zero when it did not start).
    pub fn ended(&mut self, now: Duration, run: Duration) -> Verdict {
        let Self { policy, ends, streak, is_quarantined } = self;
        while ends.front().is_some_and(|end| now.saturating_sub(*end) >= policy.window) {
            ends.pop_front();
        }
        ends.push_back(now);
        if ends.len() > policy.burst as usize {
            *is_quarantined = true;
            ends.pop_front();
        }
        if *is_quarantined {
            return Verdict::Quarantine;
        }
        if run > policy.window {
            *streak = 0;
        }
        let factor = policy.factor.saturating_pow(*streak);
        *streak = streak.saturating_add(1);
        Verdict::After(policy.first.saturating_mul(factor).min(policy.longest))
    }

    /// Whether it is left alone until [`reset`](Self::reset).
    pub fn is_quarantined(&self) -> bool {
        self.is_quarantined
    }

    /// Forgets all ends, and the quarantine.
    pub fn reset(&mut self) {
        *self = Self::new(self.policy);
    }
}

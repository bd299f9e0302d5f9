//! When a plugin that keeps failing gets no calls for a while (R33). Pure: the time is a parameter.

use std::time::Duration;

use super::BreakerState;
use super::window::Window;

/// This many failures one after another open the breaker.
const IN_A_ROW: u32 = 5;

/// How long it stays open at first, and at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// A probe that takes longer is not waited for: the next call tries as well.
const PROBE_LEASE: Duration = Duration::from_secs(30);

/// Whether a call may go to the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admit {
    /// It may.
    Go,
    /// It may, and decides whether others may. The number tells probes apart.
    Probe(u64),
    /// It may not, for this long.
    Wait(Duration),
}

/// Failures of one plugin instance: panics, crashes, and time-outs at its own deadlines.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    phase: Circuit,
    in_a_row: u32,
    recent: Window,
    /// How long it was open the last time; zero after it closed.
    waited: Duration,
    pub(crate) opened: u64,
    probes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Circuit {
    #[default]
    Closed,
    Open {
        until: Duration,
    },
    Probing {
        number: u64,
        since: Duration,
    },
}

impl Breaker {
    pub(crate) fn state(&self) -> BreakerState {
        match self.phase {
            Circuit::Closed => BreakerState::Closed,
            Circuit::Open { .. } => BreakerState::Open,
            Circuit::Probing { .. } => BreakerState::Probing,
        }
    }

    /// Whether nothing has to be noted of calls that end well.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.phase == Circuit::Closed && self.in_a_row == 0 && self.recent.is_empty()
    }

    /// Asks for one call. After the wait one call at a time is let through as a probe.
    pub(super) fn admit(&mut self, now: Duration) -> Admit {
        match self.phase {
            Circuit::Closed => Admit::Go,
            Circuit::Open { until } if now < until => Admit::Wait(until.saturating_sub(now)),
            Circuit::Probing { since, .. } if now < since + PROBE_LEASE => {
                Admit::Wait((since + PROBE_LEASE).saturating_sub(now))
            }
            Circuit::Open { .. } | Circuit::Probing { .. } => {
                self.probes += 1;
                self.phase = Circuit::Probing { number: self.probes, since: now };
                Admit::Probe(self.probes)
            }
        }
    }

    /// A probe ended without a verdict; the next call is one.
    pub(super) fn give_up_probe(&mut self, number: u64) {
        if matches!(self.phase, Circuit::Probing { number: open, .. } if open == number) {
            self.phase = Circuit::Open { until: Duration::ZERO };
        }
    }

    /// A call failed; true when that opened the breaker.
    pub(crate) fn failed(&mut self, now: Duration) -> bool {
        self.recent.note(now, false);
        self.in_a_row += 1;
        let opens = match self.phase {
            Circuit::Closed => self.in_a_row >= IN_A_ROW || self.recent.is_half_bad(),
            Circuit::Probing { .. } => true,
            // A call from before it opened.
            Circuit::Open { .. } => false,
        };
        if opens {
            self.waited = (self.waited * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
            self.phase = Circuit::Open { until: now + self.waited };
            self.recent.clear();
            self.opened += 1;
        }
        opens
    }

    /// A call ended well, whatever it answered; true when that closed the breaker.
    pub(crate) fn went_well(&mut self, now: Duration) -> bool {
        if let Circuit::Open { .. } = self.phase {
            // A call from before it opened says nothing about now.
            return false;
        }
        self.in_a_row = 0;
        if let Circuit::Probing { .. } = self.phase {
            *self = Self { opened: self.opened, probes: self.probes, ..Self::default() };
            return true;
        }
        self.recent.note(now, true);
        false
    }
}

#[cfg(test)]
mod tests;

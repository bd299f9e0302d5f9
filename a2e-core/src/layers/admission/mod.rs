//! Admission: whether a plugin takes a call now, by its phase, its breaker and its own word.

mod breaker;
mod entry;
mod health;
mod panics;
mod phase;
mod probe;
mod standing;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::breaker::{Admit, Breaker};
use self::health::HealthCell;
use self::phase::{Phase, PhaseCell};
use crate::Time;
use crate::clock::Clock;
use crate::protocol::PluginName;
use crate::sync::Mutex;

pub(crate) use entry::Entry;
pub use health::Health;
pub(crate) use panics::{Panics, Remedy};
pub(crate) use probe::Probe;
pub(crate) use standing::BreakerState;

/// Whether one plugin takes calls.
#[derive(Debug)]
pub(crate) struct Admission {
    plugin: PluginName,
    phase: PhaseCell,
    /// Guards counts; nothing runs under it.
    breaker: Mutex<Breaker>,
    /// Whether the breaker wants to know of calls that end well.
    has_trouble: AtomicBool,
    /// What the plugin says of itself, and why.
    health: HealthCell,
}

impl Admission {
    pub(crate) fn new(plugin: PluginName) -> Arc<Self> {
        Arc::new(Self {
            plugin,
            phase: PhaseCell::default(),
            breaker: Mutex::default(),
            has_trouble: AtomicBool::new(false),
            health: HealthCell::default(),
        })
    }

    /// Whether it takes messages, though perhaps not just now.
    pub(crate) fn is_serving(&self) -> bool {
        self.phase.get() < Phase::Failed
    }

    /// What is to be done with a call that comes now.
    pub(crate) fn entry(self: &Arc<Self>, clock: &dyn Clock) -> Entry {
        let plugin = &self.plugin;
        match self.phase.get() {
            Phase::Serving => Entry::Go(None),
            Phase::Troubled => match self.breaker.lock().admit(clock.now().mono) {
                Admit::Go => Entry::Go(None),
                Admit::Probe(number) => Entry::Go(Some(Probe::new(self, number))),
                Admit::Wait(wait) => Entry::left_alone(plugin, wait),
            },
            Phase::Down => Entry::refused(plugin, &format!("is down: {}", self.health().1)),
            Phase::Paused => Entry::Wait,
            Phase::Retired => Entry::Moved,
            Phase::Failed => Entry::refused(plugin, "has failed"),
        }
    }

    /// Where its breaker stands, and how often it opened.
    pub(crate) fn breaker_state(&self) -> (BreakerState, u64) {
        let breaker = self.breaker.lock();
        (breaker.state(), breaker.opened)
    }

    /// A call of it panicked, crashed, or passed the deadline of its type.
    pub(crate) fn note_failure(&self, now: Time) {
        let mut breaker = self.breaker.lock();
        self.has_trouble.store(true, Ordering::Release);
        if breaker.failed(now.mono) {
            tracing::warn!(plugin = %self.plugin, "it failed too often; calls are refused for a while");
            self.phase.change(Phase::Serving, Phase::Troubled);
        }
    }

    /// A call of it ended well, whatever it answered.
    pub(crate) fn note_well(&self, clock: &dyn Clock) {
        if !self.has_trouble.load(Ordering::Relaxed) {
            return;
        }
        let mut breaker = self.breaker.lock();
        if breaker.went_well(clock.now().mono) {
            tracing::info!(plugin = %self.plugin, "it is well again");
            self.phase.change(Phase::Troubled, Phase::Serving);
        }
        self.has_trouble.store(!breaker.is_at_rest(), Ordering::Release);
    }

    /// A probe has ended without a verdict: the next call may try.
    pub(super) fn give_up_probe(&self, number: u64) {
        self.breaker.lock().give_up_probe(number);
    }

    /// What the plugin says of itself.
    pub(crate) fn health(&self) -> (Health, String) {
        self.health.get()
    }

    /// Notes what the plugin says of itself.
    pub(crate) fn set_health(&self, health: Health, why: &str) {
        self.health.set(&self.plugin, health, why);
        if health == Health::Down {
            self.phase.change(Phase::Serving, Phase::Down);
            self.phase.change(Phase::Troubled, Phase::Down);
        } else {
            self.phase.change(Phase::Down, self.open_phase());
        }
    }

    /// The phase in which calls are let in.
    fn open_phase(&self) -> Phase {
        if self.health().0 == Health::Down {
            Phase::Down
        } else if self.breaker.lock().state() == BreakerState::Closed {
            Phase::Serving
        } else {
            Phase::Troubled
        }
    }

    /// Has calls wait, until [`resume`](Self::resume) or [`retire`](Self::retire).
    pub(crate) fn pause(&self) {
        for phase in [Phase::Serving, Phase::Troubled, Phase::Down] {
            self.phase.change(phase, Phase::Paused);
        }
    }

    /// Lets calls in again.
    pub(crate) fn resume(&self) {
        self.phase.change(Phase::Paused, self.open_phase());
    }

    /// Calls are refused from now on.
    pub(crate) fn fail(&self) {
        self.phase.advance(Phase::Failed);
    }

    /// Calls go to the instance in its place from now on.
    pub(crate) fn retire(&self) {
        self.phase.advance(Phase::Retired);
    }
}

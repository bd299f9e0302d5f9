//! Admission: whether a plugin takes a call now, by its phase, its breaker and its own word.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::BreakerState;
use super::breaker::{Admit, Breaker, Probe};
use crate::clock::Clock;
use crate::protocol::{ErrorCode, PluginName};
use crate::{Error, Time};

/// What the dispatcher reads before each call. The order matters: from [`FAILED`] on it never serves
/// again.
const SERVING: u8 = 0;
/// Its breaker is open or tries a probe.
const TROUBLED: u8 = 1;
/// It says itself that it cannot serve.
const DOWN: u8 = 2;
/// Its calls wait, until its state is handed over to another instance.
const PAUSED: u8 = 3;
const FAILED: u8 = 4;
/// Another instance stands in its place, or none.
const RETIRED: u8 = 5;

/// How a plugin says that it fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    #[default]
    Serving,
    /// It serves, though not as it should; shown in status.
    Degraded,
    /// It cannot serve: calls are refused with `unavailable` until it says otherwise.
    Down,
}

/// What is to be done with a call that comes to a plugin.
#[derive(Debug)]
pub(crate) enum Entry {
    /// It runs; as a probe where the breaker tries whether the plugin is well again.
    Go(Option<Probe>),
    /// It waits in the queue.
    Wait,
    /// It goes to the instance that stands in the plugin's place now.
    Moved,
    /// It does not run.
    Refused(Error),
}

/// Whether one plugin takes calls.
#[derive(Debug)]
pub(crate) struct Admission {
    plugin: PluginName,
    phase: AtomicU8,
    /// Guards counts; nothing runs under it.
    breaker: Mutex<Breaker>,
    /// Whether the breaker wants to know of calls that end well.
    has_trouble: AtomicBool,
    /// What the plugin says of itself, and why.
    health: Mutex<(Health, String)>,
}

impl Admission {
    pub(crate) fn new(plugin: PluginName) -> Arc<Self> {
        Arc::new(Self {
            plugin,
            phase: AtomicU8::new(SERVING),
            breaker: Mutex::default(),
            has_trouble: AtomicBool::new(false),
            health: Mutex::default(),
        })
    }

    /// Whether it takes messages, though perhaps not just now.
    pub(crate) fn is_serving(&self) -> bool {
        self.phase.load(Ordering::SeqCst) < FAILED
    }

    /// What is to be done with a call that comes now.
    pub(crate) fn entry(self: &Arc<Self>, clock: &dyn Clock) -> Entry {
        let plugin = &self.plugin;
        match self.phase.load(Ordering::SeqCst) {
            SERVING => Entry::Go(None),
            TROUBLED => match self.breaker().admit(clock.now().mono) {
                Admit::Go => Entry::Go(None),
                Admit::Probe(number) => Entry::Go(Some(Probe::new(self, number))),
                Admit::Wait(wait) => {
                    let text = format!("plugin `{plugin}` failed too often; it is left alone");
                    let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
                    Entry::Refused(unavailable(text).with_detail("retry_after_ms", ms))
                }
            },
            DOWN => {
                let (_, why) = self.health();
                Entry::Refused(unavailable(format!("plugin `{plugin}` is down: {why}")))
            }
            PAUSED => Entry::Wait,
            RETIRED => Entry::Moved,
            _ => Entry::Refused(unavailable(format!("plugin `{plugin}` has failed"))),
        }
    }

    /// The breaker; held to count, never while a plugin runs.
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its breaker stands, and how often it opened.
    pub(crate) fn breaker_state(&self) -> (BreakerState, u64) {
        let breaker = self.breaker();
        (breaker.state(), breaker.opened)
    }

    /// A call of it panicked, crashed, or passed the deadline of its type.
    pub(crate) fn note_failure(&self, now: Time) {
        let mut breaker = self.breaker();
        self.has_trouble.store(true, Ordering::Release);
        if breaker.failed(now.mono) {
            tracing::warn!(plugin = %self.plugin, "it failed too often; calls are refused for a while");
            self.change_phase(SERVING, TROUBLED);
        }
    }

    /// A call of it ended well, whatever it answered.
    pub(crate) fn note_well(&self, clock: &dyn Clock) {
        if !self.has_trouble.load(Ordering::Relaxed) {
            return;
        }
        let mut breaker = self.breaker();
        if breaker.went_well(clock.now().mono) {
            tracing::info!(plugin = %self.plugin, "it is well again");
            self.change_phase(TROUBLED, SERVING);
        }
        self.has_trouble.store(!breaker.is_at_rest(), Ordering::Release);
    }

    /// A probe has ended without a verdict: the next call may try.
    pub(super) fn give_up_probe(&self, number: u64) {
        self.breaker().give_up_probe(number);
    }

    /// What the plugin says of itself.
    pub(crate) fn health(&self) -> (Health, String) {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what the plugin says of itself.
    pub(crate) fn set_health(&self, health: Health, why: &str) {
        let mut told = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0 != health {
            tracing::info!(plugin = %self.plugin, ?health, why, "health");
        }
        *told = (health, why.to_owned());
        drop(told);
        if health == Health::Down {
            self.change_phase(SERVING, DOWN);
            self.change_phase(TROUBLED, DOWN);
        } else {
            self.change_phase(DOWN, self.open_phase());
        }
    }

    /// The phase in which calls are let in.
    fn open_phase(&self) -> u8 {
        if self.health().0 == Health::Down {
            DOWN
        } else if self.breaker().state() == BreakerState::Closed {
            SERVING
        } else {
            TROUBLED
        }
    }

    fn change_phase(&self, from: u8, to: u8) {
        // A later phase stands.
        let _kept = self.phase.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Has calls wait, until [`resume`](Self::resume) or [`retire`](Self::retire).
    pub(crate) fn pause(&self) {
        for phase in [SERVING, TROUBLED, DOWN] {
            self.change_phase(phase, PAUSED);
        }
    }

    /// Lets calls in again.
    pub(crate) fn resume(&self) {
        self.change_phase(PAUSED, self.open_phase());
    }

    /// Calls are refused from now on.
    pub(crate) fn fail(&self) {
        self.phase.fetch_max(FAILED, Ordering::SeqCst);
    }

    /// Calls go to the instance in its place from now on.
    pub(crate) fn retire(&self) {
        self.phase.store(RETIRED, Ordering::SeqCst);
    }
}

fn unavailable(text: String) -> Error {
    Error::new(ErrorCode::Unavailable, text)
}

//! A loaded plugin in its place: instance, order, permits, and how it fares.

mod breaker;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::Gate;
use crate::clock::Clock;
use crate::config::PluginConfig;
use crate::executor::SessionWork;
use crate::plugin::{Descriptor, Handler, Host, Loaded, PluginScope};
use crate::protocol::{CapabilityName, ErrorCode, PluginName};
use crate::{Error, Time};
use breaker::{Admission, Breaker, Panics};
pub(crate) use breaker::{BreakerState, Remedy};

/// Whether a plugin serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// It takes messages.
    Serving,
    /// It does not, because of this.
    Failed(String),
    /// It did, and panicked so often that it does no more.
    Quarantined(String),
}

/// What the dispatcher reads before each call.
const SERVING: u8 = 0;
/// Its breaker is open or tries a probe.
const TROUBLED: u8 = 1;
/// Its calls wait, until its state is handed over to another instance.
const PAUSED: u8 = 2;
const FAILED: u8 = 3;
/// Another instance stands in its place, or none.
const RETIRED: u8 = 4;

/// What is to be done with a call that comes to a plugin.
#[derive(Debug)]
pub(crate) enum Entry {
    /// It runs.
    Go,
    /// It waits in the queue.
    Wait,
    /// It goes to this one, which stands in its place now.
    Moved(Arc<PluginSlot>),
    /// It does not run.
    Refused(Error),
}

/// A plugin that was built, with everything the dispatcher keeps about it.
pub(crate) struct PluginSlot {
    /// Tells its instance from all others of the host; its index in per-session tables.
    pub(crate) number: usize,
    pub(crate) name: PluginName,
    pub(crate) capability: CapabilityName,
    pub(crate) config: PluginConfig,
    pub(crate) descriptor: &'static Descriptor,
    pub(crate) priority: i64,
    pub(crate) is_exclusive: bool,
    pub(crate) scope: PluginScope,
    /// The longest that one of its handlers may take, where configured.
    pub(crate) deadline: Option<Duration>,
    /// The instance; for `scope: session` the one that only declares the handlers.
    pub(crate) instance: Arc<dyn Loaded>,
    pub(crate) host: Host,
    pub(crate) gate: Arc<Gate>,
    /// Shared by all instances that stood in this place.
    pub(crate) stats: Arc<PluginStats>,
    /// Guards the reason alone; whether it serves is known without the lock.
    state: Mutex<SlotState>,
    phase: AtomicU8,
    /// Guards counts; nothing runs under it.
    breaker: Mutex<Breaker>,
    /// Whether the breaker wants to know of calls that end well.
    has_trouble: AtomicBool,
    /// Who stands in its place.
    successor: OnceLock<Arc<PluginSlot>>,
    /// Why its saved state was not restored or not saved, the last time.
    state_problem: Mutex<Option<String>>,
    /// Who saves, clears or restores its state has this.
    pub(crate) saving: Arc<tokio::sync::Mutex<()>>,
    /// What is saved could not be restored and is not to be overwritten unasked.
    keeps_saved_state: AtomicBool,
    /// What it does for sessions beside their requests.
    pub(crate) session_work: SessionWork,
}

/// Answers may wait for this much work before they are sent, and other quick work for a thread. If the
/// work takes longer than it did before, the watchdog sends them and calls another thread.
const QUICK: Duration = Duration::from_micros(50);

/// After so many quick calls the next is expected to be quick as well.
const SURE: usize = 8;

/// What happened to a plugin's calls.
#[derive(Debug, Default)]
pub(crate) struct PluginStats {
    pub(crate) calls: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    /// Instances that were built in the place of another, with the same configuration.
    pub(crate) rebuilds: AtomicU64,
    /// When it panicked; guarded for a look.
    panic_times: Mutex<Panics>,
    /// How sure it is that its next call on a worker thread is over quickly.
    quickness: AtomicUsize,
}

impl PluginStats {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how long a call took on a worker thread.
    pub(crate) fn note_run(&self, took: Duration) {
        let before = self.quickness.load(Ordering::Relaxed);
        // A single long one may have lost its processor on the way; a second soon after is no accident.
        let was_quick = took < QUICK;
        let after =
            if was_quick { (before + 1).min(2 * SURE) } else { before.saturating_sub(SURE) };
        if after != before {
            self.quickness.store(after, Ordering::Relaxed);
        }
    }

    /// Whether its next call is likely to be over quickly.
    pub(crate) fn is_quick(&self) -> bool {
        self.quickness.load(Ordering::Relaxed) >= SURE
    }
}

/// What [`PluginSlot::new`] needs beyond the configuration.
pub(crate) struct Parts {
    pub(crate) number: usize,
    pub(crate) config: PluginConfig,
    pub(crate) descriptor: &'static Descriptor,
    pub(crate) instance: Arc<dyn Loaded>,
    pub(crate) host: Host,
    pub(crate) gate: Arc<Gate>,
    pub(crate) stats: Arc<PluginStats>,
    pub(crate) saving: Arc<tokio::sync::Mutex<()>>,
}

impl PluginSlot {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { number, config, descriptor, instance, host, gate, stats, saving } = parts;
        let meta = &config.metadata;
        Self {
            number,
            name: config.name.clone(),
            capability: config.capability.clone(),
            priority: meta.priority.unwrap_or(descriptor.priority),
            is_exclusive: meta.exclusive.unwrap_or(descriptor.exclusive),
            scope: meta.scope.unwrap_or(descriptor.scope),
            deadline: meta.deadline,
            descriptor,
            instance,
            host,
            gate,
            stats,
            state: Mutex::new(SlotState::Serving),
            phase: AtomicU8::new(SERVING),
            breaker: Mutex::default(),
            has_trouble: AtomicBool::new(false),
            successor: OnceLock::new(),
            state_problem: Mutex::new(None),
            saving,
            keeps_saved_state: AtomicBool::new(false),
            session_work: SessionWork::default(),
            config,
        }
    }

    /// The same instance in another place: with the priority, permits and deadline of this
    /// configuration. `gate` is its own where permits stay.
    pub(crate) fn moved(&self, config: PluginConfig, gate: Arc<Gate>) -> Self {
        Self::new(Parts {
            number: self.number,
            config,
            descriptor: self.descriptor,
            instance: Arc::clone(&self.instance),
            host: self.host.clone(),
            gate,
            stats: Arc::clone(&self.stats),
            saving: Arc::clone(&self.saving),
        })
    }

    /// The handlers that an instance declares.
    pub(crate) fn handlers(&self) -> &[Arc<Handler>] {
        self.instance.handlers()
    }

    /// Whether its saved state, which could not be restored, is left as it is.
    pub(crate) fn keeps_saved_state(&self) -> bool {
        self.keeps_saved_state.load(Ordering::Acquire)
    }

    pub(crate) fn keep_saved_state(&self, keeps: bool) {
        self.keeps_saved_state.store(keeps, Ordering::Release);
    }

    /// Whether it takes messages, though perhaps not just now.
    pub(crate) fn is_serving(&self) -> bool {
        self.phase.load(Ordering::SeqCst) < FAILED
    }

    /// What is to be done with a call that comes now.
    pub(crate) fn entry(&self, clock: &dyn Clock) -> Entry {
        match self.phase.load(Ordering::SeqCst) {
            SERVING => Entry::Go,
            TROUBLED => match self.breaker().admit(clock.now().mono) {
                Admission::Go => Entry::Go,
                Admission::Wait(wait) => {
                    let text = format!("plugin `{}` failed too often; it is left alone", self.name);
                    let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
                    Entry::Refused(unavailable(text).with_detail("retry_after_ms", ms))
                }
            },
            PAUSED => Entry::Wait,
            RETIRED => match self.successor.get() {
                Some(successor) => Entry::Moved(Arc::clone(successor)),
                None => Entry::Refused(unavailable(format!("plugin `{}` was removed", self.name))),
            },
            _ => Entry::Refused(unavailable(format!("plugin `{}` has failed", self.name))),
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
            tracing::warn!(plugin = %self.name, "it failed too often; calls are refused for a while");
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
            tracing::info!(plugin = %self.name, "it is well again");
            self.change_phase(TROUBLED, SERVING);
        }
        self.has_trouble.store(!breaker.is_at_rest(), Ordering::Release);
    }

    /// A call of it panicked: what is to be done beyond the answer.
    pub(crate) fn note_panic(&self, now: Time) -> Remedy {
        self.stats.panic_times.lock().unwrap_or_else(PoisonError::into_inner).panicked(now.mono)
    }

    /// Its state is not to be trusted, it says.
    pub(crate) fn note_suspect(&self, now: Time) -> Remedy {
        self.stats.panic_times.lock().unwrap_or_else(PoisonError::into_inner).remedy(now.mono)
    }

    fn change_phase(&self, from: u8, to: u8) {
        // Whoever changed it meanwhile knows more.
        let _kept = self.phase.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Has calls wait, until [`resume`](Self::resume) or [`retire`](Self::retire). What runs, runs on.
    pub(crate) fn pause(&self) {
        self.change_phase(SERVING, PAUSED);
        self.change_phase(TROUBLED, PAUSED);
        self.gate.pause();
    }

    /// Lets calls in again.
    pub(crate) fn resume(&self) {
        let is_closed = self.breaker().state() == BreakerState::Closed;
        self.change_phase(PAUSED, if is_closed { SERVING } else { TROUBLED });
        self.gate.resume();
    }

    /// From now on calls go to the successor; without one they are refused.
    pub(crate) fn retire(&self, successor: Option<&Arc<PluginSlot>>) {
        if let Some(successor) = successor {
            // A slot is replaced once.
            let _first = self.successor.set(Arc::clone(successor));
        }
        self.phase.store(RETIRED, Ordering::SeqCst);
        if !successor.is_some_and(|it| Arc::ptr_eq(&it.gate, &self.gate)) {
            self.gate.close();
        }
    }

    pub(crate) fn state(&self) -> SlotState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is wrong with its saved state, as of the last restore or save.
    pub(crate) fn state_problem(&self) -> Option<String> {
        self.state_problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_state_problem(&self, problem: Option<String>) {
        *self.state_problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// Takes the plugin out of service; the reason is shown in status.
    pub(crate) fn fail(&self, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::error!(plugin = %self.name, %reason, "plugin failed");
        self.end_service(SlotState::Failed(reason));
    }

    /// Takes it out of service until an operator has it built anew.
    pub(crate) fn quarantine(&self, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::error!(plugin = %self.name, %reason, "plugin quarantined");
        self.end_service(SlotState::Quarantined(reason));
    }

    fn end_service(&self, state: SlotState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.phase.fetch_max(FAILED, Ordering::SeqCst);
        // What waits is told so.
        self.gate.resume();
    }
}

fn unavailable(text: String) -> Error {
    Error::new(ErrorCode::Unavailable, text)
}

impl fmt::Debug for PluginSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginSlot").field("name", &self.name).finish_non_exhaustive()
    }
}

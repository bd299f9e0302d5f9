//! The watchdog: an OS thread with a clock of its own that ends what hangs.
//!
//! It looks at the sessions that have work every [`TICK`] and sleeps for good while there is none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::active::{CancelReason, NEVER};
use super::contain::catch;
use super::ticket::Ticket;
use crate::executor::Kernel;
use crate::session::Session;
use crate::{Result, Time};

/// How often running calls are looked at. A deadline is met this much late at most.
const TICK: Duration = Duration::from_millis(25);

/// How long a handler may go on after its request was ended early, before its thread counts as stuck.
const GRACE: Duration = Duration::from_secs(1);

/// A reader that is in one handler for less than this is slow, not hung.
const HANG: Duration = Duration::from_secs(1);

/// No inline handler may take longer, whatever its type declares: it holds up a whole session.
const INLINE_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    state: Mutex<Watched>,
    /// Wakes the thread when something is to be watched again.
    wake: Condvar,
    is_stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct Watched {
    sessions: Vec<Arc<Session>>,
    /// Runs whose request has ended, with the time at which they are given up.
    lingering: Vec<(Arc<Ticket>, Duration)>,
}

impl Watchdog {
    /// Starts the thread. It ends when the kernel is gone or [`stop`](Self::stop) is called.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(kernel: &Arc<Kernel>) -> Result<()> {
        let kernel: Weak<Kernel> = Arc::downgrade(kernel);
        std::thread::Builder::new().name("a2e-watchdog".into()).spawn(move || {
            while let Some(kernel) = kernel.upgrade() {
                let watchdog = &kernel.watchdog;
                if watchdog.is_stopped.load(Ordering::Acquire) {
                    return;
                }
                watchdog.sleep();
                watchdog.look(&kernel);
            }
        })?;
        Ok(())
    }

    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        self.wake.notify_all();
    }

    /// Guards the lists; nothing of a plugin or a transport runs under it.
    fn lock(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep(&self) {
        let state = self.lock();
        if state.sessions.is_empty() && state.lingering.is_empty() {
            // Long, but not for ever: the thread also ends when the kernel is dropped.
            let idle = Duration::from_secs(1);
            drop(self.wake.wait_timeout(state, idle).unwrap_or_else(PoisonError::into_inner));
        } else {
            drop(state);
            std::thread::sleep(TICK);
        }
    }

    /// Watches a session from now until it has no work.
    pub(crate) fn watch(&self, session: &Arc<Session>) {
        let mut state = self.lock();
        let was_idle = state.sessions.is_empty() && state.lingering.is_empty();
        state.sessions.push(Arc::clone(session));
        drop(state);
        if was_idle {
            self.wake.notify_all();
        }
    }

    /// Watches a run whose request has ended.
    pub(crate) fn linger(&self, ticket: Arc<Ticket>, now: Time) {
        if ticket.is_running() {
            self.lock().lingering.push((ticket, now.mono + GRACE));
            self.wake.notify_all();
        }
    }

    fn look(&self, kernel: &Arc<Kernel>) {
        let now = kernel.clock.now();
        let (sessions, lingering) = {
            let mut state = self.lock();
            (std::mem::take(&mut state.sessions), std::mem::take(&mut state.lingering))
        };
        if !sessions.is_empty() {
            kernel.pool.call_waiting();
            kernel.outgoing.send_waiting();
        }
        let mut busy = Vec::with_capacity(sessions.len());
        let mut has_ended_some = false;
        for session in sessions {
            // Whatever goes wrong with one session, the others keep their deadlines.
            match catch(|| look_at(&session, now)) {
                Ok(has_ended) => has_ended_some |= has_ended,
                Err(panic) => tracing::error!(panic, "the watchdog panicked"),
            }
            if session.stays_watched() {
                busy.push(session);
            }
        }
        if has_ended_some {
            kernel.sweep();
        }
        let mut waiting = Vec::with_capacity(lingering.len());
        for (ticket, until) in lingering {
            if !ticket.is_running() {
                continue;
            }
            if now.mono >= until {
                ticket.abandon();
            } else {
                waiting.push((ticket, until));
            }
        }
        let mut state = self.lock();
        state.sessions.append(&mut busy);
        state.lingering.append(&mut waiting);
    }
}

/// Ends what is late in this session; true when something was.
fn look_at(session: &Arc<Session>, now: Time) -> bool {
    let now_us = now.mono_us();
    let mut has_ended_some = false;
    // Replies that wait behind a slow inline handler.
    session.sink.flush();
    // One that has left the reader is about to be forgotten there; whatever it does, it does elsewhere.
    let inline = session.inline().filter(|it| !it.was_listed());
    if let Some(active) = inline {
        let limit = active.accepted.mono_us() + micros(INLINE_LIMIT);
        let step = active.step_deadline_us.load(Ordering::Acquire);
        let due = active.deadline_us.min(limit).min(step);
        if now_us >= due && session.is_open() {
            if !active.has_ended() {
                active.end_early(CancelReason::Timeout);
            }
            // A deadline may be as short as its sender likes; only this long a stay is a hang. One
            // that has answered may still hang, in a hook.
            if now_us >= due.max(active.accepted.mono_us() + micros(HANG)) {
                session.note_hung_reader(&active);
            }
        }
    }
    for active in session.listed() {
        if active.has_ended() {
            continue;
        }
        let step = active.step_deadline_us.load(Ordering::Acquire);
        if active.deadline_us != NEVER && now_us >= active.deadline_us {
            active.end_early(CancelReason::Timeout);
            has_ended_some = true;
        } else if now_us >= step {
            active.step_deadline_us.store(NEVER, Ordering::Release);
            active.give_up_step();
        }
    }
    has_ended_some
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(NEVER)
}

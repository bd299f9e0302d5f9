//! What the watchdog looks at: sessions that have work, and handlers that go on after the answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, PoisonError};
use std::time::Duration;

use super::{Request, Session};
use crate::Time;
use crate::sync::Mutex;

/// How long a handler may go on after its request was ended early, before its run counts as stuck.
const GRACE: Duration = Duration::from_secs(1);

/// The watchdog's list.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Guards the lists; nothing of a plugin or a transport runs under it.
    watched: Mutex<Watched>,
    /// Wakes the watchdog when something is to be watched again.
    wake: Condvar,
    is_stopped: AtomicBool,
}

#[derive(Debug, Default)]
pub(crate) struct Watched {
    pub(crate) sessions: Vec<Arc<Session>>,
    /// Requests that were answered while a handler runs, with the time at which the run is stuck.
    pub(crate) lingering: Vec<(Arc<Request>, Duration)>,
}

impl Watched {
    fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.lingering.is_empty()
    }
}

impl Watch {
    /// Watches a session from now until it has no work.
    pub(super) fn session(&self, session: &Arc<Session>) {
        let mut watched = self.watched.lock();
        let was_idle = watched.is_empty();
        watched.sessions.push(Arc::clone(session));
        drop(watched);
        if was_idle {
            self.wake.notify_all();
        }
    }

    /// Watches a request whose handler goes on after the answer.
    pub(super) fn linger(&self, request: &Arc<Request>, now: Time) {
        if request.course.given_up().is_none() {
            // On the reader, which is watched with its session.
            return;
        }
        self.watched.lock().lingering.push((Arc::clone(request), now.mono + GRACE));
        self.wake.notify_all();
    }

    pub(crate) fn take(&self) -> Watched {
        std::mem::take(&mut *self.watched.lock())
    }

    pub(crate) fn put_back(&self, mut again: Watched) {
        let mut watched = self.watched.lock();
        watched.sessions.append(&mut again.sessions);
        watched.lingering.append(&mut again.lingering);
    }

    /// Sleeps one tick, or for long while there is nothing to watch.
    pub(crate) fn sleep(&self, tick: Duration) {
        let watched = self.watched.lock();
        if watched.is_empty() {
            // Not for ever: the watchdog also ends when its host is dropped.
            let idle = Duration::from_secs(1);
            drop(self.wake.wait_timeout(watched, idle).unwrap_or_else(PoisonError::into_inner));
        } else {
            drop(watched);
            std::thread::sleep(tick);
        }
    }

    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        self.wake.notify_all();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }
}

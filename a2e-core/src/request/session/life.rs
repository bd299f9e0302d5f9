//! The life of a session: new, ready, draining, closed.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::Session;
use crate::sync::{Mutex, wait_until};

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum SessionPhase {
    /// No good handshake yet.
    New = 0,
    /// Serving.
    Ready = 1,
    /// It takes no more requests; those in flight may finish.
    Draining = 2,
    /// Over.
    Closed = 3,
}

/// Where a session stands, and what its end waits for.
#[derive(Debug, Default)]
pub(crate) struct Life {
    phase: AtomicU8,
    /// When the session was told to end; the earliest deadline wins.
    drain_until: Mutex<Option<Duration>>,
    /// Things that the drain waits for beside requests.
    pub(super) holds: AtomicUsize,
    /// Whether plugins have been told of its end.
    is_told: AtomicBool,
    pub(super) is_watched: AtomicBool,
    /// Wakes tasks that wait for holds to end or a later phase.
    pub(super) changed: Notify,
    /// Wakes tasks that wait for a later phase alone: a reader that waits for input is not to be woken
    /// by each hold that ends.
    advanced: Notify,
}

impl Life {
    pub(crate) fn phase(&self) -> SessionPhase {
        match self.phase.load(Ordering::Acquire) {
            0 => SessionPhase::New,
            1 => SessionPhase::Ready,
            2 => SessionPhase::Draining,
            _ => SessionPhase::Closed,
        }
    }

    /// Goes on to a later phase; never back.
    pub(crate) fn advance(&self, phase: SessionPhase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.advanced.notify_waiters();
        self.changed.notify_waiters();
    }

    /// Whether it takes no more requests.
    pub(crate) fn is_ending(&self) -> bool {
        self.phase() >= SessionPhase::Draining
    }

    /// True for the first caller, which tells plugins that the session has ended.
    pub(crate) fn begin_end(&self) -> bool {
        !self.is_told.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn has_been_told(&self) -> bool {
        self.is_told.load(Ordering::Acquire)
    }

    fn drain_deadline(&self) -> Option<Duration> {
        *self.drain_until.lock()
    }

    async fn wait_phase(&self, phase: SessionPhase) {
        wait_until(&self.advanced, || self.phase() >= phase).await;
    }
}

impl Session {
    pub(crate) fn is_open(&self) -> bool {
        self.life.phase() != SessionPhase::Closed && !self.outbox.is_dead()
    }

    /// Takes no more requests and ends when idle, at `until` (monotonic) at the latest.
    pub(crate) fn drain(&self, until: Duration) {
        let mut deadline = self.life.drain_until.lock();
        *deadline = Some(deadline.map_or(until, |earlier| earlier.min(until)));
        drop(deadline);
        self.life.advance(SessionPhase::Draining);
    }

    /// Whether nothing is left to do: no request, no hold, and all that was answered has left.
    fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
            && self.life.holds.load(Ordering::Acquire) == 0
            && (self.outbox.unsent() == 0 || self.outbox.is_dead())
    }

    /// Waits until this holds, which the end of requests and holds and a later phase may change.
    pub(crate) async fn wait_changed(&self, done: impl Fn(&Self) -> bool) {
        loop {
            let (life, requests) =
                (self.life.changed.notified(), self.in_flight.changed.notified());
            tokio::pin!(life, requests);
            life.as_mut().enable();
            requests.as_mut().enable();
            if done(self) {
                return;
            }
            tokio::select! {
                () = life => {}
                () = requests => {}
            }
        }
    }

    /// Waits until no handler of this session runs beyond the reader.
    pub(crate) async fn quiet(&self) {
        // Runs give their places back without telling; this is asked once in the life of a session.
        while self.place().running() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Waits for room, or for the end of the session.
pub(crate) async fn unless_draining(session: &Session, room: impl Future<Output = bool>) -> bool {
    tokio::select! {
        has_room = room => has_room,
        () = drained(session) => false,
    }
}

/// Waits until a session that drains is idle or past its deadline.
pub(crate) async fn drained(session: &Session) {
    session.life.wait_phase(SessionPhase::Draining).await;
    loop {
        let now = session.now().mono;
        let left =
            session.life.drain_deadline().map_or(Duration::ZERO, |until| until.saturating_sub(now));
        if left.is_zero() || session.life.phase() == SessionPhase::Closed {
            return;
        }
        let is_done = |it: &Session| it.is_idle() || it.life.phase() == SessionPhase::Closed;
        // Woken again when the deadline is brought forward.
        let idle = session.wait_changed(is_done);
        if tokio::time::timeout(left.min(Duration::from_millis(50)), idle).await.is_ok() {
            return;
        }
    }
}

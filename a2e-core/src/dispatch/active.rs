//! A request that is being worked on: what is shared by its handler, the watchdog and its sender.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::fold::Chain;
use super::ticket::Ticket;
use super::{PluginSlot, Route};
use crate::executor::Kernel;
use crate::session::Session;
use crate::{Error, Time};

/// No deadline, in microseconds.
pub(crate) const NEVER: u64 = u64::MAX;

/// Why a request is to end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum CancelReason {
    /// Its sender asked for it.
    Cancelled = 1,
    /// The connection is lost.
    ClientGone = 2,
    /// Its deadline passed.
    Timeout = 3,
    /// The session or the host ends.
    Shutdown = 4,
    /// It was answered; whoever still works on it can stop.
    Answered = 5,
}

/// Who gets the answer.
#[derive(Debug)]
pub(crate) enum Target {
    /// The client, through the session's sink.
    Client,
    /// Another handler that asked for it.
    Caller(Mutex<Option<oneshot::Sender<NestedReply>>>),
}

/// The answer to a nested request: the body fields of the reply, or the error.
pub(crate) type NestedReply = Result<Vec<u8>, Error>;

/// Runs when the answer was queued; true when it was a reply.
pub(crate) type AfterReply = Box<dyn FnOnce(bool) + Send>;

pub(crate) struct Active {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) session: Arc<Session>,
    pub(crate) route: Arc<Route>,
    pub(crate) id: String,
    pub(crate) correlation_id: Option<Box<str>>,
    pub(crate) input_bytes: usize,
    /// Of the line, to tell a repeat from another request under the same id; 0 until it is noted.
    fingerprint: AtomicU64,
    /// Whether it has left the reader.
    was_listed: AtomicBool,
    pub(crate) accepted: Time,
    /// Monotonic microseconds; [`NEVER`] without one.
    pub(crate) deadline_us: u64,
    pub(crate) target: Target,
    /// The request whose handler made this one.
    pub(crate) parent: Option<Arc<Active>>,
    /// Whether it is in the session's table.
    pub(crate) is_listed: AtomicBool,
    /// When its first handler began, in monotonic microseconds; 0 while it waits.
    started_us: AtomicU64,
    /// When the handler of the current step is given up, in monotonic microseconds.
    pub(crate) step_deadline_us: AtomicU64,
    events: Mutex<Events>,
    cancelled: AtomicU8,
    cancel: Notify,
    /// Guards the progress; held to note what a handler said, never while one runs.
    chain: Mutex<Chain>,
    /// The run of the current step, when it is not on the reader.
    ticket: Mutex<Option<Arc<Ticket>>>,
    /// The plugin that works on it now.
    slot: Mutex<Option<Arc<PluginSlot>>>,
    after: Mutex<Vec<AfterReply>>,
    has_after: AtomicBool,
    /// When it ended, in nanoseconds on the monotonic and the wall scale; 0 before.
    ended: [AtomicU64; 2],
}

/// What a lock guards, where nobody else can have it.
fn get_mut<T>(mutex: &mut Mutex<T>) -> &mut T {
    mutex.get_mut().unwrap_or_else(PoisonError::into_inner)
}

/// The events of a request. The lock also orders them before the end.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(crate) next_seq: u64,
    pub(crate) has_ended: bool,
    pub(crate) is_muted: bool,
}

/// What the reader knows about a request.
pub(crate) struct Accepted<'a> {
    pub(crate) id: &'a str,
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) input_bytes: usize,
    pub(crate) at: Time,
    pub(crate) deadline_us: u64,
}

/// Tells a line from others of its length; never 0. Only the sender of both can make two lines that
/// it mixes up, and only in its own session.
fn fingerprint(line: &str) -> u64 {
    1 << 32 | u64::from(crc32c::crc32c(line.as_bytes()))
}

impl Active {
    /// A request of a client.
    pub(crate) fn new(
        kernel: &Arc<Kernel>,
        session: &Arc<Session>,
        route: &Arc<Route>,
        accepted: &Accepted<'_>,
    ) -> Self {
        Self {
            kernel: Arc::clone(kernel),
            session: Arc::clone(session),
            route: Arc::clone(route),
            id: accepted.id.to_owned(),
            correlation_id: accepted.correlation_id.map(Into::into),
            input_bytes: accepted.input_bytes,
            fingerprint: AtomicU64::new(0),
            was_listed: AtomicBool::new(false),
            accepted: accepted.at,
            deadline_us: accepted.deadline_us,
            target: Target::Client,
            parent: None,
            is_listed: AtomicBool::new(false),
            started_us: AtomicU64::new(0),
            step_deadline_us: AtomicU64::new(NEVER),
            events: Mutex::default(),
            cancelled: AtomicU8::new(0),
            cancel: Notify::new(),
            chain: Mutex::default(),
            ticket: Mutex::new(None),
            slot: Mutex::new(route.inline_slot().cloned()),
            after: Mutex::default(),
            has_after: AtomicBool::new(false),
            ended: Default::default(),
        }
    }

    /// Makes the object of a client's request that has ended the one of another of its session.
    pub(crate) fn renew(&mut self, route: &Arc<Route>, accepted: &Accepted<'_>) {
        /// An id that took more than this is not kept for the next request.
        const KEPT_ID: usize = 256;

        if !Arc::ptr_eq(&self.route, route) {
            self.route = Arc::clone(route);
        }
        self.id.clear();
        self.id.shrink_to(KEPT_ID);
        self.id.push_str(accepted.id);
        self.correlation_id = accepted.correlation_id.map(Into::into);
        self.input_bytes = accepted.input_bytes;
        self.accepted = accepted.at;
        self.deadline_us = accepted.deadline_us;
        *self.fingerprint.get_mut() = 0;
        *self.started_us.get_mut() = 0;
        *self.step_deadline_us.get_mut() = NEVER;
        *self.cancelled.get_mut() = 0;
        self.ended = Default::default();
        *get_mut(&mut self.events) = Events::default();
        *self.was_listed.get_mut() = false;
        *self.is_listed.get_mut() = false;
        *get_mut(&mut self.chain) = Chain::default();
        *get_mut(&mut self.ticket) = None;
        if std::mem::take(self.has_after.get_mut()) {
            get_mut(&mut self.after).clear();
        }
        let slot = get_mut(&mut self.slot);
        match route.inline_slot() {
            Some(inline) if slot.as_ref().is_some_and(|slot| Arc::ptr_eq(slot, inline)) => {}
            other => *slot = other.cloned(),
        }
    }

    /// Notes when it ended.
    pub(crate) fn note_end(&self, now: Time) {
        let [mono, wall] = &self.ended;
        let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        mono.store(nanos(now.mono), Ordering::Relaxed);
        wall.store(nanos(now.wall), Ordering::Relaxed);
    }

    /// When it ended, as who ended it knows.
    pub(crate) fn ended_at(&self) -> Option<Time> {
        let [mono, wall] = &self.ended;
        let time = |at: &AtomicU64| std::time::Duration::from_nanos(at.load(Ordering::Relaxed));
        let ended = Time { mono: time(mono), wall: time(wall) };
        (!ended.wall.is_zero()).then_some(ended)
    }

    /// Whether only the reader knows of it, by its handle and by the place of the inline request.
    pub(crate) fn is_known_to_reader_alone(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) <= 2
    }

    pub(crate) fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the line as it came, before an interceptor changes it.
    pub(crate) fn note_line(&self, line: &str) {
        self.fingerprint.store(fingerprint(line), Ordering::Release);
    }

    /// Notes that the request leaves the reader; `line` counts only if none was noted before.
    pub(crate) fn note_leaving(&self, line: &str) {
        if self.fingerprint.load(Ordering::Acquire) == 0 {
            self.note_line(line);
        }
        self.was_listed.store(true, Ordering::Release);
    }

    /// Whether this line is the one it came as, once more.
    pub(crate) fn is_repeated_by(&self, line: &str) -> bool {
        self.input_bytes == line.len()
            && self.fingerprint.load(Ordering::Acquire) == fingerprint(line)
    }

    /// Whether it has left the reader.
    pub(crate) fn was_listed(&self) -> bool {
        self.was_listed.load(Ordering::Acquire)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.events().has_ended
    }

    /// Tells everyone who works on it to stop. The first reason stays.
    pub(crate) fn cancel(&self, reason: CancelReason) {
        let first =
            self.cancelled.compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire);
        if first.is_ok() {
            self.cancel.notify_waiters();
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire) != 0
    }

    pub(crate) fn cancel_reason(&self) -> Option<CancelReason> {
        Some(match self.cancelled.load(Ordering::Acquire) {
            1 => CancelReason::Cancelled,
            2 => CancelReason::ClientGone,
            3 => CancelReason::Timeout,
            4 => CancelReason::Shutdown,
            5 => CancelReason::Answered,
            _ => return None,
        })
    }

    /// Waits for [`cancel`](Self::cancel).
    pub(crate) async fn cancelled(&self) {
        loop {
            let notified = self.cancel.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.is_cancelled() {
                return;
            }
            notified.await;
        }
    }

    /// Notes that a handler begins.
    pub(crate) fn begin(&self, slot: &Arc<PluginSlot>, now_us: u64) {
        // Only the first handler's start counts; later steps belong to the run.
        if self.started_us.load(Ordering::Acquire) == 0 {
            self.started_us.store(now_us.max(1), Ordering::Release);
        }
        let limit = slot.deadline.map_or(NEVER, |limit| {
            now_us.saturating_add(u64::try_from(limit.as_micros()).unwrap_or(NEVER))
        });
        self.step_deadline_us.store(limit, Ordering::Release);
    }

    /// When the first handler began, or `None` while it waits.
    pub(crate) fn started_us(&self) -> Option<u64> {
        Some(self.started_us.load(Ordering::Acquire)).filter(|started| *started != 0)
    }

    pub(crate) fn set_slot(&self, slot: Option<Arc<PluginSlot>>) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = slot;
    }

    pub(crate) fn slot(&self) -> Option<Arc<PluginSlot>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_ticket(&self, ticket: Option<Arc<Ticket>>) {
        *self.ticket.lock().unwrap_or_else(PoisonError::into_inner) = ticket;
    }

    pub(crate) fn ticket(&self) -> Option<Arc<Ticket>> {
        self.ticket.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs `hook` once the answer is queued. When it already is, the hook runs at once.
    pub(crate) fn after_reply(&self, hook: AfterReply) {
        {
            // Under the lock of the end, so that a hook is neither lost nor run twice.
            let events = self.events();
            if !events.has_ended {
                self.has_after.store(true, Ordering::Release);
                self.after.lock().unwrap_or_else(PoisonError::into_inner).push(hook);
                return;
            }
        }
        hook(false);
    }

    pub(crate) fn take_after(&self) -> Vec<AfterReply> {
        if !self.has_after.load(Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut *self.after.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether this request or one that led to it holds a permit of this plugin.
    pub(crate) fn ancestry_holds(&self, plugin: usize) -> bool {
        let mut ancestor = self.parent.as_ref();
        while let Some(request) = ancestor {
            if request.slot().is_some_and(|slot| slot.number == plugin) {
                return true;
            }
            ancestor = request.parent.as_ref();
        }
        false
    }

    /// How many requests led to this one.
    pub(crate) fn depth(&self) -> usize {
        std::iter::successors(self.parent.as_ref(), |request| request.parent.as_ref()).count()
    }
}

impl std::fmt::Debug for Active {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Active")
            .field("id", &self.id)
            .field("type", &self.route.spec.wire_type)
            .finish_non_exhaustive()
    }
}

//! A session: one connection, its handshake, its requests in flight, its plugin state.
//!
//! One that can be resumed outlives its connection: a [`Resumable`] stands for it while it waits,
//! and another connection becomes the same session.

mod control;
mod handshake;
mod inline;
mod instances;
mod operator;
mod outgoing;
mod reader;
mod refuse;
mod resume;
pub(crate) mod serve;
mod sink;
mod withheld;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use serde::Serialize;
use tokio::sync::Notify;

use crate::audit::AuditRecord;
use crate::codec::encode_fields;
use crate::codec::envelope::write_message;
use crate::dispatch::{Active, CancelReason, EmitError, discard};
use crate::executor::Kernel;
use crate::protocol::{CapabilityName, SessionId};
use crate::transport::Peer;
use crate::{Result, Time};

pub(crate) use control::CORE_TYPES;
pub(crate) use handshake::WrongTokens;
use instances::Belongings;
pub(crate) use instances::Instance;
pub(crate) use outgoing::Outgoing;
pub(crate) use refuse::nearest_types;
pub(crate) use resume::{Ending, Kept, Principal, Resumable, Resumables};
pub(crate) use sink::ReplySink;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// No good handshake yet.
    New = 0,
    /// Serving.
    Ready = 1,
    /// It takes no more requests; those in flight may finish.
    Draining = 2,
    /// Over.
    Closed = 3,
}

pub(crate) struct Session {
    /// The id that it was opened with; that of the session that it goes on with, if it does, is
    /// [`id`](Self::id).
    first_id: SessionId,
    pub(crate) peer: Peer,
    pub(crate) sink: Arc<ReplySink>,
    pub(crate) kernel: Arc<Kernel>,
    phase: AtomicU8,
    is_authenticated: AtomicBool,
    /// Whether it shook hands with the operator token.
    is_operator: AtomicBool,
    /// The name of the agent, set by the first handshake that gives one.
    agent_id: OnceLock<Arc<str>>,
    /// The capabilities that its handshakes accepted.
    used: Mutex<Vec<CapabilityName>>,
    /// Requests that have left the reader, by id. At most what gates and queues hold.
    in_flight: DashMap<Box<str>, Arc<Active>>,
    in_flight_bytes: AtomicUsize,
    /// Requests whose handlers run now.
    running: AtomicI64,
    /// Things that the drain waits for beside requests.
    holds: AtomicUsize,
    /// The request whose handler runs on the reader now, or the one before.
    inline: Mutex<Option<Arc<Active>>>,
    /// Whether it runs now.
    is_inline: AtomicBool,
    is_reading: AtomicBool,
    is_watched: AtomicBool,
    belongings: Belongings,
    /// What outlives this connection, where the agent asked for that.
    resumable: OnceLock<Arc<Resumable>>,
    /// Whether plugins have been told of its end.
    is_told: AtomicBool,
    /// When the session was told to end; the earliest deadline wins.
    drain_until: Mutex<Option<Duration>>,
    /// Wakes whoever waits for requests, runs or holds to end.
    changed: Notify,
    /// Wakes whoever waits for a later phase alone: a reader that waits for input is not to be woken by
    /// each request that ends.
    advanced: Notify,
}

impl Session {
    pub(crate) fn new(
        kernel: &Arc<Kernel>,
        id: SessionId,
        peer: Peer,
        sink: Arc<ReplySink>,
    ) -> Arc<Self> {
        Arc::new(Self {
            first_id: id,
            peer,
            sink,
            kernel: Arc::clone(kernel),
            phase: AtomicU8::new(Phase::New as u8),
            is_authenticated: AtomicBool::new(kernel.config.auth_token.is_none()),
            is_operator: AtomicBool::new(false),
            agent_id: OnceLock::new(),
            used: Mutex::default(),
            // Two shards: a session has one reader and few threads at its end.
            in_flight: DashMap::with_shard_amount(2),
            in_flight_bytes: AtomicUsize::new(0),
            running: AtomicI64::new(0),
            holds: AtomicUsize::new(0),
            inline: Mutex::new(None),
            is_inline: AtomicBool::new(false),
            is_reading: AtomicBool::new(false),
            is_watched: AtomicBool::new(false),
            belongings: Belongings::default(),
            resumable: OnceLock::new(),
            is_told: AtomicBool::new(false),
            drain_until: Mutex::new(None),
            changed: Notify::new(),
            advanced: Notify::new(),
        })
    }

    /// Its id; that of an earlier connection once it goes on with its session.
    pub(crate) fn id(&self) -> &SessionId {
        self.resumable.get().map_or(&self.first_id, |resumable| &resumable.id)
    }

    /// True for the first who asks, who tells plugins that it has ended.
    pub(crate) fn begin_end(&self) -> bool {
        !self.is_told.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn has_been_told(&self) -> bool {
        self.is_told.load(Ordering::Acquire)
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::New,
            1 => Phase::Ready,
            2 => Phase::Draining,
            _ => Phase::Closed,
        }
    }

    /// Goes on to a later phase; never back.
    fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.advanced.notify_waiters();
        self.changed.notify_waiters();
    }

    /// Whether it may be served beyond the handshake.
    fn is_authenticated(&self) -> bool {
        self.is_authenticated.load(Ordering::Acquire)
    }

    fn has_operator_token(&self) -> bool {
        self.is_operator.load(Ordering::Acquire)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase() != Phase::Closed && !self.sink.is_dead()
    }

    /// The agent's name; empty before a handshake that gives one.
    pub(crate) fn agent_id(&self) -> Arc<str> {
        self.agent_id.get().cloned().unwrap_or_default()
    }

    pub(crate) fn agent_id_ref(&self) -> Option<&str> {
        self.agent_id.get().map(AsRef::as_ref)
    }

    /// Appends an audit record; the batch that it belongs to commits it.
    pub(crate) fn kernel_audit(&self, record: &AuditRecord<'_>) {
        self.kernel.audit(record);
    }

    /// Sends a message that answers no request.
    pub(crate) fn push<T: Serialize + ?Sized>(
        self: &Arc<Self>,
        wire_type: &str,
        body: &T,
        req_id: Option<&str>,
    ) -> Result<(), EmitError> {
        self.queue(wire_type, body, req_id)?;
        self.flush_unless_reading();
        Ok(())
    }

    /// As [`push`](Self::push), but left for the next flush.
    pub(crate) fn queue<T: Serialize + ?Sized>(
        self: &Arc<Self>,
        wire_type: &str,
        body: &T,
        req_id: Option<&str>,
    ) -> Result<(), EmitError> {
        let mut fields = Vec::with_capacity(128);
        encode_fields(body, &mut fields).map_err(|error| EmitError::Encode(error.to_string()))?;
        let now = self.kernel.clock.now();
        self.sink.append(|out| {
            write_message(out, &self.kernel.ids, now, wire_type, req_id, &fields);
        });
        Ok(())
    }

    /// Sends what is queued, unless the reader is about to do so with its batch.
    pub(crate) fn flush_unless_reading(&self) {
        if !self.is_reading.load(Ordering::Acquire) {
            self.sink.flush();
        }
    }

    // --- requests in flight

    /// Lists a request that leaves the reader, so that it can be cancelled and times out.
    pub(crate) fn list(self: &Arc<Self>, active: &Arc<Active>) {
        if active.is_listed.swap(true, Ordering::AcqRel) {
            // An earlier handler of its route has left the reader before.
            return;
        }
        self.in_flight_bytes.fetch_add(active.input_bytes, Ordering::AcqRel);
        self.in_flight.insert(active.id.as_str().into(), Arc::clone(active));
        self.be_watched();
        if active.has_ended() {
            // Ended while its inline handler decided to go on elsewhere.
            self.forget(active);
        }
    }

    /// Forgets a request that has ended.
    pub(crate) fn forget(&self, active: &Active) {
        // Most requests are never listed, and looking is cheaper than taking.
        let was_listed = active.is_listed.load(Ordering::Acquire)
            && active.is_listed.swap(false, Ordering::AcqRel);
        if !was_listed {
            return;
        }
        self.in_flight
            .remove_if(active.id.as_str(), |_, listed| std::ptr::eq(Arc::as_ptr(listed), active));
        self.in_flight_bytes.fetch_sub(active.input_bytes, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    /// The request in flight under this id.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Active>> {
        if self.in_flight_bytes.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.in_flight.get(id).map(|entry| Arc::clone(entry.value()))
    }

    /// Every request that has left the reader.
    pub(crate) fn listed(&self) -> Vec<Arc<Active>> {
        self.in_flight.iter().map(|entry| Arc::clone(entry.value())).collect()
    }

    pub(crate) fn has_too_many_bytes(&self) -> bool {
        self.in_flight_bytes.load(Ordering::Acquire)
            >= self.kernel.config.limits.max_in_flight_bytes
    }

    pub(crate) fn note_running(&self, change: i64) {
        let before = self.running.fetch_add(change, Ordering::SeqCst);
        if before + change == 0 {
            self.changed.notify_waiters();
        }
    }

    /// Whether handlers of this session run beyond the reader.
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::SeqCst) > 0
    }

    /// Waits until no handler of this session runs beyond the reader.
    pub(crate) async fn quiet(&self) {
        self.wait_changed(|it| !it.is_running()).await;
    }

    /// Whether one more handler of this session may run.
    pub(crate) fn may_run(&self) -> bool {
        let running = self.running.load(Ordering::SeqCst).max(0);
        usize::try_from(running).unwrap_or(usize::MAX) < self.kernel.config.limits.max_in_flight
    }

    /// Ends every request in flight.
    pub(crate) fn end_all(&self, reason: CancelReason) {
        for active in self.listed() {
            active.end_early(reason);
        }
        self.kernel.sweep();
    }

    // --- what the watchdog asks

    fn be_watched(self: &Arc<Self>) {
        if !self.is_watched.swap(true, Ordering::SeqCst) {
            self.kernel.watchdog.watch(self);
        }
    }

    /// Whether the watchdog must look again; else the session reports itself when it has work.
    pub(crate) fn stays_watched(&self) -> bool {
        let is_busy = |session: &Self| {
            !session.in_flight.is_empty() || session.is_reading.load(Ordering::SeqCst)
        };
        if is_busy(self) {
            return true;
        }
        self.is_watched.store(false, Ordering::SeqCst);
        // Work that came in between saw the flag still set and did not report itself.
        is_busy(self) && !self.is_watched.swap(true, Ordering::SeqCst)
    }

    /// The reader of this session hangs in a handler: the session is cut.
    pub(crate) fn note_hung_reader(self: &Arc<Self>, active: &Active) {
        let plugin = active.slot().map(|slot| slot.name.to_string()).unwrap_or_default();
        tracing::error!(session = %self.id(), %plugin, r#type = %active.route.spec.wire_type,
            "an inline handler hangs; its session is cut");
        self.kernel.counters.hung_readers.add();
        self.advance(Phase::Closed);
        self.end_all(CancelReason::Shutdown);
        let session = Arc::clone(self);
        self.kernel.runtime.spawn(async move {
            // What was answered before gets a moment to leave.
            let _gone = tokio::time::timeout(Duration::from_millis(500), session.sink.sent()).await;
            session.sink.kill();
            session.kernel.remove_session(&session);
            if session.peer.is_stdio {
                session.kernel.fail("an inline handler hangs on stdio");
            }
        });
    }

    /// Whether it asked for this capability and got it.
    pub(crate) fn uses(&self, capability: &CapabilityName) -> bool {
        self.phase() == Phase::Ready
            && self.used.lock().unwrap_or_else(PoisonError::into_inner).contains(capability)
    }

    fn note_used(&self, capabilities: Vec<CapabilityName>) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = capabilities;
    }

    // --- the end

    /// Takes no more requests and ends when idle, at `until` (monotonic) at the latest.
    pub(crate) fn drain(&self, until: Duration) {
        let mut deadline = self.drain_until.lock().unwrap_or_else(PoisonError::into_inner);
        *deadline = Some(deadline.map_or(until, |earlier| earlier.min(until)));
        drop(deadline);
        self.advance(Phase::Draining);
    }

    fn drain_deadline(&self) -> Option<Duration> {
        *self.drain_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is left to do: no request, no hold, and all that was answered has left.
    fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
            && self.holds.load(Ordering::Acquire) == 0
            && (self.sink.unsent() == 0 || self.sink.is_dead())
    }

    /// Requests that have left the reader.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    async fn wait_changed(&self, done: impl Fn(&Self) -> bool) {
        self.wait_on(&self.changed, done).await;
    }

    async fn wait_phase(&self, phase: Phase) {
        self.wait_on(&self.advanced, |it| it.phase() >= phase).await;
    }

    async fn wait_on(&self, told: &Notify, done: impl Fn(&Self) -> bool) {
        loop {
            let changed = told.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if done(self) {
                return;
            }
            changed.await;
        }
    }

    fn now(&self) -> Time {
        self.kernel.clock.now()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Empty unless a handler outlived the session's end. Who drops the session is not a plugin.
        for state in self.take_states() {
            discard("state of a session", state);
        }
        for instance in self.take_instances() {
            discard("session instance", instance.loaded);
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("id", self.id())
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Keeps a session from closing while it lives; see [`SessionHandle::hold`](crate::dispatch::SessionHandle::hold).
#[derive(Debug)]
pub struct Hold(Arc<Session>);

impl Hold {
    pub(crate) fn new(session: &Arc<Session>) -> Self {
        session.holds.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(session))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_waiters();
    }
}

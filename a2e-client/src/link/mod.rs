//! The link: shared by the reader and all callers of one client, over all its connections.

pub(crate) mod end;
pub(crate) mod mailbox;
pub(crate) mod outbox;
pub(crate) mod pending;
pub(crate) mod reader;
pub(crate) mod router;
pub(crate) mod stats;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use a2e_core::codec::envelope::{encode_message, write_message};
use a2e_core::protocol::{Cancel, HandshakeResponse, IdSource, Message};
use a2e_core::transport::ByteSink;
use a2e_core::{Clock, SystemClock};

use crate::error::ClientError;
use crate::link::end::End;
use crate::link::outbox::Outbox;
use crate::link::pending::PendingTable;
use crate::link::stats::{Counters, Stats};
use crate::options::Options;
use crate::push::PushTable;
use crate::reconnect::policy::WhileAway;
use crate::reconnect::state::{ConnectionState, SessionStart, StateHandler};
use crate::transport::Process;

/// A client without its reading end.
pub(crate) struct Link {
    pub(crate) ids: IdSource,
    pub(crate) options: Options,
    pub(crate) pending: PendingTable,
    pub(crate) pushes: Arc<PushTable>,
    pub(crate) counters: Counters,
    /// Where lines go: the outbox of the present connection, a dead one while there is none.
    wire: watch::Sender<Arc<Outbox>>,
    state: watch::Sender<ConnectionState>,
    on_state: Option<StateHandler>,
    session: RwLock<Option<Arc<HandshakeResponse>>>,
    /// The host process of the present connection.
    process: Mutex<Option<Arc<Process>>>,
    clock: SystemClock,
    /// One for each call that may wait for an answer at a time.
    permits: Semaphore,
    /// Calls that wait for the connection to come back.
    waiting: AtomicUsize,
    end: End,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("state", &*self.state.borrow()).finish_non_exhaustive()
    }
}

impl Link {
    /// With the first connection, which counts as connected once [`connected`](Self::connected) says so.
    pub(crate) fn new(
        sink: Arc<dyn ByteSink>,
        options: Options,
        pushes: Arc<PushTable>,
        on_state: Option<StateHandler>,
    ) -> Arc<Self> {
        Arc::new(Self {
            ids: IdSource::new(),
            pending: PendingTable::default(),
            pushes,
            counters: Counters::default(),
            wire: watch::Sender::new(Outbox::new(sink, options.max_unsent_bytes, 0)),
            state: watch::Sender::new(ConnectionState::Connected(SessionStart::First)),
            on_state,
            session: RwLock::default(),
            process: Mutex::default(),
            clock: SystemClock::new(),
            permits: Semaphore::new(options.max_pending.min(Semaphore::MAX_PERMITS)),
            waiting: AtomicUsize::new(0),
            end: End::default(),
            options,
        })
    }

    // --- the present connection

    /// The outbox of the present connection, or of the last one.
    pub(crate) fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.wire.borrow())
    }

    /// The connection stands: calls go there from now on.
    pub(crate) fn connected(
        &self,
        outbox: &Arc<Outbox>,
        session: Option<Arc<HandshakeResponse>>,
        start: SessionStart,
    ) {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = session;
        self.tell(ConnectionState::Connected(start));
        self.wire.send_replace(Arc::clone(outbox));
    }

    /// Publishes a state to the watchers. Nothing follows `Closed`.
    pub(crate) fn tell(&self, state: ConnectionState) {
        let is_told = self.state.send_if_modified(|now| {
            let is_over = matches!(now, ConnectionState::Closed(_));
            if !is_over {
                *now = state.clone();
            }
            !is_over
        });
        tracing::debug!(%state, is_told, "state of the connection");
        let Some(handler) = self.on_state.as_ref().filter(|_| is_told) else { return };
        if catch_unwind(AssertUnwindSafe(|| handler(&state))).is_err() {
            self.counters.handler_panics.add();
            tracing::error!("a state handler panicked");
        }
    }

    pub(crate) fn states(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    pub(crate) fn session(&self) -> Option<Arc<HandshakeResponse>> {
        self.session.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The host process of the present connection.
    pub(crate) fn process(&self) -> Option<Arc<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another in its place.
    pub(crate) fn replace_process(&self, next: Option<Process>) -> Option<Arc<Process>> {
        let next = next.map(Arc::new);
        std::mem::replace(&mut *self.process.lock().unwrap_or_else(PoisonError::into_inner), next)
    }

    // --- turns

    /// Waits until one more call may wait for an answer.
    pub(crate) async fn permit(&self) -> Result<SemaphorePermit<'_>, ClientError> {
        self.permits.acquire().await.map_err(|_| self.why_closed())
    }

    /// Gives back a permit that was forgotten.
    pub(crate) fn return_permit(&self) {
        self.permits.add_permits(1);
    }

    /// Waits for a connection whose transport is not too far behind; short messages need not stand in
    /// line with long ones.
    pub(crate) async fn room(&self, is_short: bool) -> Result<Arc<Outbox>, ClientError> {
        loop {
            self.check_open()?;
            let outbox = self.outbox();
            let has_room =
                if is_short { outbox.room_for_short().await } else { outbox.room().await };
            if has_room {
                self.check_open()?;
                return Ok(outbox);
            }
            if self.options.reconnect.is_none() {
                return Err(self.why_closed());
            }
            self.wait_for_connection().await?;
        }
    }

    async fn wait_for_connection(&self) -> Result<(), ClientError> {
        let Some(policy) = &self.options.reconnect else { return Ok(()) };
        if policy.while_away == WhileAway::Fail {
            return Err(self.why_away());
        }
        let _place = Place::take(&self.waiting, policy.max_waiting)?;
        let mut wire = self.wire.subscribe();
        tokio::select! {
            // The sender is ours, so it is there.
            back = wire.wait_for(|outbox| !outbox.is_dead()) => drop(back),
            _ = self.ended() => {}
            () = self.end.wanted() => {}
        }
        self.check_open()
    }

    fn why_away(&self) -> ClientError {
        if let Err(closed) = self.check_open() {
            return closed;
        }
        let (attempt, reason) = match &*self.state.borrow() {
            ConnectionState::Reconnecting { attempt, reason } => (*attempt, reason.to_string()),
            _ => (1, "the connection was lost".to_owned()),
        };
        ClientError::Reconnecting { attempt, reason: reason.into() }
    }

    // --- lines

    /// The line of a message.
    pub(crate) fn encode<T: Serialize + ?Sized>(
        &self,
        id: &str,
        wire_type: &str,
        req_id: Option<&str>,
        body: &T,
    ) -> Result<Vec<u8>, ClientError> {
        let mut line = Vec::with_capacity(256);
        encode_message(&mut line, id, self.clock.now(), wire_type, req_id, body)?;
        // The newline does not count.
        let (bytes, limit) = (line.len() - 1, self.options.max_line_bytes);
        if bytes > limit {
            return Err(ClientError::TooLong { bytes, limit });
        }
        Ok(line)
    }

    /// Sends `cancel`. It does not wait for room: at most one goes with each request that did.
    pub(crate) fn cancel(&self, req_id: &str) -> bool {
        let mut line = Vec::with_capacity(160);
        let now = self.clock.now();
        write_message(&mut line, &self.ids, now, Cancel::TYPE, Some(req_id), &[]);
        let is_sent = self.outbox().append(&line);
        if is_sent {
            self.counters.cancels.add();
        }
        is_sent
    }

    pub(crate) fn stats(&self) -> Stats {
        let waiting = self.waiting.load(Ordering::Relaxed);
        self.counters.look(self.pending.len(), waiting, self.outbox().unsent())
    }
}

/// A place among the calls that wait for the connection; free again when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Result<Self, ClientError> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(waiting);
        if before < most { Ok(place) } else { Err(ClientError::TooManyWaiting { waiting: before }) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

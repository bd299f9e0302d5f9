//! The requests that are on their way to a server: whose they are, and under which numbers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use a2e_core::protocol::{Event, SessionId};
use a2e_core::request::Call;
use rmcp::model::{ClientRequest, GetExtensions, GetMeta, ProgressNotificationParam};
use rmcp::model::{ProgressToken, RequestId};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::tools::contract::ToolCall;

/// How long a server may still ask something for a request that was given up.
const AFTERMATH: Duration = Duration::from_secs(30);

/// Sessions that are remembered for requests that they gave up; with more, no question has an owner.
const MAX_GIVEN_UP: usize = 256;

/// The session and call behind a request to a server.
#[derive(Clone, Debug)]
pub(in crate::mcp) struct Asker {
    /// The request behind it: questions of the server go to its session.
    pub(in crate::mcp) call: Call,
    /// Where progress is told, for a tool.
    pub(in crate::mcp) tool: Option<ToolCall>,
}

/// Marks a request on its way through rmcp, which numbers it itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlightNumber(pub(super) u64);

/// Most bytes of messages that a server has not read yet. Calls beyond it wait, as long as their callers do.
const MAX_UNSENT: u32 = 16 << 20;

/// What a message costs while it waits, beside its bytes.
const EACH: u32 = 1 << 10;

/// The room of a message that waits to be sent; given back when rmcp drops the message, sent or not.
#[derive(Clone, Debug)]
pub(super) struct Room(
    #[allow(dead_code, reason = "it acts when dropped")] Arc<OwnedSemaphorePermit>,
);

/// The requests of one connection that are not answered.
#[derive(Debug)]
pub(super) struct Flights {
    /// Held for a look-up or a change. Bound: the calls that run at a time.
    open: Mutex<Table>,
    /// A permit for each byte that may wait to be sent.
    unsent: Arc<Semaphore>,
}

impl Default for Flights {
    fn default() -> Self {
        let unsent = Arc::new(Semaphore::new(MAX_UNSENT as usize));
        Self { open: Mutex::default(), unsent }
    }
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: BTreeMap<u64, Flight>,
    /// Sessions with requests that were given up lately, and how many. Bound: `MAX_GIVEN_UP`.
    given_up: HashMap<SessionId, usize>,
}

impl Table {
    /// Whether a question may belong to a request that another session has given up.
    fn is_unsure(&self, session: &SessionId) -> bool {
        self.given_up.len() >= MAX_GIVEN_UP || self.given_up.keys().any(|it| it != session)
    }
}

#[derive(Debug)]
struct Flight {
    asker: Option<Asker>,
    id: Option<RequestId>,
    token: Option<ProgressToken>,
    /// How far it was last.
    progress: f64,
}

impl Flights {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room for a message of this size; one that is larger than all of it waits for all.
    pub(super) async fn room(&self, bytes: usize) -> Option<Room> {
        let bytes = u32::try_from(bytes).unwrap_or(MAX_UNSENT).saturating_add(EACH);
        let room = Arc::clone(&self.unsent).acquire_many_owned(bytes.min(MAX_UNSENT)).await;
        // Closed never.
        room.ok().map(|room| Room(Arc::new(room)))
    }

    /// Room for a short message; none when the server leaves too much unread.
    pub(super) fn room_now(&self) -> Option<Room> {
        let room = Arc::clone(&self.unsent).try_acquire_many_owned(EACH);
        room.ok().map(|room| Room(Arc::new(room)))
    }

    /// A request that is about to be sent.
    pub(super) fn begin(self: &Arc<Self>, asker: Option<Asker>) -> OpenFlight {
        let mut table = self.table();
        table.next += 1;
        let number = table.next;
        let flight = Flight { asker, id: None, token: None, progress: f64::NEG_INFINITY };
        table.open.insert(number, flight);
        OpenFlight { number, flights: Arc::clone(self) }
    }

    /// A request leaves under its numbers: before anything about it can come back.
    pub(super) fn departs(&self, request: &ClientRequest, id: &RequestId) {
        let Some(FlightNumber(number)) = request.extensions().get::<FlightNumber>() else { return };
        let token = request.get_meta().get_progress_token();
        if let Some(flight) = self.table().open.get_mut(number) {
            flight.id = Some(id.clone());
            flight.token = token;
        }
    }

    /// Tells the caller how far its call is. What goes backwards is not told.
    pub(super) fn progressed(&self, it: &ProgressNotificationParam) {
        let mut table = self.table();
        let mut flights = table.open.values_mut();
        let Some(flight) = flights.find(|flight| flight.token.as_ref() == Some(&it.progress_token))
        else {
            return;
        };
        if it.progress <= flight.progress {
            return;
        }
        flight.progress = it.progress;
        let Some(tool) = flight.asker.as_ref().and_then(|asker| asker.tool.clone()) else { return };
        drop(table);
        let share = it.total.filter(|total| *total > 0.0).map(|total| 100.0 * it.progress / total);
        let share = share.unwrap_or(it.progress).clamp(0.0, 100.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
        let mut event = Event::progress(share as u8, it.message.clone().unwrap_or_default());
        event.data.insert("progress".to_owned(), it.progress.into());
        event.data.extend(it.total.map(|total| ("total".to_owned(), total.into())));
        // Dropped for a slow reader, as progress may be.
        tool.emit(event).ok();
    }

    /// Whose request a question of the server belongs to: as the transport tells. Where it does not tell, the
    /// newest, and only while all are of one session: another session's agent must not see the question.
    pub(super) fn caller(&self, origin: Option<&RequestId>) -> Option<Call> {
        let table = self.table();
        let call = |flight: &Flight| flight.asker.as_ref().map(|asker| asker.call.clone());
        if let Some(origin) = origin {
            return table.open.values().find(|it| it.id.as_ref() == Some(origin)).and_then(call);
        }
        let newest = table.open.values().rev().find_map(call)?;
        let mut askers = table.open.values().filter_map(|flight| flight.asker.as_ref());
        let is_one = askers.all(|asker| asker.call.session_id() == newest.session_id());
        (is_one && !table.is_unsure(newest.session_id())).then_some(newest)
    }

    /// A request was given up: its server may work on it, and ask, for a while yet. Gives the session for
    /// [`forget`](Self::forget).
    fn give_up(&self, number: u64) -> Option<SessionId> {
        let mut table = self.table();
        let flight = table.open.remove(&number)?;
        let session = flight.asker?.call.session_id().clone();
        let is_known = table.given_up.contains_key(&session);
        if !is_known && table.given_up.len() >= MAX_GIVEN_UP {
            return None;
        }
        *table.given_up.entry(session.clone()).or_default() += 1;
        Some(session)
    }

    /// The server is done with a request that this session gave up.
    fn forget(&self, session: &SessionId) {
        let mut table = self.table();
        if let Some(number) = table.given_up.get_mut(session) {
            *number -= 1;
            if *number == 0 {
                table.given_up.remove(session);
            }
        }
    }
}

/// Forgets a request when it is dropped.
#[derive(Debug)]
pub(super) struct OpenFlight {
    pub(super) number: u64,
    flights: Arc<Flights>,
}

impl OpenFlight {
    /// It is not waited for any more.
    pub(super) fn give_up(&self, runtime: &Handle) {
        let Some(session) = self.flights.give_up(self.number) else { return };
        let flights = Arc::clone(&self.flights);
        runtime.spawn(async move {
            tokio::time::sleep(AFTERMATH).await;
            flights.forget(&session);
        });
    }
}

impl Drop for OpenFlight {
    fn drop(&mut self) {
        self.flights.table().open.remove(&self.number);
    }
}

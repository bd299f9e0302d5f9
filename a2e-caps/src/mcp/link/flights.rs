//! The requests that are on their way to a server: whose they are, and under which numbers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use a2e_core::protocol::Event;
use a2e_core::request::Call;
use rmcp::model::{ClientRequest, GetExtensions, GetMeta, ProgressNotificationParam};
use rmcp::model::{ProgressToken, RequestId};

use crate::tools::contract::ToolCall;

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

/// The requests of one connection that are not answered.
#[derive(Debug, Default)]
pub(super) struct Flights(
    /// Guards the table; held for a look-up or a change. Bound: the calls that run at a time.
    Mutex<Table>,
);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: BTreeMap<u64, Flight>,
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Whose request a question of the server belongs to: as the transport tells, else the newest.
    pub(super) fn caller(&self, origin: Option<&RequestId>) -> Option<Call> {
        let table = self.table();
        let call = |flight: &Flight| flight.asker.as_ref().map(|asker| asker.call.clone());
        let named = origin.and_then(|origin| {
            table.open.values().find(|flight| flight.id.as_ref() == Some(origin)).and_then(call)
        });
        named.or_else(|| table.open.values().rev().find_map(call))
    }
}

/// Forgets a request when it is dropped.
#[derive(Debug)]
pub(super) struct OpenFlight {
    pub(super) number: u64,
    flights: Arc<Flights>,
}

impl Drop for OpenFlight {
    fn drop(&mut self) {
        self.flights.table().open.remove(&self.number);
    }
}

//! From a checked line to its one answer: routes, runs, folds, deadlines, permits.
//!
//! `run` asks the handlers of a route in order, `fold` folds what they say, `finish` is the one
//! place where a request ends. `gate` bounds what runs at a time, a `ticket` is one run's
//! permit, `pool`, `futures` and tokio's blocking threads run it, and `watchdog` ends what hangs.

mod active;
mod call;
mod contain;
mod finish;
mod fold;
mod futures;
mod gate;
mod nested;
mod pool;
mod route;
mod run;
mod slot;
mod ticket;
mod watchdog;

pub(crate) use active::{Accepted, Active, CancelReason};
pub use call::{Call, EmitError, Sent, SessionHandle};
pub(crate) use contain::{catch, discard, text_of};
pub(crate) use finish::error_body;
pub(crate) use futures::FutureThreads;
pub(crate) use gate::{Gate, Permits};
pub use nested::{Nested, Target as NestedTarget};
pub(crate) use pool::{WorkerPool, about_to_look, send_with_batch};
pub(crate) use route::{Route, RouteHandler, RouteTable};
pub(crate) use run::{Place, start};
pub(crate) use slot::{BreakerState, Parts, PluginSlot, PluginStats, Remedy, SlotState};
pub(crate) use watchdog::Watchdog;

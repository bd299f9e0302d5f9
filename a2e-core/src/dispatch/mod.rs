//! From a checked line to its one answer: routes, runs, folds, deadlines, permits.
//!
//! `run` asks the handlers of a route in order, `chain` folds what they say, `finish` is the one
//! place where a request ends. `gate` bounds what runs at a time, `pool` and tokio run it, and
//! `watchdog` ends what hangs.

mod active;
mod call;
mod chain;
mod finish;
mod gate;
mod merge;
mod nested;
mod pool;
mod route;
mod run;
mod slot;
mod watchdog;

pub(crate) use active::{Active, CancelReason, Target};
pub use call::{Call, EmitError, Sent, SessionHandle};
pub(crate) use finish::{Flush, Terminal};
pub(crate) use gate::Gate;
pub use nested::{Nested, Target as NestedTarget};
pub(crate) use pool::WorkerPool;
pub(crate) use route::{Route, RouteProblem, RouteTable};
pub(crate) use run::{Place, start};
pub(crate) use slot::{PluginSlot, SlotState};
pub(crate) use watchdog::Watchdog;

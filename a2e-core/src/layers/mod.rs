//! What stands between a request and its handler, each a value of its own: admission by phase and
//! breaker, permits and places, containment of panics, deadlines.
//!
//! `run::walk` puts them in order. Nothing here knows what a request is: what waits for a permit is
//! a [`Job`].

mod admission;
mod backlog;
mod contain;
mod deadline;
mod gate;
mod permit;
mod place;
mod trace;

pub use admission::Health;
pub(crate) use admission::{Admission, BreakerState, Entry, Panics, Probe, Remedy};
pub(crate) use contain::{catch, discard, text_of};
pub(crate) use deadline::{NEVER, limit, micros};
pub(crate) use gate::{Gate, Job, Permits};
pub(crate) use permit::{Permit, StuckMark, StuckThread};
pub(crate) use place::{Place, Shortage};
pub(crate) use trace::{Hop, Trace, TraceHead};

/// Where a handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Run {
    /// On the reader: bounded CPU work below 100 us, no I/O, no wait.
    Inline,
    /// On the worker pool: CPU-bound and short work.
    Pool,
    /// On a thread that may block: files, databases, foreign libraries.
    Blocking,
    /// As a future.
    Future,
}

impl Run {
    /// The name in configuration and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Pool => "pool",
            Self::Blocking => "blocking",
            Self::Future => "future",
        }
    }
}

//! The gate, permits and places as they are; the breaker's probe stands in.

#[path = "../../../a2e-core/src/layers/backlog.rs"]
mod backlog;
#[allow(dead_code, reason = "status needs more of it than models do")]
#[path = "../../../a2e-core/src/layers/gate.rs"]
mod gate;
#[allow(dead_code, reason = "the runners need more of it than models do")]
#[path = "../../../a2e-core/src/layers/permit.rs"]
mod permit;
#[path = "../../../a2e-core/src/layers/place.rs"]
mod place;

pub(crate) use gate::{Gate, Job, Permits};
pub(crate) use permit::{Permit, StuckMark, StuckThread};
pub(crate) use place::{Place, Shortage};

/// As the kernel's.
#[allow(dead_code, reason = "only the watchdog's look at a reader asks for it")]
pub(crate) const NEVER: u64 = u64::MAX;

/// Stands for the breaker's.
pub(crate) struct Probe;

/// As the kernel's.
#[allow(dead_code, reason = "models run on the pool")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Run {
    Inline,
    Pool,
    Blocking,
    Future,
}

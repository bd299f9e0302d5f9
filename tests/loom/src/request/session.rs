//! The table of a session as it is.

#[allow(dead_code, reason = "status needs more of it than models do")]
#[path = "../../../../a2e-core/src/request/session/in_flight.rs"]
mod in_flight;

pub(crate) use in_flight::InFlight;

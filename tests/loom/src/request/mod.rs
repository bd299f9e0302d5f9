//! The state and the course of a request, and the table of a session, as they are; the request
//! around them stands in.

#[allow(dead_code, reason = "events, audit and status need more of it than models do")]
#[path = "../../../../a2e-core/src/request/course.rs"]
mod course;
mod label;
#[expect(clippy::module_inception, reason = "the path of the kernel")]
mod request;
mod session;
#[path = "../../../../a2e-core/src/request/state.rs"]
mod state;

pub(crate) use course::{CancelReason, Now};
pub(crate) use label::PluginLabel;
pub(crate) use request::{Request, Said};
pub(crate) use session::InFlight;

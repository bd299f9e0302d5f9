//! A request and its one state, the session it belongs to, and what its handler sees of both.
//!
//! `Request` says what was asked and never changes; `State` says where it stands. Everything
//! that ends, cancels, times out or abandons a request is a transition of that state, and
//! `Request::end` is the one place where an answer is given.

mod approval;
mod asker;
mod call;
mod course;
mod end;
mod label;
mod nested;
#[expect(clippy::module_inception, reason = "the room is named after its first type")]
mod request;
mod services;
mod session;
mod spec;
mod state;
mod watch;

pub(crate) use approval::Approvals;
pub(crate) use asker::Asker;
pub use call::{Call, EmitError, Sent};
pub(crate) use course::{CancelReason, Now};
pub(crate) use end::{Verdict, error_fields, with_names};
pub(crate) use label::{PluginLabel, PluginStats};
pub(crate) use nested::{Ask, AskFor};
pub use nested::{Nested, NestedTarget};
pub use request::Answered;
pub(crate) use request::{Accepted, Continuation, Request, Said};
pub(crate) use services::{Above, Services};
pub use session::{Hold, OnDetach, SessionHandle};
pub(crate) use session::{KeptAnswer, Opened, Session, SessionPhase, drained, unless_draining};
pub use spec::TypeSpec;
pub(crate) use watch::Watched;

//! Interceptors: what a plugin may see, change or refuse of requests that are not its own.

use std::sync::Arc;

use super::BoxFuture;
use crate::Error;
use crate::codec::RawJson;
use crate::config::ApproveRule;
use crate::protocol::pattern::fits;
use crate::request::{Answered, Call};

/// Looks at requests before their handlers and after their answers.
///
/// A plugin registers one in its `start`, by a pattern of message types:
///
/// ```
/// use std::sync::Arc;
/// use a2e_core::plugin::{Answered, Before, Exchange, Host, Interceptor};
/// use a2e_core::{Error, Result, protocol::ErrorCode};
///
/// struct OfficeHours;
///
/// impl Interceptor for OfficeHours {
///     fn before(&self, exchange: &Exchange<'_>) -> Before {
///         if exchange.text().contains("rm -rf") {
///             return Before::Cancel(Error::new(ErrorCode::ToolDenied, "not here"));
///         }
///         Before::Continue
///     }
/// }
///
/// fn start(host: &Host) -> Result<()> {
///     host.intercept("office hours", "tool/call/*", 10, Arc::new(OfficeHours))
/// }
/// ```
///
/// `before` runs on the reader, like an inline handler: bounded work, no I/O, no wait; what takes
/// longer goes into [`Before::Later`]. A panic in it ends the request with `internal_error`: it may
/// have been a guard.
pub trait Interceptor: Send + Sync {
    /// Decides about a request that is accepted and not yet handled.
    fn before(&self, exchange: &Exchange<'_>) -> Before;

    /// Is told the one answer, after it was queued. It can change nothing.
    fn after(&self, exchange: &Exchange<'_>, answered: &Answered<'_>) {
        let _ = (exchange, answered);
    }
}

/// What becomes of a request.
pub enum Before {
    /// It goes on as it is.
    Continue,
    /// It goes on with these fields: an object without the envelope (`type` and `id` stay). Its
    /// deadline stays as well.
    Modify(RawJson),
    /// It ends here with this error.
    Cancel(Error),
    /// It waits until a principal with the right `approve` says yes or no, and ends with
    /// `approval_unavailable` where nobody is there; the text is why, for that person. The interceptors
    /// behind are asked before, so that what is approved is what goes on.
    Ask(String),
    /// That is decided by this future, which may wait; it must not end in `Later` again. It runs
    /// under the permits of the plugin that registered the interceptor and the request's deadline.
    Later(BoxFuture<Before>),
}

impl std::fmt::Debug for Before {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Continue => f.write_str("Continue"),
            Self::Modify(body) => f.debug_tuple("Modify").field(body).finish(),
            Self::Cancel(error) => f.debug_tuple("Cancel").field(error).finish(),
            Self::Ask(rule) => f.debug_tuple("Ask").field(rule).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// A request as interceptors see it.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    pub(crate) call: &'a Call,
    pub(crate) text: &'a str,
}

impl<'a> Exchange<'a> {
    /// The sender, its session and the time that is left: all that a handler sees.
    pub fn call(&self) -> &'a Call {
        self.call
    }

    /// The whole message as JSON, as the interceptors before left it; empty in
    /// [`Interceptor::after`].
    pub fn text(&self) -> &'a str {
        self.text
    }
}

/// A rule of the configuration asks for what fits it.
impl Interceptor for ApproveRule {
    fn before(&self, exchange: &Exchange<'_>) -> Before {
        if self.asks_for(exchange.call().wire_type(), exchange.text()) {
            return Before::Ask(self.name.clone());
        }
        Before::Continue
    }
}

/// An interceptor with where it stands, as plugins contribute it.
pub(crate) struct Interception {
    pub(crate) pattern: String,
    pub(crate) priority: i64,
    pub(crate) item: Arc<dyn Interceptor>,
}

impl Interception {
    pub(crate) fn takes(&self, wire_type: &str) -> bool {
        fits(&self.pattern, wire_type)
    }
}

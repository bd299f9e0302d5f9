//! What the principal of a session may ask for: types, and what they name.

use std::borrow::Cow;

use super::{Endpoint, Route};
use crate::codec::Incoming;
use crate::config::Named;
use crate::protocol::ErrorCode;
use crate::transport::{Allowed, Identity};
use crate::{Error, Result};

/// Whether a principal may send this line; `route` is that of its type, where there is one.
///
/// # Errors
/// `forbidden`, with the principal and what it may not use.
#[inline]
pub(crate) fn may_send(
    identity: &Identity,
    wire_type: &str,
    route: Option<&Route>,
    line: Incoming<'_>,
) -> Result<()> {
    match identity.allowed.as_deref() {
        None => Ok(()),
        Some(allowed) => look(allowed, wire_type, route, line)
            .map_err(|(what, name)| forbidden(identity, what, &name)),
    }
}

/// Whether a principal may send messages of this type, apart from what they name.
pub(crate) fn may_send_type(identity: &Identity, wire_type: &str, route: &Route) -> bool {
    identity.allowed.as_deref().is_none_or(|allowed| has_type(allowed, wire_type, Some(route)))
}

fn has_type(allowed: &Allowed, wire_type: &str, route: Option<&Route>) -> bool {
    let is_capability = |route: &Route| {
        route.handlers.iter().all(|it| allowed.has_capability(&it.endpoint.label.capability))
    };
    allowed.has_type(wire_type) || route.is_some_and(is_capability)
}

/// What of a line is not allowed: the kind of thing and its name.
#[cold]
fn look<'a>(
    allowed: &Allowed,
    wire_type: &'a str,
    route: Option<&Route>,
    line: Incoming<'a>,
) -> Result<(), (&'static str, Cow<'a, str>)> {
    if !has_type(allowed, wire_type, route) {
        return Err(("type", wire_type.into()));
    }
    for named in Named::linked().filter(|it| it.request == wire_type) {
        let name = line.field(named.name).and_then(|json| serde_json::from_str(json).ok());
        // What is no text is no name.
        let name: String = name.unwrap_or_default();
        // Of two names the handler might take the other one.
        if !allowed.has_name(named.many, &name)
            || (allowed.keeps(named.many) && line.is_ambiguous(named.name))
        {
            return Err((named.one, name.into()));
        }
    }
    Ok(())
}

fn forbidden(identity: &Identity, what: &'static str, name: &str) -> Error {
    // It comes from the peer, and may be as long as a line.
    let shown = name.get(..name.floor_char_boundary(256)).unwrap_or(name);
    let text = format!("`{}` may not use the {what} `{shown}`", identity.principal);
    Error::new(ErrorCode::Forbidden, text)
        .with_detail("principal", identity.principal.as_str())
        .with_detail(what, shown)
}

impl Endpoint {
    /// Whether a principal may use any of its handlers.
    pub(crate) fn is_open_to(&self, identity: &Identity) -> bool {
        identity.allowed.as_deref().is_none_or(|allowed| {
            allowed.has_capability(&self.label.capability)
                || self.handlers().iter().any(|it| allowed.has_type(&it.spec.wire_type))
        })
    }
}

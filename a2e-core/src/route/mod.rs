//! From a message type to the handlers that are asked, and from what they say to one answer.
//!
//! An [`Endpoint`] is a plugin as the dispatcher sees it; a [`RouteTable`] says which endpoints handle
//! a type, in which order; a [`View`] is the table of the plugins that a session sees.

mod allow;
mod endpoint;
mod fold;
mod table;
mod view;

pub(crate) use allow::{may_send, may_send_type};
pub(crate) use endpoint::{Endpoint, Found, Instances, Order};
pub(crate) use fold::Chain;
pub(crate) use table::{Route, RouteHandler, RouteProblem, RouteTable};
pub(crate) use view::{View, Views};

//! The commands beside `serve`, a file each: its flags and what it does.

pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod call;
pub(crate) mod check;
pub(crate) mod connect;
pub(crate) mod explain;
#[cfg(feature = "mcp")]
pub(crate) mod import;
pub(crate) mod learn;
pub(crate) mod manual;
#[cfg(feature = "mcp")]
pub(crate) mod mcp;
pub(crate) mod operate;
pub(crate) mod plugins;
mod refusal;
mod remote;
pub(crate) mod schema;
pub(crate) mod snapshot;
mod target;
#[cfg(feature = "top")]
pub(crate) mod top;

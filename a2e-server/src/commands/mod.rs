//! The commands beside `serve`, a file each: its flags and what it does.

pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod call;
pub(crate) mod check;
pub(crate) mod explain;
pub(crate) mod manual;
pub(crate) mod plugins;
mod remote;
pub(crate) mod schema;
pub(crate) mod snapshot;

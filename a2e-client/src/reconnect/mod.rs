//! A connection that comes back: when to try again, where, which session goes on, which calls are
//! sent again.

pub(crate) mod drive;
pub(crate) mod numbering;
pub(crate) mod policy;
pub(crate) mod repeat;
pub(crate) mod state;
pub(crate) mod target;

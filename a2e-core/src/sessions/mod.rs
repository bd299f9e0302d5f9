//! Serves sessions: takes lines from a connection, answers the kernel's own messages, and starts the
//! requests of plugins.

mod control;
mod front;
mod handshake;
mod hub;
mod intake;
mod operator;
mod pace;
mod reader;
mod refuse;
mod resume;
mod serve;

pub(crate) use control::CORE_TYPES;
pub use front::Front;
pub(crate) use hub::{Hub, OperatorDesk};
pub(crate) use refuse::nearest_types;
pub(crate) use serve::{begin, cut_hung, serve};

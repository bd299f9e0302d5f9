//! Carriers that only a client starts. Sockets and memory are `a2e_core::transport`'s.

mod process;
mod stderr;

pub use process::HostCommand;
pub(crate) use process::{Process, ProcessWatch};
pub use stderr::Stderr;

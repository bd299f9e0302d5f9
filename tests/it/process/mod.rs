//! The real program from outside: processes, pipes, sockets, files, signals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

mod audit;
mod children;
mod cli;
mod clients;
mod learn;
mod listen;
mod load;
mod mcp;
pub(crate) mod mcp_clients;
mod reference_client;
mod signals;
mod snapshots;
mod stdio;
pub(crate) mod support;
mod tools;

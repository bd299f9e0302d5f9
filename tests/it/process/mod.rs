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
mod listen;
mod load;
mod operate;
mod readme;
mod signals;
mod snapshots;
mod stdio;
mod support;
mod tools;

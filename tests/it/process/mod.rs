//! The real program from outside: processes, pipes, sockets, files, signals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

mod children;
mod clients;
mod proc_fs;
mod program;
mod signals;
mod stdio;
mod wire;

//! The client against real hosts (memory, sockets, child processes) and against hosts that misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod calls;
mod events;
mod faults;
mod handshake;
mod loss;
mod orders;
mod probe;
mod process;
mod pushes;
mod rate;
mod resume;
mod sockets;
mod support;

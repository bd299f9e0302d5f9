//! The client for programs without tokio (feature `blocking`): the same calls, each waiting on the
//! thread that makes it.
//!
//! ```no_run
//! use a2e_client::HostCommand;
//! use a2e_client::blocking::Client;
//! use a2e_core::protocol::Ping;
//!
//! # fn main() -> Result<(), a2e_client::ClientError> {
//! let client = Client::spawn(HostCommand::new("a2e").args(["serve", "--stdio"]))?;
//! let pong = client.rpc(&Ping {})?;
//! eprintln!("the host is up for {} s", pong.uptime_seconds);
//!
//! let mut pushes = client.pushes("env/state/push")?;
//! while let Some(push) = pushes.next()? {
//!     eprintln!("{}", push.text());
//! }
//! client.close()
//! # }
//! ```
//!
//! A client has one thread of its own, which reads, keeps the time, and calls the handlers. A call
//! that would block a thread that must not be blocked fails with
//! [`ClientError::WouldDeadlock`](crate::ClientError::WouldDeadlock) and does nothing else: one that
//! runs asynchronous tasks (threads of tokio's `spawn_blocking` count as such), and the client's own,
//! in a handler. Dropping is safe everywhere and never blocks.

mod calling;
mod client;
mod pushes;
mod thread;

pub use calling::{Calling, Events};
pub use client::Client;
pub use pushes::Pushes;

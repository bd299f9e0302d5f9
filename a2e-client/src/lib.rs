//! The other end of A2E: connect to a host, call it, follow events, receive pushes.
//!
//! A [`Client`] speaks over any [`Connection`](a2e_core::transport::Connection): a child process, a
//! Unix or TCP socket, or a host in the same program. It is cheap to clone and is used from many
//! tasks at once; it knows messages and no capability. It never repeats a call unless told that it may.
//!
//! ```
//! use a2e_client::{Client, Options};
//! use a2e_core::protocol::Ping;
//! use a2e_core::{Executor, config::HostConfig};
//!
//! # let runtime = tokio::runtime::Runtime::new().unwrap();
//! # runtime.block_on(async {
//! let host = Executor::builder(HostConfig::new()).lenient().start().await.unwrap(); // no plugin
//! let client = Client::connect(host.connect(), Options::new("doc")).await?;
//!
//! let pong = client.rpc(&Ping {}).await?;                       // a typed call
//! let _guard = client.on_push("env/state/push", |message| {     // what comes unasked
//!     eprintln!("{}", message.text());
//! });
//! assert!(pong.uptime_seconds >= 0.0);
//! client.close().await;
//! # Ok::<(), a2e_client::ClientError>(())
//! # }).unwrap();
//! ```
//!
//! [`Client::builder`] makes clients whose connection is made again when it is lost. Programs without
//! tokio use `a2e_client::blocking` (feature `blocking`).
//!
//! What comes in is delivered by three tests in this order: the reply to a call that waits, an event
//! of such a call, a handler of the message's type. Other messages are counted in [`Stats`] and dropped.

#[cfg(feature = "blocking")]
pub mod blocking;
mod builder;
mod calling;
mod client;
mod connect;
mod error;
mod handshake;
mod link;
mod message;
mod options;
mod push;
mod reconnect;
mod rpc;
mod transport;

pub use builder::ClientBuilder;
pub use calling::Calling;
pub use client::Client;
pub use connect::dial;
pub use error::{ClientError, Closed, HostError};
pub use link::stats::Stats;
pub use message::{EventMessage, Received};
pub use options::{Bound, CallOptions, Options};
pub use push::{PushStream, Subscription};
pub use reconnect::policy::{Reconnect, WhileAway};
pub use reconnect::state::{ConnectionState, SessionStart, StateWatch};
pub use transport::{HostCommand, Stderr};

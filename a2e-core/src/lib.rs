//! The kernel of A2E: protocol, codec, plugins, routes, sessions, children, audit, snapshots.
//!
//! A host is an [`Executor`]: it loads plugins as a [`HostConfig`](config::HostConfig) says, serves
//! connections, and moves messages. What a message means is a plugin's matter, see [`plugin`].
//! Without the feature `host` the crate holds only what a client needs: [`protocol`], [`codec`],
//! [`transport`].

#[macro_use]
mod show;

pub mod clock;
pub mod codec;
pub mod error;
pub mod protocol;
mod sync;
pub mod transport;

#[cfg(feature = "host")]
pub mod audit;
#[cfg(feature = "host")]
pub mod children;
#[cfg(feature = "host")]
pub mod config;
#[cfg(feature = "host")]
mod contribution;
#[cfg(feature = "host")]
mod counters;
#[cfg(feature = "host")]
pub mod executor;
#[cfg(feature = "host")]
mod layers;
#[cfg(feature = "host")]
mod lifecycle;
#[cfg(feature = "host")]
mod meters;
#[cfg(feature = "host")]
mod out;
#[cfg(feature = "host")]
pub mod plugin;
#[cfg(feature = "host")]
mod redact;
#[cfg(feature = "host")]
pub mod request;
#[cfg(feature = "host")]
mod route;
#[cfg(feature = "host")]
mod run;
#[cfg(feature = "host")]
pub mod schema;
#[cfg(feature = "host")]
mod sessions;
#[cfg(feature = "host")]
pub mod snapshot;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "test-util")]
pub mod testing;

pub use clock::{Clock, SystemClock, Time};
pub use error::{Error, Result};

#[cfg(feature = "host")]
pub use executor::Executor;
#[doc(hidden)]
#[cfg(feature = "host")]
pub use inventory;
#[cfg(feature = "host")]
pub use request::Hold;
#[cfg(feature = "host")]
pub use sessions::Front;

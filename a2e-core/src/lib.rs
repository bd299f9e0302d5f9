//! The kernel of A2E.

pub mod clock;
pub mod codec;
pub mod error;
pub mod protocol;

#[cfg(feature = "host")]
pub mod audit;
#[cfg(feature = "host")]
pub mod children;
#[cfg(feature = "host")]
pub mod config;
#[cfg(feature = "host")]
pub mod snapshot;

pub use clock::{Clock, SystemClock, Time};
pub use error::{Error, Result};

//! The servers: what they are, how they are started, what they cost.

mod build;
mod process;
pub mod raw;
mod start;
mod table;

pub use build::Programs;
pub use process::Running;
pub use start::Starter;
pub use table::{ALL, Entry, Kind, Wire};

//! Capabilities of A2E, one folder each: wire types, plugin, typed client, tests.
//!
//! Plugins register at link time. A program gets them all with `use a2e_caps as _;` and a call of
//! [`link`]; a crate that is only listed in `Cargo.toml` is left out by the linker.

mod base64;
pub mod chains;
pub mod demo;
pub mod env;
mod json;
pub mod learn;
pub mod mcp;
pub mod memory;
pub mod planning;
pub mod proc;
pub mod skills;
pub mod subagents;
#[cfg(feature = "http")]
mod tls;
pub mod toolkits;
pub mod tools;

/// Keeps this crate, and with it every plugin, in the program.
pub fn link() {
    std::hint::black_box(link as fn());
}

//! Tools: what an agent can call by name, with arguments as one JSON object.
//!
//! | request | reply | |
//! |---|---|---|
//! | `tool/list/req` | `tool/list/resp` | which tools there are, by tag and by search text |
//! | `tool/call/req` | `tool/call/resp` | runs one; `tool/event` while it works |
//!
//! `tool/changed/push` tells every session that the tools are others than before.
//!
//! Built in are `read_file`, `write_file` and `list_dir` below the folders that the setting `roots`
//! names. Other plugins offer more through [`contract::ToolProvider`].

mod catalog;
mod clean;
#[cfg(feature = "client")]
pub mod client;
pub mod contract;
mod fields;
mod files;
mod filter;
mod plugin;
pub mod protocol;
mod result;
mod schema;

#[cfg(test)]
mod tests;

pub use files::FileTool;
pub use plugin::{ToolConfig, ToolPlugin};

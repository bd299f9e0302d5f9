//! Tools: what an agent can call by name, with arguments as one JSON object.
//!
//! | request | reply | |
//! |---|---|---|
//! | `tool/list/req` | `tool/list/resp` | which tools there are, by tag and by search text |
//! | `tool/call/req` | `tool/call/resp` | runs one; `tool/event` while it works |
//!
//! `tool/changed/push` tells every session that the tools are others than before.
//!
//! Built in are `read_file`, `write_file`, `edit_file`, `list_dir` and, with the feature `search`, `glob`
//! and `grep` below the folders that the setting `roots` names; with the feature `http` also
//! `http_get`. Other plugins offer more through [`contract::ToolProvider`].
//!
//! A tool is served with the definition that it was approved with: the one whose hash the setting
//! `pinned` names, or else the first one of a run. With another one it is in quarantine: lists leave
//! it out and count it, calls get `tool_denied`.

mod base64;
mod builtin;
mod catalog;
#[cfg(feature = "client")]
pub mod client;
mod config;
mod content;
pub mod contract;
mod fields;
mod files;
mod filter;
mod http;
mod plugin;
pub mod protocol;
mod result;
mod schema;
#[cfg(feature = "search")]
mod search;

#[cfg(test)]
mod tests;

pub use catalog::Pin;
pub use config::{BuiltinTool, ToolConfig};
pub use http::{HttpGetConfig, Networks};
pub use plugin::ToolPlugin;

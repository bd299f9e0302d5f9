//! Tools: what an agent can call by name, with arguments as one JSON object.
//!
//! | request | reply | |
//! |---|---|---|
//! | `tool/list/req` | `tool/list/resp` | which tools there are, by tag and by search text |
//! | `tool/call/req` | `tool/call/resp` | runs one; `tool/event` while it works |

pub mod contract;
mod filter;
pub mod protocol;

//! The Model Context Protocol: what plugins offer to its clients beside tools, and what they ask them; and
//! servers of it as tools, resources and prompts of the host (feature `mcp`).
//!
//! | message | answer |
//! |---|---|
//! | `mcp/server/list/req` | the servers, where each stands, the end of its standard error |
//! | `mcp/server/register/req` | adds a server, where the settings allow its program or address |
//! | `mcp/server/unregister/req` | ends a server that a message had added |
//! | `mcp/resource/{list,read,subscribe}/req`, `mcp/prompt/{list,get}/req` | of one server, or of the one that lists it |
//! | `mcp/root/list/req` | the folders that servers are told of |
//! | `mcp/server/push` | pushed: what a server tells unasked |
//! | `mcp/sample/req`, `mcp/elicit/req` | asked of the agent whose call a server works on; it answers with `…/resp` |
//!
//! - The tools of a server are tools of the host, `<server>__<tool>`. A call starts its server where that does
//!   not run; a server that nobody uses is stopped after `idle_stop`, and listed from what it said last.
//! - A server that ends is started again: after 100 ms, then twice as long each time, 30 s at most; after more
//!   than 5 ends within a minute it is left alone for 30 s. Calls that it cut off fail with
//!   `mcp_server_unavailable`, retryable; its tools stay listed.
//! - A definition that changes waits for `a2e mcp approve` (R39).
//!
//! ```yaml
//! plugins:
//!   - {name: tools, type: tools, cls: a2e.caps.tools.plugin.ToolPlugin}
//!   - name: mcp
//!     type: mcp
//!     cls: a2e.caps.mcp.plugin.MCPPlugin
//!     metadata:
//!       servers:
//!         time: {command: [uvx, mcp-server-time]}
//!         docs: {url: "https://example.org/mcp", token_file: /run/secrets/docs}
//! ```

#[cfg(feature = "mcp")]
pub mod approvals;
mod asks;
#[cfg(all(feature = "mcp", feature = "client"))]
pub mod client;
#[cfg(feature = "mcp")]
mod config;
pub mod contract;
#[cfg(feature = "mcp")]
mod link;
#[cfg(feature = "mcp")]
mod offers;
#[cfg(feature = "mcp")]
mod plugin;
#[cfg(feature = "mcp")]
pub mod protocol;
#[cfg(feature = "mcp")]
#[cfg(test)]
mod tests;
#[cfg(feature = "mcp")]
mod upstream;

#[cfg(feature = "mcp")]
pub use config::{Approval, Era, McpConfig, ServerConfig, Servers, Transport, Words};

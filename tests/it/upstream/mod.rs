//! Servers of MCP behind the real program: their ends and those of its clients, the commands about them, servers that
//! others wrote.

mod commands;
mod conformance;
mod deaf;
mod deaf_client;
mod killed;
mod orders;
mod real;
mod sdks;

use std::time::Duration;

use crate::process::support::program::workspace;

/// No wait here is longer; a loaded machine takes its time to start Python.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The server of the capability's own tests.
pub(crate) fn program() -> String {
    workspace().join("a2e-caps/src/mcp/tests/upstream.py").to_str().unwrap().to_owned()
}

/// A configuration with these servers; `{}` in it stands for the folder of the test.
pub(crate) fn config(servers: &str) -> String {
    format!(
        "plugins:\n\
         \x20 - {{name: tools, type: tools, cls: a2e.caps.tools.plugin.ToolPlugin}}\n\
         \x20 - name: mcp\n\
         \x20   type: mcp\n\
         \x20   cls: a2e.caps.mcp.plugin.MCPPlugin\n\
         \x20   metadata:\n\
         \x20     state_dir: {{}}/state\n\
         \x20     start_wait: 4\n\
         \x20     servers: {servers}\n"
    )
}

//! The approved definitions of servers, for the program's commands: they work on files, whether a host runs
//! or not; one that runs looks at them each second while something waits.

use a2e_core::{Error, Result};

use super::config::{McpConfig, ServerConfig};
use super::upstream::{Store, approve as approve_in, judge};

/// A definition that waits for approval.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct WaitingTool {
    /// Its server.
    pub server: String,
    /// As the server names it.
    pub tool: String,
    /// The hash of its definition.
    pub found: String,
    /// The hash that is approved; none of a new tool.
    pub approved: Option<String>,
    /// What the definition says for models.
    pub description: String,
    /// The schema of its arguments.
    pub input_schema: serde_json::Value,
}

fn store(config: &McpConfig, id: &str, server: &ServerConfig) -> Store {
    Store::new(config.state_dir(), id, server)
}

/// What waits, by server and tool.
pub fn waiting(config: &McpConfig) -> Vec<WaitingTool> {
    let mut all = Vec::new();
    for (id, server) in &config.servers.0 {
        let store = store(config, id, server);
        let Some(listing) = store.listing() else { continue };
        for it in judge(&listing, server.approve, &mut store.pins(), false).waiting {
            let tool = listing.tools.iter().find(|tool| tool.name == it.tool);
            let tool = tool.cloned().unwrap_or_default();
            all.push(WaitingTool {
                server: id.clone(),
                tool: it.tool,
                found: it.found,
                approved: it.approved,
                description: tool.description.unwrap_or_default(),
                input_schema: tool.input_schema.into(),
            });
        }
    }
    all
}

/// Approves what a server told last; only these tools, where any are named. Gives those that changed.
///
/// # Errors
/// For a server or a tool that is not known, and when the file is not written.
pub fn approve(config: &McpConfig, server: &str, tools: &[String]) -> Result<Vec<String>> {
    let unknown = || Error::runtime(format!("no server of the settings has the id `{server}`"));
    let settings = config.servers.0.get(server).ok_or_else(unknown)?;
    let store = store(config, server, settings);
    let listing = store.listing().ok_or_else(|| {
        Error::runtime(format!("nothing is known of `{server}` yet: a host has to start it first"))
    })?;
    for tool in tools {
        if !listing.tools.iter().any(|it| it.name == *tool) {
            return Err(Error::runtime(format!("`{server}` has no tool `{tool}`")));
        }
    }
    approve_in(&store, tools).map_err(|error| Error::runtime(format!("not kept: {error}")))
}

//! The approved definitions of servers, for the program's commands: they work on files, whether a host runs
//! or not; one that runs looks at them each second while something waits.

use a2e_core::{Error, Result};

use super::config::{McpConfig, ServerConfig};
use super::upstream::{Store, approve as approve_in, judge, pin};

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
    /// The whole definition, which the hash is of.
    pub definition: serde_json::Value,
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
            all.push(WaitingTool {
                server: id.clone(),
                tool: it.tool,
                found: it.found,
                approved: it.approved,
                definition: serde_json::to_value(tool).unwrap_or_default(),
            });
        }
    }
    all
}

/// Approves definitions that a server told, by tool and hash as [`waiting`] shows them. Gives those that changed.
///
/// # Errors
/// For a server or a tool that is not known, for a tool that has another definition by now, and when the file
/// is not written.
pub fn approve(
    config: &McpConfig,
    server: &str,
    definitions: &[(String, String)],
) -> Result<Vec<String>> {
    let unknown = || Error::runtime(format!("no server of the settings has the id `{server}`"));
    let settings = config.servers.0.get(server).ok_or_else(unknown)?;
    let store = store(config, server, settings);
    let listing = store.listing().ok_or_else(|| {
        Error::runtime(format!("nothing is known of `{server}` yet: a host has to start it first"))
    })?;
    for (tool, hash) in definitions {
        let Some(found) = listing.tools.iter().find(|it| it.name == *tool).map(pin) else {
            return Err(Error::runtime(format!("`{server}` has no tool `{tool}`")));
        };
        if found != *hash {
            let text = format!("`{tool}` of `{server}` has another definition now: {found}");
            return Err(Error::runtime(text));
        }
    }
    approve_in(&store, definitions).map_err(|error| Error::runtime(format!("not kept: {error}")))
}

//! What a server offers, as it told last; kept on disk, so that a server that does not run can be listed.

use a2e_core::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::mcp::contract::ResourceTemplate;
use crate::mcp::link::{Link, Opening};
use crate::mcp::protocol::{McpPrompt, McpResource};

/// What a server offers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::mcp) struct Listing {
    pub(in crate::mcp) tools: Vec<RemoteTool>,
    pub(in crate::mcp) resources: Vec<McpResource>,
    pub(in crate::mcp) templates: Vec<ResourceTemplate>,
    pub(in crate::mcp) prompts: Vec<McpPrompt>,
    /// The revision of the protocol, and as it names itself.
    pub(in crate::mcp) version: String,
    pub(in crate::mcp) server_name: String,
    pub(in crate::mcp) server_version: String,
    /// How the conversation began.
    pub(in crate::mcp) opening: Option<Opening>,
}

/// The definition of a tool, as its server gives it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::mcp) struct RemoteTool {
    pub(in crate::mcp) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::mcp) title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::mcp) description: Option<String>,
    pub(in crate::mcp) input_schema: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::mcp) output_schema: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::mcp) annotations: Option<Map<String, Value>>,
}

/// Entries that are what they should be; another is left out and logged.
fn read<T: for<'de> Deserialize<'de>>(id: &str, entries: Vec<Value>) -> Vec<T> {
    let read = |entry| match serde_json::from_value(entry) {
        Ok(entry) => Some(entry),
        Err(error) => {
            tracing::warn!(server = id, %error, "an entry of a list is not what it should be");
            None
        }
    };
    entries.into_iter().filter_map(read).collect()
}

/// As MCP spells a template.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RemoteTemplate {
    uri_template: String,
    name: String,
    title: Option<String>,
    description: Option<String>,
    mime_type: Option<String>,
}

impl Listing {
    /// Asks a server for all that it offers. A list that it refuses is empty; one that it does not
    /// answer is waited for by the caller's limit.
    pub(super) async fn of(id: &str, link: &Link) -> Result<Self> {
        let facts = link.facts();
        let mut listing = Self {
            version: facts.version.clone(),
            server_name: facts.server_name.clone(),
            server_version: facts.server_version.clone(),
            ..Self::default()
        };
        if facts.can("tools", "") {
            listing.tools = read(id, link.list("tools/list", "tools").await?);
            listing.tools.retain(|tool| !tool.name.is_empty());
        }
        if facts.can("resources", "") {
            listing.resources = read(id, asked(id, link, "resources/list", "resources").await?);
            let templates =
                asked(id, link, "resources/templates/list", "resourceTemplates").await?;
            let templates: Vec<RemoteTemplate> = read(id, templates);
            listing.templates = templates.into_iter().map(Into::into).collect();
        }
        if facts.can("prompts", "") {
            listing.prompts = read(id, asked(id, link, "prompts/list", "prompts").await?);
        }
        for resource in &mut listing.resources {
            id.clone_into(&mut resource.server_id);
        }
        for prompt in &mut listing.prompts {
            id.clone_into(&mut prompt.server_id);
        }
        Ok(listing)
    }
}

impl From<RemoteTemplate> for ResourceTemplate {
    fn from(it: RemoteTemplate) -> Self {
        let RemoteTemplate { uri_template, name, title, description, mime_type } = it;
        Self { uri_template, name, title, description, mime_type }
    }
}

/// A list; an empty one where the server says that it has none, though it said that it had.
async fn asked(id: &str, link: &Link, method: &str, key: &str) -> Result<Vec<Value>> {
    match link.list(method, key).await {
        Err(error) if error.detail().contains_key("rpc_code") => {
            tracing::debug!(server = id, method, %error, "a list is refused");
            Ok(Vec::new())
        }
        other => other,
    }
}

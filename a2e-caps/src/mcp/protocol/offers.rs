//! Resources and prompts of servers.

use a2e_core::message;
use a2e_core::protocol::ErrorCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `mcp/resource/list/req`: which resources are there?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResourceListRequest {
    /// Of this server; of all when empty.
    pub server_id: String,
    /// Where to go on: `next_cursor` of the reply before.
    pub cursor: String,
}

/// `mcp/resource/list/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResourceListResponse {
    /// A part of them.
    pub resources: Vec<McpResource>,
    /// What asks for the next part; empty at the end.
    pub next_cursor: String,
}

/// What is known of a resource without reading it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct McpResource {
    /// By which it is read.
    pub uri: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Its media type.
    #[serde(alias = "mimeType")]
    pub mime_type: String,
    /// The server that lists it.
    pub server_id: String,
    /// For whom it is and how much it matters.
    pub annotations: Map<String, Value>,
    /// Its bytes, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Its name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// `mcp/resource/read/req`: the content of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResourceReadRequest {
    /// Which one.
    pub uri: String,
    /// Of which server; when empty, of the one that lists it.
    pub server_id: String,
}

/// `mcp/resource/read/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResourceReadResponse {
    /// Its parts.
    pub contents: Vec<McpContent>,
    /// The server that has it.
    pub server_id: String,
    /// Why it was not read.
    pub error: String,
    /// The same for programs; there when there is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
}

/// A part of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct McpContent {
    /// By which it is read.
    pub uri: String,
    /// Its media type; `text/plain` unless the server says another.
    pub mime_type: String,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its bytes, as base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    /// `text` or `blob`: which of the two is there.
    #[serde(rename = "type")]
    pub kind: String,
}

/// `mcp/resource/subscribe/req`: be told (`mcp/server/push`) when a resource changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResourceSubscribeRequest {
    /// Which one.
    pub uri: String,
    /// Of which server; when empty, of the one that lists it.
    pub server_id: String,
}

/// `mcp/resource/subscribe/resp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResourceSubscribeResponse {
    /// Whether changes are told from now on, to the end of the session.
    pub ok: bool,
    /// Why not.
    pub error: String,
    /// The same for programs; there when `ok` is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
}

/// `mcp/prompt/list/req`: which prompts are there?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PromptListRequest {
    /// Of this server; of all when empty.
    pub server_id: String,
    /// Where to go on: `next_cursor` of the reply before.
    pub cursor: String,
}

/// `mcp/prompt/list/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PromptListResponse {
    /// A part of them.
    pub prompts: Vec<McpPrompt>,
    /// What asks for the next part; empty at the end.
    pub next_cursor: String,
}

/// A text for a conversation, with holes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct McpPrompt {
    /// Its name, unique in its server.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The server that lists it.
    pub server_id: String,
    /// Its holes.
    pub arguments: Vec<McpPromptArgument>,
    /// Its name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// A hole of a prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct McpPromptArgument {
    /// The key.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether it must be given.
    pub required: bool,
}

/// `mcp/prompt/get/req`: fill in a prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PromptGetRequest {
    /// Which one.
    pub name: String,
    /// What stands in its holes.
    pub arguments: Map<String, Value>,
    /// Of which server; when empty, of the one that lists it.
    pub server_id: String,
}

/// `mcp/prompt/get/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PromptGetResponse {
    /// What it is for.
    pub description: String,
    /// Its messages.
    pub messages: Vec<McpPromptMessage>,
    /// The server that has it.
    pub server_id: String,
    /// Why there is none.
    pub error: String,
    /// The same for programs; there when there is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
}

/// One message of a prompt that was filled in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct McpPromptMessage {
    /// `user` or `assistant`.
    pub role: String,
    /// What it says, as MCP has it.
    pub content: Map<String, Value>,
}

message!(ResourceListResponse, "mcp/resource/list/resp");
message!(ResourceListRequest, "mcp/resource/list/req" => ResourceListResponse, Merge);
message!(ResourceReadResponse, "mcp/resource/read/resp");
message!(ResourceReadRequest, "mcp/resource/read/req" => ResourceReadResponse, First,
    After(std::time::Duration::from_mins(2)); subject "uri", "server_id");
message!(ResourceSubscribeResponse, "mcp/resource/subscribe/resp");
message!(ResourceSubscribeRequest, "mcp/resource/subscribe/req" => ResourceSubscribeResponse, First,
    After(std::time::Duration::from_mins(2)); subject "uri", "server_id");
message!(PromptListResponse, "mcp/prompt/list/resp");
message!(PromptListRequest, "mcp/prompt/list/req" => PromptListResponse, Merge);
message!(PromptGetResponse, "mcp/prompt/get/resp");
message!(PromptGetRequest, "mcp/prompt/get/req" => PromptGetResponse, First,
    After(std::time::Duration::from_mins(2)); subject "name", "server_id");

//! Questions of servers to the agent, and the folders that servers are told of.

use a2e_core::message;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `mcp/sample/req`, from the host to the agent: have your model write a message.
///
/// It is answered with `mcp/sample/resp` under the `id` of this message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SampleRequest {
    /// The server that asks.
    pub server_id: String,
    /// Tells the question from others of that server.
    pub mcp_request_id: String,
    /// The conversation, as MCP has it.
    pub messages: Vec<Map<String, Value>>,
    /// Which model would be best.
    pub model_preferences: Map<String, Value>,
    /// What the model is told first.
    pub system_prompt: String,
    /// `none`, `thisServer` or `allServers`.
    pub include_context: String,
    /// How freely the model writes.
    pub temperature: f64,
    /// Most tokens of the answer.
    pub max_tokens: u64,
    /// Texts that end the answer.
    pub stop_sequences: Vec<String>,
    /// For the model's provider.
    pub metadata: Map<String, Value>,
}

impl Default for SampleRequest {
    fn default() -> Self {
        Self {
            server_id: String::new(),
            mcp_request_id: String::new(),
            messages: Vec::new(),
            model_preferences: Map::new(),
            system_prompt: String::new(),
            include_context: "none".to_owned(),
            temperature: 1.0,
            max_tokens: 1024,
            stop_sequences: Vec::new(),
            metadata: Map::new(),
        }
    }
}

/// `mcp/sample/resp`, from the agent: what its model wrote. It is not answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SampleResponse {
    /// As in the question.
    pub server_id: String,
    /// As in the question.
    pub mcp_request_id: String,
    /// The role of the speaker.
    pub role: String,
    /// What it says, as MCP has it.
    pub content: Map<String, Value>,
    /// The model that wrote it.
    pub model: String,
    /// Why it stopped.
    pub stop_reason: String,
    /// Why there is no answer; the server is then told that the agent refused.
    pub error: String,
}

impl Default for SampleResponse {
    fn default() -> Self {
        Self {
            server_id: String::new(),
            mcp_request_id: String::new(),
            role: "assistant".to_owned(),
            content: Map::new(),
            model: String::new(),
            stop_reason: String::new(),
            error: String::new(),
        }
    }
}

/// `mcp/elicit/req`, from the host to the agent: ask your user.
///
/// It is answered with `mcp/elicit/resp` under the `id` of this message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ElicitRequest {
    /// The server that asks.
    pub server_id: String,
    /// Tells the question from others of that server.
    pub mcp_request_id: String,
    /// `form` or `url`.
    pub mode: String,
    /// The question.
    pub message: String,
    /// The schema of the answer, for `form`.
    pub requested_schema: Map<String, Value>,
    /// The page to show, for `url`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
}

/// `mcp/elicit/resp`, from the agent: what its user said. It is not answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ElicitResponse {
    /// As in the question.
    pub server_id: String,
    /// As in the question.
    pub mcp_request_id: String,
    /// `accept`, `decline` or `cancel`.
    pub action: String,
    /// What was filled in, for `accept`.
    pub content: Map<String, Value>,
    /// Why there is no answer.
    pub error: String,
}

impl Default for ElicitResponse {
    fn default() -> Self {
        Self {
            server_id: String::new(),
            mcp_request_id: String::new(),
            action: "cancel".to_owned(),
            content: Map::new(),
            error: String::new(),
        }
    }
}

/// `mcp/root/list/req`: the folders that servers are told of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RootListRequest {
    /// Given back.
    pub server_id: String,
    /// Given back.
    pub mcp_request_id: String,
}

/// `mcp/root/list/resp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RootListResponse {
    /// As in the request.
    pub server_id: String,
    /// As in the request.
    pub mcp_request_id: String,
    /// The folders.
    pub roots: Vec<Root>,
}

/// A folder that servers are told of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Root {
    /// Such as `file:///home/ada/project`.
    pub uri: String,
    /// Its name for people.
    pub name: String,
}

message!(SampleRequest, "mcp/sample/req");
message!(SampleResponse, "mcp/sample/resp", one_way);
message!(ElicitRequest, "mcp/elicit/req");
message!(ElicitResponse, "mcp/elicit/resp", one_way);
message!(RootListResponse, "mcp/root/list/resp");
message!(RootListRequest, "mcp/root/list/req" => RootListResponse, First);

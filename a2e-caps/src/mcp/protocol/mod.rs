//! What goes over the wire for `mcp/*`.

mod agent;
mod offers;

use std::collections::BTreeMap;

use a2e_core::message;
use a2e_core::protocol::ErrorCode;
use a2e_core::protocol::number::integer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::agent::{
    ElicitRequest, ElicitResponse, Root, RootListRequest, RootListResponse, SampleRequest,
    SampleResponse,
};
pub use self::offers::{
    McpContent, McpPrompt, McpPromptArgument, McpPromptMessage, McpResource, PromptGetRequest,
    PromptGetResponse, PromptListRequest, PromptListResponse, ResourceListRequest,
    ResourceListResponse, ResourceReadRequest, ResourceReadResponse, ResourceSubscribeRequest,
    ResourceSubscribeResponse,
};

/// `mcp/server/list/req`: which servers are there?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServerListRequest {
    /// Only servers of this status; empty for all.
    pub status_filter: String,
}

/// `mcp/server/list/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServerListResponse {
    /// The servers, in the order of their ids.
    pub servers: Vec<McpServerInfo>,
}

/// Where a server stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServerStatus {
    /// It is being started, or waits to be started again.
    Connecting,
    /// It answers.
    Ready,
    /// It does not answer; `error` says why.
    Error,
    /// It is not running, and is started when it is used.
    #[default]
    Disconnected,
}

impl ServerStatus {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Ready => "ready",
            Self::Error => "error",
            Self::Disconnected => "disconnected",
        }
    }
}

/// What is known of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct McpServerInfo {
    /// Its id, which begins the names of its tools.
    pub server_id: String,
    /// Its name for people.
    pub name: String,
    /// `stdio`, `http` or `sse`.
    pub transport: String,
    /// Where it stands.
    pub status: ServerStatus,
    /// The revision of the protocol that is spoken with it.
    #[serde(default)]
    pub mcp_version: String,
    /// As it names itself.
    #[serde(default)]
    pub server_name: String,
    /// The version that it says it has.
    #[serde(default)]
    pub server_version: String,
    /// Why it does not answer.
    #[serde(default)]
    pub error: String,
    /// How many of its tools are offered.
    #[serde(default, deserialize_with = "integer")]
    pub tools_count: u64,
    /// How many resources it lists.
    #[serde(default, deserialize_with = "integer")]
    pub resources_count: u64,
    /// How many prompts it lists.
    #[serde(default, deserialize_with = "integer")]
    pub prompts_count: u64,
    /// How long the last list took, in milliseconds.
    #[serde(default)]
    pub last_ping_ms: f64,
    /// Since when it answers, in seconds since the Unix epoch; 0 when it does not.
    #[serde(default)]
    pub connected_at: f64,
    /// How often it was started again.
    #[serde(default, deserialize_with = "integer")]
    pub restarts: u32,
    /// Its tools whose definition waits for approval.
    #[serde(default)]
    pub quarantined: Vec<String>,
    /// Lines of its standard output that were no messages.
    #[serde(default, deserialize_with = "integer")]
    pub stray_lines: u64,
    /// The last lines of its standard error.
    #[serde(default)]
    pub stderr: Vec<String>,
}

/// `mcp/server/register/req`: adds a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServerRegisterRequest {
    /// How it is reached.
    pub config: McpServerConfig,
}

/// How a server is reached, as messages say it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct McpServerConfig {
    /// Its id; eight hex digits when it is empty.
    pub server_id: String,
    /// Its name for people.
    pub name: String,
    /// How messages travel.
    pub transport: WireTransport,
    /// Program and arguments, for `stdio`.
    pub cmd: Vec<String>,
    /// The folder to start it in; empty: the host's.
    pub cwd: String,
    /// Variables laid over those that the program inherits.
    pub env: BTreeMap<String, String>,
    /// Its address, for the other transports.
    pub url: String,
    /// Headers of each request, for the other transports.
    pub headers: BTreeMap<String, String>,
    /// Seconds that a call may take.
    #[serde(deserialize_with = "integer")]
    pub timeout: u64,
    /// Whether it is started again when it has ended.
    pub auto_reconnect: bool,
    /// The tools to offer; all when empty.
    pub tool_allow_list: Vec<String>,
    /// The resources to list, by name or URI; all when empty.
    pub resource_allow_list: Vec<String>,
}

impl Default for McpServerConfig {
    fn default() -> Self {
        Self {
            server_id: String::new(),
            name: String::new(),
            transport: WireTransport::default(),
            cmd: Vec::new(),
            cwd: String::new(),
            env: BTreeMap::new(),
            url: String::new(),
            headers: BTreeMap::new(),
            timeout: 300,
            auto_reconnect: true,
            tool_allow_list: Vec::new(),
            resource_allow_list: Vec::new(),
        }
    }
}

/// How messages travel, as messages say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WireTransport {
    /// Lines over the pipes of a program.
    #[default]
    Stdio,
    /// The older way over HTTP, with one stream of events.
    Sse,
    /// Streamable HTTP.
    Http,
    /// `WebSocket`s; known to the wire and not spoken here.
    Ws,
}

/// `mcp/server/register/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServerRegisterResponse {
    /// Whether it was added and answers.
    pub ok: bool,
    /// What is known of it; empty without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<McpServerInfo>,
    /// Why it was not added.
    pub error: String,
    /// The same for programs; there when `ok` is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
}

/// `mcp/server/unregister/req`: ends a server that a message had added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServerUnregisterRequest {
    /// Which one.
    pub server_id: String,
}

/// `mcp/server/unregister/resp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServerUnregisterResponse {
    /// Whether there was one that messages may end.
    pub ok: bool,
    /// As in the request.
    pub server_id: String,
    /// Why not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The same for programs; there when `ok` is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
}

/// `mcp/server/push`: what a server tells unasked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServerPush {
    /// Which server.
    pub server_id: String,
    /// The method of MCP, such as `notifications/resources/updated`.
    pub method: String,
    /// Its parameters, as MCP has them.
    pub params: Map<String, Value>,
}

message!(ServerListResponse, "mcp/server/list/resp");
message!(ServerListRequest, "mcp/server/list/req" => ServerListResponse, MergeBy("server_id"));
message!(ServerRegisterResponse, "mcp/server/register/resp");
message!(ServerRegisterRequest, "mcp/server/register/req" => ServerRegisterResponse, First,
    After(std::time::Duration::from_mins(2)); subject "config.server_id", "config.url");
message!(ServerUnregisterResponse, "mcp/server/unregister/resp");
message!(ServerUnregisterRequest, "mcp/server/unregister/req" => ServerUnregisterResponse, First;
    subject "server_id");
message!(ServerPush, "mcp/server/push");

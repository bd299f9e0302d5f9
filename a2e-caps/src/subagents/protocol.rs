//! What goes over the wire for `multi_agent/*`, and what both families share.

use a2e_core::message;
use a2e_core::protocol::ErrorCode;
use a2e_core::protocol::number::integer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The state of a subagent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum SubagentStatus {
    /// It has no task yet.
    #[default]
    Ready,
    /// It works on a task.
    Running,
    /// Its task waits until fewer others run.
    Waiting,
    /// Its last task has a result.
    Completed,
    /// Its last task has none.
    Failed,
    /// Its last task was cancelled.
    Cancelled,
    /// It takes no more tasks.
    Terminated,
}

/// What a subagent is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentConfig {
    /// Its name; subagents may share one.
    pub name: String,
    /// The model that it is to use, as its program knows it.
    pub model: String,
    /// Its part.
    #[serde(default)]
    pub role: Option<String>,
    /// What its model is told first.
    #[serde(default)]
    pub system_prompt: Option<String>,
    /// With the tool scope `restricted`: the capabilities (`tools`, `proc`) and the tools, by name, that it may
    /// use; none named is every tool.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// What it may do with the host's memory.
    #[serde(default)]
    pub memory_scope: MemoryScope,
    /// What else it may use.
    #[serde(default)]
    pub tool_scope: ToolScope,
    /// For its program: how many steps a task may take.
    #[serde(default = "forty", deserialize_with = "integer")]
    pub max_steps: u32,
    /// Seconds that a task may take, its wait included; 600 when 0, 3600 at most.
    #[serde(default = "ten_minutes", deserialize_with = "integer")]
    pub timeout_seconds: u32,
    /// For its program.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// What a subagent may do with the memory of its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemoryScope {
    /// What the agent may that spawned it.
    #[default]
    Shared,
    /// Nothing.
    Isolated,
    /// It may read.
    Snapshot,
}

/// What a subagent may use beside memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolScope {
    /// What the agent may that spawned it.
    Shared,
    /// Of that, what `capabilities` names.
    #[default]
    Restricted,
    /// Nothing.
    Isolated,
}

/// `multi_agent/spawn`: a new subagent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpawnRequest {
    /// Its name.
    pub name: String,
    /// Its part.
    #[serde(default)]
    pub role: String,
    /// The model that it is to use.
    #[serde(default = "default_model")]
    pub model: String,
    /// For its program: how many steps a task may take.
    #[serde(default = "twenty", deserialize_with = "integer")]
    pub max_steps: u32,
    /// For its program.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// `multi_agent/spawn/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SpawnResponse {
    /// Names it in other requests of this session.
    pub subagent_id: String,
    /// Its state.
    pub status: SubagentStatus,
}

/// `multi_agent/delegate`: a task for a subagent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DelegateRequest {
    /// Which subagent.
    pub subagent_id: String,
    /// The name of the task.
    pub task_name: String,
    /// What is to be done.
    pub instruction: String,
    /// When it is done.
    #[serde(default)]
    pub success_criteria: Vec<String>,
}

/// `multi_agent/delegate/resp`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DelegateResponse {
    /// Whether it takes the task; not while it has another, and not when it was terminated.
    #[serde(default = "yes")]
    pub accepted: bool,
    /// Its state.
    #[serde(default)]
    pub status: SubagentStatus,
}

/// `multi_agent/await`: waits until a subagent has no task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AwaitRequest {
    /// Which subagent.
    pub subagent_id: String,
}

/// `multi_agent/await/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AwaitResponse {
    /// As in the request.
    pub subagent_id: String,
    /// Its state.
    pub status: SubagentStatus,
    /// Of its last task.
    pub result: Option<Map<String, Value>>,
    /// Why its last task has none.
    pub error: Option<String>,
}

/// `multi_agent/list`: the subagents of this session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListRequest {}

/// `multi_agent/list/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListResponse {
    /// In the order in which they were spawned.
    pub subagents: Vec<SubagentInfo>,
}

/// A subagent, for the agent that spawned it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentInfo {
    /// Names it in requests.
    pub subagent_id: String,
    /// Its name.
    pub name: String,
    /// Its state.
    pub status: SubagentStatus,
    /// What it is.
    pub config: SubagentConfig,
    /// As the request that spawned it said.
    #[serde(default)]
    pub parent_agent_id: Option<String>,
    /// As the request that spawned it said.
    #[serde(default)]
    pub root_agent_id: Option<String>,
    /// How many subagents led to it.
    #[serde(default, deserialize_with = "integer")]
    pub depth: u32,
}

/// `multi_agent/terminate`: ends a subagent with what it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TerminateRequest {
    /// Which subagent.
    pub subagent_id: String,
}

/// `multi_agent/terminate/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TerminateResponse {
    /// Always true; what fails is answered with an error.
    pub success: bool,
    /// As in the request.
    pub subagent_id: String,
    /// Never there, since `success` is always true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
}

message!(SpawnResponse, "multi_agent/spawn/resp");
message!(DelegateResponse, "multi_agent/delegate/resp");
message!(AwaitResponse, "multi_agent/await/resp");
message!(ListResponse, "multi_agent/list/resp");
message!(TerminateResponse, "multi_agent/terminate/resp");
message!(SpawnRequest, "multi_agent/spawn" => SpawnResponse, First; subject "name");
message!(DelegateRequest, "multi_agent/delegate" => DelegateResponse, First;
    subject "subagent_id", "task_name");
message!(AwaitRequest, "multi_agent/await" => AwaitResponse, First, None; subject "subagent_id");
message!(ListRequest, "multi_agent/list" => ListResponse, First);
message!(TerminateRequest, "multi_agent/terminate" => TerminateResponse, First;
    subject "subagent_id");

impl SubagentConfig {
    /// A subagent of this name with every other field at its default.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            model: default_model(),
            role: None,
            system_prompt: None,
            capabilities: Vec::new(),
            memory_scope: MemoryScope::default(),
            tool_scope: ToolScope::default(),
            max_steps: forty(),
            timeout_seconds: ten_minutes(),
            metadata: Map::new(),
        }
    }
}

impl From<SpawnRequest> for SubagentConfig {
    fn from(it: SpawnRequest) -> Self {
        Self {
            model: it.model,
            role: (!it.role.is_empty()).then_some(it.role),
            max_steps: it.max_steps,
            metadata: it.metadata,
            ..Self::new(it.name)
        }
    }
}

pub(super) fn yes() -> bool {
    true
}

fn default_model() -> String {
    "default".to_owned()
}

fn twenty() -> u32 {
    20
}

fn forty() -> u32 {
    40
}

fn ten_minutes() -> u32 {
    600
}

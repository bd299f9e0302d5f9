//! What goes over the wire for `SUBAGENT_*`.

use a2e_core::message;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::protocol::{SubagentConfig, SubagentInfo, SubagentStatus, yes};

/// `SUBAGENT_SPAWN_REQ`: a new subagent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentSpawnRequest {
    /// What it is to be.
    pub agent: SubagentConfig,
    /// The agent that spawns it, as that says.
    #[serde(default)]
    pub parent_agent_id: Option<String>,
    /// The first of all these agents, as that says.
    #[serde(default)]
    pub root_agent_id: Option<String>,
}

/// `SUBAGENT_SPAWN_RESP`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentSpawnResponse {
    /// Names it in other requests of this session.
    pub subagent_id: String,
    /// Its state.
    pub status: SubagentStatus,
}

/// A task for a subagent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentTask {
    /// Its name.
    pub name: String,
    /// What is to be done.
    pub instruction: String,
    /// When it is done.
    #[serde(default)]
    pub success_criteria: Vec<String>,
    /// For the program of the subagent.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// `SUBAGENT_DELEGATE_REQ`: a task for a subagent. The host sends it on to the subagent's program, with its `agent`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentDelegateRequest {
    /// Which subagent.
    pub subagent_id: String,
    /// The task.
    pub task: SubagentTask,
    /// To the program of a subagent: what that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<SubagentConfig>,
}

/// `SUBAGENT_DELEGATE_RESP`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentDelegateResponse {
    /// Whether it takes the task; not while it has another, and not when it was terminated.
    #[serde(default = "yes")]
    pub accepted: bool,
    /// Its state.
    pub status: SubagentStatus,
}

/// `SUBAGENT_AWAIT_REQ`: waits until a subagent has no task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentAwaitRequest {
    /// Which subagent.
    pub subagent_id: String,
}

/// `SUBAGENT_AWAIT_RESP`; also what the program of a subagent answers a task with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentAwaitResponse {
    /// Which subagent.
    #[serde(default)]
    pub subagent_id: String,
    /// Its state; of the program `COMPLETED` or `FAILED`.
    pub status: SubagentStatus,
    /// Of its last task.
    #[serde(default)]
    pub result: Option<Map<String, Value>>,
    /// Why its last task has none.
    #[serde(default)]
    pub error: Option<String>,
}

/// `SUBAGENT_MESSAGE_REQ`: a message from one subagent to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentMessageRequest {
    /// The sender: a subagent of this session, or the one whose program this is.
    pub from_subagent_id: String,
    /// The receiver: of the same root.
    pub to_subagent_id: String,
    /// What it gets.
    pub message: SubagentNote,
}

/// A message between subagents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentNote {
    /// Its kind, as the agents agree.
    #[serde(rename = "type")]
    pub kind: String,
    /// Any JSON.
    #[serde(default)]
    pub content: Value,
}

/// `SUBAGENT_MESSAGE_RESP`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentMessageResponse {
    /// Whether it is with the receiver, or in its mailbox; false when that is full.
    #[serde(default = "yes")]
    pub delivered: bool,
}

/// `SUBAGENT_LIST_REQ`: the subagents of this session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentListRequest {}

/// `SUBAGENT_LIST_RESP`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentListResponse {
    /// In the order in which they were spawned.
    pub subagents: Vec<SubagentInfo>,
}

/// `SUBAGENT_CANCEL_REQ`: ends the task of a subagent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentCancelRequest {
    /// Which subagent.
    pub subagent_id: String,
}

/// `SUBAGENT_CANCEL_RESP`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentCancelResponse {
    /// As in the request.
    pub subagent_id: String,
    /// Its state.
    pub status: SubagentStatus,
}

/// `SUBAGENT_TERMINATE_REQ`: ends a subagent with what it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentTerminateRequest {
    /// Which subagent.
    pub subagent_id: String,
}

/// `SUBAGENT_TERMINATE_RESP`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentTerminateResponse {
    /// As in the request.
    pub subagent_id: String,
    /// Its state.
    pub status: SubagentStatus,
}

/// How results become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MergeStrategy {
    /// Each result by its subagent.
    #[default]
    HierarchicalSummary,
    /// The same.
    Collect,
    /// The result that most have.
    Voting,
    /// The same.
    Vote,
    /// The state of each, for the agent to merge.
    Custom,
}

/// `SUBAGENT_MERGE_REQ`: the results of some subagents as one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentMergeRequest {
    /// Which subagents; what still runs counts as without a result.
    pub subagent_ids: Vec<String>,
    /// How they become one.
    #[serde(default)]
    pub strategy: MergeStrategy,
}

/// `SUBAGENT_MERGE_RESP`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentMergeResponse {
    /// By the strategy.
    pub merged_result: Map<String, Value>,
}

/// `SUBAGENT_EVENT`: pushed to the session that spawned the subagent when its state changes (`event` is the state
/// in lower case) and when it gets a message; pushed to its program with `message`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentEvent {
    /// Which subagent.
    pub subagent_id: String,
    /// What has happened.
    pub event: String,
    /// More of it.
    #[serde(default)]
    pub content: Map<String, Value>,
}

message!(SubagentEvent, "SUBAGENT_EVENT");
message!(SubagentSpawnResponse, "SUBAGENT_SPAWN_RESP");
message!(SubagentDelegateResponse, "SUBAGENT_DELEGATE_RESP");
message!(SubagentAwaitResponse, "SUBAGENT_AWAIT_RESP");
message!(SubagentMessageResponse, "SUBAGENT_MESSAGE_RESP");
message!(SubagentListResponse, "SUBAGENT_LIST_RESP");
message!(SubagentCancelResponse, "SUBAGENT_CANCEL_RESP");
message!(SubagentTerminateResponse, "SUBAGENT_TERMINATE_RESP");
message!(SubagentMergeResponse, "SUBAGENT_MERGE_RESP");
message!(SubagentSpawnRequest, "SUBAGENT_SPAWN_REQ" => SubagentSpawnResponse, First;
    subject "agent.name");
message!(SubagentDelegateRequest, "SUBAGENT_DELEGATE_REQ" => SubagentDelegateResponse, First;
    subject "subagent_id", "task.name");
message!(SubagentAwaitRequest, "SUBAGENT_AWAIT_REQ" => SubagentAwaitResponse, First, None;
    subject "subagent_id");
message!(SubagentMessageRequest, "SUBAGENT_MESSAGE_REQ" => SubagentMessageResponse, First;
    subject "from_subagent_id", "to_subagent_id");
message!(SubagentListRequest, "SUBAGENT_LIST_REQ" => SubagentListResponse, First);
message!(SubagentCancelRequest, "SUBAGENT_CANCEL_REQ" => SubagentCancelResponse, First;
    subject "subagent_id");
message!(SubagentTerminateRequest, "SUBAGENT_TERMINATE_REQ" => SubagentTerminateResponse, First;
    subject "subagent_id");
message!(SubagentMergeRequest, "SUBAGENT_MERGE_REQ" => SubagentMergeResponse, First;
    subject "strategy");

impl SubagentTask {
    /// A task without criteria or metadata.
    pub fn new(name: impl Into<String>, instruction: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            instruction: instruction.into(),
            success_criteria: Vec::new(),
            metadata: Map::new(),
        }
    }
}

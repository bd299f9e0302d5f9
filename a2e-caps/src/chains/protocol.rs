//! What goes over the wire for `chain/*`.

use a2e_core::message;
use a2e_core::protocol::number::integer;
use a2e_core::protocol::{ErrorCode, EventKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The wire type of what a chain tells while it runs.
pub const CHAIN_EVENT: &str = "chain/event";

/// `chain/req`: nodes, and the one to begin with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChainRequest {
    /// Not used: a chain belongs to the session of its connection.
    #[serde(default)]
    pub session_id: String,
    /// The agent's name for it; eight hex digits where it gives none.
    #[serde(default)]
    pub chain_id: String,
    /// The nodes, in any order.
    #[serde(default)]
    pub nodes: Vec<ChainNode>,
    /// The node that runs first.
    #[serde(default)]
    pub entry_node: String,
    /// What `$.<key>` finds before any node has run, and `$.input` as a whole.
    #[serde(default)]
    pub initial_input: Map<String, Value>,
    /// The agent's own mark, written to the audit log.
    #[serde(default)]
    pub correlation_id: String,
    /// Whether events are wanted.
    #[serde(default = "yes")]
    pub streaming: bool,
    /// Seconds until the chain ends with `timeout`; 300 when not above 0, 600 at most.
    #[serde(default = "default_timeout", deserialize_with = "integer")]
    pub timeout: i64,
}

/// One step of a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChainNode {
    /// Its name in this chain; its output is `$.<node_id>`.
    pub node_id: String,
    /// What it does.
    pub kind: NodeKind,
    /// The tool or the skill.
    #[serde(default)]
    pub name: String,
    /// What the tool, skill or process gets.
    #[serde(default)]
    pub input: Map<String, Value>,
    /// Laid over `input`; a text that begins with `$` is the value at that path.
    #[serde(default)]
    pub input_map: Map<String, Value>,
    /// Of a branch: a path, or a path, an operator and a literal: `$.a.count >= 3`. Empty is true.
    #[serde(default)]
    pub condition: String,
    /// Of a branch: the node to go on with when the condition holds; empty ends the chain.
    #[serde(default)]
    pub true_node: String,
    /// Of a branch: the node to go on with when it does not.
    #[serde(default)]
    pub false_node: String,
    /// Of a map: the path of the items; empty is `$`. A value that is no list is one item.
    #[serde(default)]
    pub items_path: String,
    /// Of a map: the node that runs for each item.
    #[serde(default)]
    pub map_node: String,
    /// The node to go on with; empty ends the chain.
    #[serde(default)]
    pub next_node: String,
    /// What a failure leads to: `abort` (the end), `skip` (`next_node`), or the node to go on with.
    #[serde(default = "abort")]
    pub on_error: String,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// Calls a tool.
    Tool,
    /// Calls a skill.
    Skill,
    /// Runs a program to its end: `input.command` or `.cmd`, a list or a text that is split at spaces.
    Proc,
    /// Chooses the next node.
    Branch,
    /// Runs another node for each item of a list.
    Map,
}

/// `chain/event`: where a chain stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChainEvent {
    /// Always `status`.
    pub kind: EventKind,
    /// Its number within the chain, from 0; a gap means that events were left out for a slow reader.
    #[serde(default, deserialize_with = "integer")]
    pub seq: u64,
    /// For an item of a map `index`, its place in the list; else empty.
    #[serde(default)]
    pub data: Map<String, Value>,
    /// The node.
    #[serde(default)]
    pub node_id: String,
    /// What became of it.
    #[serde(default)]
    pub phase: ChainPhase,
    /// Of `done`: its output.
    #[serde(default)]
    pub output: Value,
    /// Of `error`: why.
    #[serde(default)]
    pub error: String,
}

/// The stage of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChainPhase {
    /// It begins.
    #[default]
    Start,
    /// It has its output.
    Done,
    /// It is left out; not sent by this host.
    Skip,
    /// It failed.
    Error,
}

/// `chain/resp`: what came of the chain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChainResponse {
    /// As in the request.
    #[serde(default)]
    pub chain_id: String,
    /// Whether it came to its end and no node failed on the way.
    #[serde(default)]
    pub success: bool,
    /// The output of each node that ran, by its name; null of one that failed. A map has the list of
    /// its successes, its inner node the last of them.
    #[serde(default)]
    pub outputs: Map<String, Value>,
    /// The output of the node that was visited last.
    #[serde(default)]
    pub final_output: Value,
    /// How long it ran.
    #[serde(default, deserialize_with = "integer")]
    pub duration_ms: u64,
    /// How many outputs there are.
    #[serde(default, deserialize_with = "integer")]
    pub nodes_run: usize,
    /// What ended it early.
    #[serde(default)]
    pub error: Option<ChainError>,
    /// `error.code` under the name that every refusal has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
}

/// What ended a chain early.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChainError {
    /// `bad_entry`, `chain_cycle`, `chain_error`, `chain_node_error` or `timeout`.
    pub code: ErrorCode,
    /// The same for people.
    #[serde(default)]
    pub message: String,
    /// The node, where it is about one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node_id: String,
    /// Of `chain_node_error`: the code of the tool, skill or process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<ErrorCode>,
}

message!(ChainEvent, "chain/event");
message!(ChainResponse, "chain/resp");
// The chain keeps its own time, so that what it has done so far is told with the time-out.
message!(ChainRequest, "chain/req" => ChainResponse, First, After(std::time::Duration::from_mins(10));
    subject "chain_id", "entry_node");

impl ChainRequest {
    /// A chain of these nodes that begins with the first; every other field has its default.
    pub fn new(nodes: impl IntoIterator<Item = ChainNode>) -> Self {
        let nodes: Vec<ChainNode> = nodes.into_iter().collect();
        Self {
            session_id: String::new(),
            chain_id: String::new(),
            entry_node: nodes.first().map(|it| it.node_id.clone()).unwrap_or_default(),
            nodes,
            initial_input: Map::new(),
            correlation_id: String::new(),
            streaming: true,
            timeout: default_timeout(),
        }
    }

    /// Sets a key of the initial input.
    #[must_use]
    pub fn input(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.initial_input.insert(key.into(), value.into());
        self
    }
}

impl ChainNode {
    /// A node without more than its name and kind.
    pub fn new(node_id: impl Into<String>, kind: NodeKind) -> Self {
        Self {
            node_id: node_id.into(),
            kind,
            name: String::new(),
            input: Map::new(),
            input_map: Map::new(),
            condition: String::new(),
            true_node: String::new(),
            false_node: String::new(),
            items_path: String::new(),
            map_node: String::new(),
            next_node: String::new(),
            on_error: abort(),
        }
    }

    /// A node that calls this tool.
    pub fn tool(node_id: impl Into<String>, tool: impl Into<String>) -> Self {
        Self { name: tool.into(), ..Self::new(node_id, NodeKind::Tool) }
    }

    /// A node that calls this skill.
    pub fn skill(node_id: impl Into<String>, skill: impl Into<String>) -> Self {
        Self { name: skill.into(), ..Self::new(node_id, NodeKind::Skill) }
    }

    /// Sets an argument; a text that begins with `$` is a path.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.input_map.insert(key.into(), value.into());
        self
    }

    /// Sets the node to go on with.
    #[must_use]
    pub fn then(mut self, node_id: impl Into<String>) -> Self {
        self.next_node = node_id.into();
        self
    }
}

fn yes() -> bool {
    true
}

fn default_timeout() -> i64 {
    300
}

fn abort() -> String {
    "abort".to_owned()
}

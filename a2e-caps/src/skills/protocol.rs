//! The wire of `skill/*`: definitions, calls, results.

use a2e_core::codec::RawJson;
use a2e_core::message;
use a2e_core::protocol::{ErrorCode, number};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json::{JsonObject, limited_list};

/// The type of the events of a call.
pub const SKILL_EVENT: &str = "skill/event";

/// Asks which skills there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SkillDiscoverRequest {
    /// Those with any of these tags; empty is all.
    #[serde(default, deserialize_with = "limited_list")]
    pub filter_tags: Vec<String>,
    /// Those of one of these categories; empty is all.
    #[serde(default, deserialize_with = "limited_list")]
    pub filter_categories: Vec<String>,
}

/// The skills, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SkillDiscoverResponse {
    /// Without those that only users call.
    #[serde(default)]
    pub skills: Vec<SkillDefinition>,
}

/// A skill. Its text comes with the call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SkillDefinition {
    /// By which it is called.
    pub name: String,
    /// As its author counts; `1.0.0` where nothing is said.
    pub version: String,
    /// What it is for.
    pub description: String,
    /// Words that call for it.
    pub triggers: Vec<String>,
    /// Where it stands.
    pub status: SkillStatus,
    /// When to use it.
    pub when_to_use: String,
    /// What `arguments` should hold.
    pub argument_hint: String,
    /// `filesystem`.
    pub source: String,
    /// Tools that it is meant to use; advice only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// Toolkits that it is meant to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toolkits: Option<Vec<String>>,
    /// Of `arguments`.
    #[serde(default)]
    pub input_schema: JsonObject,
    /// Of the result.
    #[serde(default)]
    pub output_schema: JsonObject,
    /// Never said here; a call gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// Where it stands on the host's disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_path: Option<String>,
    /// Its kind, as its author says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// Names of arguments; a list or null, never an object.
    #[serde(default)]
    pub arguments: Option<Vec<String>>,
    /// Words that it is found by.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// How long a call may take.
    #[serde(
        default,
        deserialize_with = "number::optional_integer",
        skip_serializing_if = "Option::is_none"
    )]
    pub timeout_seconds: Option<u64>,
    /// What else its author says of it.
    #[serde(default)]
    pub metadata: Option<JsonObject>,
}

/// Where a skill stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SkillStatus {
    /// It is being written.
    Created,
    /// It is not to be used.
    Blocked,
    /// It may be used.
    #[default]
    Published,
    /// It is of the past.
    Archived,
}

/// Calls a skill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SkillCallRequest {
    /// The skill.
    #[serde(default)]
    pub name: String,
    /// Of a text: `args` takes the place of `{args}` and `$ARGUMENTS`. A program gets all of them.
    #[serde(default)]
    pub arguments: Map<String, Value>,
    /// For the agent's own use.
    #[serde(default)]
    pub correlation_id: String,
    /// Seconds that the call may take.
    #[serde(default = "minute", deserialize_with = "number::integer")]
    pub timeout: i64,
    /// Whether events are wanted.
    #[serde(default = "yes")]
    pub streaming: bool,
    /// Accepted and not used: this host has no model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm_override: Option<RawJson>,
    /// For the agent's own use; a program gets it.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

impl Default for SkillCallRequest {
    fn default() -> Self {
        Self {
            name: String::new(),
            arguments: Map::new(),
            correlation_id: String::new(),
            timeout: minute(),
            streaming: true,
            llm_override: None,
            metadata: Map::new(),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SkillCallResponse {
    /// The skill.
    #[serde(default)]
    pub name: String,
    /// Always there in replies of this host.
    pub data: Option<SkillResult>,
    /// Why its program failed; null where it did not.
    #[serde(default)]
    pub error: Option<SkillFailure>,
    /// Seconds since the Unix epoch.
    #[serde(default)]
    pub created_at: f64,
}

/// What a skill gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SkillResult {
    /// Whether its program ended with 0; always true of a text.
    pub success: bool,
    /// `{prompt, tools}` of a text; of a program the object that it wrote, else `{text}`.
    #[serde(default)]
    pub data: Value,
    /// Null.
    #[serde(default)]
    pub summary: Value,
    /// Always false: what is too long is refused.
    #[serde(default)]
    pub truncated: bool,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<String>,
    /// As `code`, spelled as in the reference.
    #[serde(default)]
    pub error_code: Option<String>,
    /// Why it failed, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// How long it took.
    #[serde(deserialize_with = "number::integer")]
    pub duration_ms: u64,
    /// The events of the call, without those of a program.
    #[serde(default)]
    pub events: Vec<SkillEvent>,
}

/// Why a program failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SkillFailure {
    /// `skill_error`.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether a repeat may succeed.
    pub retryable: bool,
}

/// An event of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SkillEvent {
    /// `skill.started` and so on.
    pub kind: String,
    /// The call.
    #[serde(default)]
    pub req_id: String,
    /// `skill` and `ts`.
    #[serde(default)]
    pub data: Map<String, Value>,
    /// Counts from 0.
    #[serde(default, deserialize_with = "number::integer")]
    pub seq: u64,
}

message!(SkillEvent, "skill/event");
message!(SkillDiscoverResponse, "skill/discover/resp");
message!(SkillCallResponse, "skill/call/resp");
message!(SkillDiscoverRequest, "skill/discover/req" => SkillDiscoverResponse, MergeBy("name"));
message!(SkillCallRequest, "skill/call/req" => SkillCallResponse, First, TimeoutField(60); subject "name");

fn yes() -> bool {
    true
}

fn minute() -> i64 {
    60
}

//! The wire types of `tool/*`, for the plugins that answer them and for typed clients.

use std::borrow::Cow;
use std::collections::BTreeMap;

use a2e_core::codec::RawJson;
use a2e_core::message;
use a2e_core::protocol::EventKind;
use a2e_core::protocol::number::{integer, optional_integer};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

pub use super::content::{Content, MediaPart, Resource, ResourceContents, ResourcePart, TextPart};

/// The wire type of events that a tool sends while it works.
pub const TOOL_EVENT: &str = "tool/event";

/// `tool/event`: what a tool tells while it works.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolEvent {
    /// What it tells of.
    pub kind: EventKind,
    /// Its number within the call, from 0; a gap means that events were left out for a slow reader.
    pub seq: u64,
    /// What it tells.
    pub data: Map<String, Value>,
}

message!(ToolEvent, "tool/event");

/// `tool/list/req`: which tools are there?
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ToolListRequest {
    /// Not used; kept because clients send it.
    #[serde(default)]
    pub filter_kind: String,
    /// A tool must have all of these tags, upper or lower case.
    #[serde(default)]
    pub filter_tags: Vec<String>,
    /// A part of the name, the description or a tag, upper or lower case; empty matches every tool.
    #[serde(default)]
    pub query: String,
    /// Also tools with `defer_loading`.
    #[serde(default)]
    pub include_deferred: bool,
}

/// `tool/list/resp`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ToolListResponse {
    /// The tools that match; with several plugins, joined in the order of their priority.
    #[serde(default)]
    pub tools: Vec<ToolDefinition>,
    /// How many are left out because their definition is not the approved one.
    #[serde(default, skip_serializing_if = "is_none")]
    pub quarantined: usize,
}

/// The definition of a tool for agents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolDefinition {
    /// Its name, unique in a host.
    pub name: String,
    /// What it does, for the model that chooses it.
    pub description: String,
    /// The fields of `arguments`.
    #[serde(default)]
    pub input_parameters: Vec<ToolParameter>,
    /// The fields of the result's `data`.
    #[serde(default)]
    pub output_parameters: Vec<ToolParameter>,
    /// The schema of `arguments` (JSON Schema, draft 2020-12): what they are checked against. Absent from
    /// other implementations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<RawJson>,
    /// The schema of the result's `data`, where the tool declares one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<RawJson>,
    /// Whether it sends events while it works.
    #[serde(default = "yes")]
    pub streaming: bool,
    /// Whether a repeated call has no further effect.
    #[serde(default)]
    pub idempotent: bool,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Its version.
    #[serde(default = "first_version")]
    pub version: String,
    /// The toolkit that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toolkit: Option<String>,
    /// Whether lists leave it out until it is asked for.
    #[serde(default)]
    pub defer_loading: bool,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Hints of its provider on how it behaves, as the Model Context Protocol names them
    /// (`readOnlyHint`, `destructiveHint`, `idempotentHint`, `openWorldHint`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Map<String, Value>>,
}

/// The types that a [`ToolParameter`] may have.
pub(super) const PARAMETER_TYPES: [&str; 6] =
    ["string", "integer", "number", "boolean", "object", "array"];

/// One argument of a tool, or one field of its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolParameter {
    /// The key.
    pub name: String,
    /// The type of its value.
    #[serde(rename = "type")]
    #[schemars(schema_with = "parameter_types")]
    pub kind: String,
    /// What it is for.
    pub description: String,
    /// Whether it must be there.
    #[serde(default)]
    pub required: bool,
    /// The only texts that are allowed.
    #[serde(default, rename = "enum", skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<String>>,
    /// The fields of an `object`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<BTreeMap<String, ToolParameter>>,
}

/// `tool/call/req`: run a tool.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolCallRequest {
    /// Not used: a call belongs to the session of its connection.
    #[serde(default)]
    pub session_id: String,
    /// Which tool.
    #[serde(default)]
    pub tool_name: String,
    /// A JSON object, not decoded before it reaches the tool.
    #[serde(deserialize_with = "object")]
    #[schemars(with = "Map<String, Value>")]
    pub arguments: RawJson,
    /// The agent's own mark, written to the audit log.
    #[serde(default)]
    pub correlation_id: String,
    /// Whether events are wanted.
    #[serde(default)]
    pub streaming: bool,
    /// Seconds until the call ends with `timeout`; 30 when not above 0.
    #[serde(default = "thirty", deserialize_with = "integer")]
    pub timeout: i64,
}

/// `tool/call/resp`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolCallResponse {
    /// What came of it.
    pub data: ToolResult,
    /// When, in seconds since the Unix epoch.
    #[serde(default)]
    pub created_at: f64,
}

/// What came of a call. Fields that are null are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolResult {
    /// Whether the tool did what it was asked.
    pub success: bool,
    /// The tool.
    pub tool_name: Cow<'static, str>,
    /// Its result; any JSON.
    #[serde(default)]
    pub data: Option<RawJson>,
    /// The same for clients that can show media: texts, images, sounds, links, resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content: Vec<Content>,
    /// The result in short, for people or for a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Value>,
    /// Whether `data` was cut because it was too large.
    #[serde(default)]
    pub truncated: Option<bool>,
    /// The exit code, where the tool ran a program.
    #[serde(
        default,
        deserialize_with = "optional_integer",
        skip_serializing_if = "Option::is_none"
    )]
    pub exit_code: Option<i64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// As `error_code`, under the name that every refusal has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How long the tool worked.
    #[serde(deserialize_with = "integer")]
    pub duration_ms: u64,
    /// Always empty: events are sent while the tool works.
    #[serde(default)]
    pub events: Vec<Value>,
}

message!(ToolListResponse, "tool/list/resp");
message!(ToolListRequest, "tool/list/req" => ToolListResponse, MergeBy("name"));
message!(ToolCallResponse, "tool/call/resp");
message!(ToolCallRequest, "tool/call/req" => ToolCallResponse, First, TimeoutField(30);
    subject "tool_name", "arguments.path");

a2e_core::inventory::submit! {
    a2e_core::config::Named {
        one: "tool",
        many: "tools",
        request: "tool/call/req",
        name: "tool_name",
        arguments: "arguments",
        list: "tool/list/resp",
        items: "tools",
        item_name: "name",
    }
}

impl ToolResult {
    /// A success.
    pub fn success(tool_name: impl Into<Cow<'static, str>>, data: RawJson) -> Self {
        Self {
            success: true,
            tool_name: tool_name.into(),
            data: Some(data),
            content: Vec::new(),
            summary: None,
            truncated: Some(false),
            exit_code: None,
            error: None,
            error_code: None,
            code: None,
            duration_ms: 0,
            events: Vec::new(),
        }
    }
}

impl ToolDefinition {
    /// A tool without parameters; the rest by the defaults of the wire, but for `streaming: false`.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            input_parameters: Vec::new(),
            output_parameters: Vec::new(),
            input_schema: None,
            output_schema: None,
            streaming: false,
            idempotent: false,
            tags: Vec::new(),
            version: first_version(),
            toolkit: None,
            defer_loading: false,
            title: None,
            annotations: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn input(mut self, parameter: ToolParameter) -> Self {
        self.input_parameters.push(parameter);
        self
    }

    /// Adds a field of the result.
    #[must_use]
    pub fn output(mut self, parameter: ToolParameter) -> Self {
        self.output_parameters.push(parameter);
        self
    }

    /// Sets the words to find it by.
    #[must_use]
    pub fn tagged(mut self, tags: &[&str]) -> Self {
        self.tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        self
    }
}

impl ToolParameter {
    /// A parameter that may be left out.
    pub fn optional(name: &str, kind: &str, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            description: description.to_owned(),
            required: false,
            choices: None,
            properties: None,
        }
    }

    /// A parameter that must be there.
    pub fn required(name: &str, kind: &str, description: &str) -> Self {
        Self { required: true, ..Self::optional(name, kind, description) }
    }

    /// Allows only these texts.
    #[must_use]
    pub fn one_of(mut self, choices: &[&str]) -> Self {
        self.choices = Some(choices.iter().map(|&choice| choice.to_owned()).collect());
        self
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

fn parameter_types(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "enum": PARAMETER_TYPES })
}

fn yes() -> bool {
    true
}

fn thirty() -> i64 {
    30
}

fn first_version() -> String {
    "1.0.0".to_owned()
}

/// Takes a JSON object without decoding it.
pub(crate) fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RawJson, D::Error> {
    let raw = RawJson::deserialize(deserializer)?;
    if raw.get().starts_with('{') {
        return Ok(raw);
    }
    Err(de::Error::custom("expected an object that holds the tool's arguments by name"))
}

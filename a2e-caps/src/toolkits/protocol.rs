//! What goes over the wire for `toolkit/*`.

use a2e_core::message;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `toolkit/list/req`: which toolkits are there?
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ToolkitListRequest {
    /// Of this category; empty: of all.
    pub filter_kind: String,
    /// A toolkit must have all of these tags, upper or lower case.
    pub filter_tags: Vec<String>,
}

/// `toolkit/list/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ToolkitListResponse {
    /// The toolkits that match.
    pub toolkits: Vec<ToolkitDefinition>,
}

/// A toolkit, for agents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolkitDefinition {
    /// Its name.
    pub name: String,
    /// Another name, for people.
    #[serde(default)]
    pub alias: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Its kind.
    #[serde(default)]
    pub category: String,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// A picture.
    #[serde(default)]
    pub icon_svg: Option<String>,
    /// The JSON Schema of its configuration; what is a secret is `writeOnly`.
    #[serde(default)]
    pub schema: Map<String, Value>,
    /// The names of its tools, as `tool/list` has them once it is configured.
    pub tools: Vec<String>,
    /// Whether it is configured in this session.
    #[serde(default)]
    pub configured: bool,
    /// Its version.
    #[serde(default = "first_version")]
    pub version: String,
    /// Its configuration in this session, where the agent gave one; secrets are `***`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Map<String, Value>>,
}

/// `toolkit/configure/req`: makes the tools of a toolkit usable in this session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ToolkitConfigureRequest {
    /// Not used: a configuration belongs to the session of its connection.
    pub session_id: String,
    /// Which toolkit.
    #[serde(alias = "name")]
    pub toolkit_name: String,
    /// Its configuration, in place of one before.
    #[serde(alias = "schema")]
    pub config: Map<String, Value>,
}

/// `toolkit/configure/resp`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolkitConfigureResponse {
    /// As in the request.
    #[serde(default)]
    pub toolkit_name: String,
    /// What came of it; this host says `ok`, or answers with an error.
    #[serde(default)]
    pub status: ToolkitStatus,
    /// More, for people.
    #[serde(default)]
    pub message: Option<String>,
}

/// What came of a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolkitStatus {
    /// Its tools can be called.
    #[default]
    Ok,
    /// It is as before.
    Error,
    /// Some of its tools can be called.
    Partial,
}

message!(ToolkitListResponse, "toolkit/list/resp");
message!(ToolkitConfigureResponse, "toolkit/configure/resp");
message!(ToolkitListRequest, "toolkit/list/req" => ToolkitListResponse, MergeBy("name"));
message!(ToolkitConfigureRequest, "toolkit/configure/req" => ToolkitConfigureResponse, First;
    subject "toolkit_name");

fn first_version() -> String {
    "1.0.0".to_owned()
}

//! The settings of a toolkits plugin: what the operator opens to configurations of agents.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

#[cfg(feature = "http")]
use crate::tools::contract::HttpGetConfig;

/// The settings of a toolkits plugin. A built-in toolkit without its section is not offered.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct ToolkitConfig {
    /// Files below a folder.
    #[serde(default)]
    pub filesystem: Option<FilesystemSettings>,
    /// Pages below a URL (feature `http`).
    #[cfg(feature = "http")]
    #[serde(default)]
    pub http: Option<HttpSettings>,
    /// Queries of an SQLite file (feature `sqlite`).
    #[cfg(feature = "sqlite")]
    #[serde(default)]
    pub sqlite: Option<SqliteSettings>,
}

/// What `filesystem` may be configured to.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct FilesystemSettings {
    /// The folders below which an agent may choose its root; without any it cannot.
    #[serde(default)]
    pub within: Vec<PathBuf>,
    /// Whether its tools may write.
    #[serde(default)]
    pub allow_write: bool,
    /// A configuration for every session that gives none, by the operator and not held to `within`.
    #[serde(default)]
    pub config: Option<Map<String, Value>>,
}

/// What `http` may be configured to.
#[cfg(feature = "http")]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct HttpSettings {
    /// The URLs below which an agent may choose its base URL; `https://` is all of that scheme. Without any
    /// it cannot. Redirects are followed below the base URL and to these.
    #[serde(default)]
    pub within: Vec<String>,
    /// As `http_get` of the tools plugin.
    #[serde(default)]
    pub http_get: HttpGetConfig,
    /// A configuration for every session that gives none, by the operator and not held to `within`.
    #[serde(default)]
    pub config: Option<Map<String, Value>>,
}

/// What `sqlite` may be configured to.
#[cfg(feature = "sqlite")]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct SqliteSettings {
    /// The folders below which an agent may choose a file; without any it cannot.
    #[serde(default)]
    pub within: Vec<PathBuf>,
    /// How long a query may take, in seconds; 5 by default, 60 at most.
    #[serde(default)]
    pub timeout_s: Option<f64>,
    /// A configuration for every session that gives none, by the operator and not held to `within`.
    #[serde(default)]
    pub config: Option<Map<String, Value>>,
}

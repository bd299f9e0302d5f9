//! `host/explain/*`: the way of a message type through a host.

use serde::{Deserialize, Serialize};

use super::PluginHealth;
use crate::message;

/// `host/explain/req`: which plugins handle a type, and how.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostExplainRequest {
    /// The message type that is asked about.
    pub message_type: String,
}

/// `host/explain/resp`: the way of a message type through the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct Explanation {
    /// The type that was asked about.
    pub message_type: String,
    /// Whether any plugin handles it.
    pub is_handled: bool,
    /// Whether the kernel answers it itself.
    pub is_core: bool,
    /// The type of its reply; empty for one-way messages.
    pub reply_type: String,
    /// How several answers become one.
    pub fold: String,
    /// How long it may take: `30 s`, `field timeout, else 30 s`, `none`.
    pub deadline: String,
    /// The interceptors that see it before the handlers, in this order.
    pub interceptors: Vec<ExplainedInterceptor>,
    /// The handlers that get it, in this order.
    pub handlers: Vec<ExplainedHandler>,
    /// Plugins that handle it, too, and are not asked, or not just now.
    pub left_out: Vec<LeftOut>,
    /// Plugins that are configured and not loaded: they might handle it.
    pub not_loaded: Vec<LeftOut>,
    /// Types that are handled and look much like it.
    pub nearest: Vec<String>,
}

/// One interceptor of a type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct ExplainedInterceptor {
    /// Its name.
    pub name: String,
    /// The plugin that registered it.
    pub plugin: String,
    /// Higher is asked first.
    pub priority: i64,
}

/// One handler of a type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct ExplainedHandler {
    /// The plugin's instance name.
    pub plugin: String,
    /// Its class.
    pub cls: String,
    /// Higher is asked first.
    pub priority: i64,
    /// Whether it alone is asked.
    pub exclusive: bool,
    /// Where it runs: `inline`, `pool`, `blocking`, `future`.
    pub run: String,
    /// Whether the plugin has one instance for the host or one for each session: `host`, `session`.
    pub scope: String,
    /// How many of its runs there may be at a time; none for inline handlers.
    pub permits: Option<usize>,
    /// The plugin's own limit in seconds, where configured.
    pub deadline_s: Option<f64>,
    /// Whether the plugin serves.
    pub health: PluginHealth,
}

/// A plugin that is not asked, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct LeftOut {
    /// The plugin's instance name.
    pub plugin: String,
    /// Why it is not asked.
    pub reason: String,
}

message!(Explanation, "host/explain/resp");
message!(HostExplainRequest, "host/explain/req" => Explanation, First);

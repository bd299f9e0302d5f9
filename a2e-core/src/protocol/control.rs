//! The messages that the kernel itself answers: handshake, ping, cancel, shutdown.

use serde::{Deserialize, Serialize};

use super::error::ErrorCode;
use super::number::integer;
use crate::message;

/// In `client_features`: the client takes events of a request that come right behind its reply. The
/// reference's loses some of them, so that without this feature the first of them waits 20 ms.
pub const EARLY_EVENTS: &str = "early_events";

/// `handshake/req`: the identity of the agent and the capabilities it wants to use.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HandshakeRequest {
    /// The agent's own name, free text.
    #[serde(default)]
    pub agent_id: String,
    /// Capability names that the agent wants; unknown ones are left out of the answer.
    #[serde(default)]
    pub agent_caps: Vec<String>,
    /// The host's token, where it has one.
    #[serde(default)]
    pub auth_token: String,
    /// Asks for a session that can be resumed, and names the one to go on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
    /// What the client can do that the reference's cannot: `early_events`, `approvals`. Other names are
    /// passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_features: Vec<String>,
    /// Fields that it had and the host does not know; never on the wire.
    #[serde(skip)]
    pub unknown: Vec<String>,
}

/// `resume` of a handshake: which session, and how far the agent has read it.
///
/// The lines that a host sends in a resumable session count 1, 2, 3, … from behind the
/// `handshake/resp` that made it resumable; `handshake/resp` itself is never counted, the number is
/// not on the wire, and counting goes on when the session is resumed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Resume {
    /// The session; empty only asks for one that can be resumed later.
    pub session_id: String,
    /// The number of its lines that the agent has received.
    #[serde(deserialize_with = "integer")]
    pub last_seq: u64,
}

/// `session/gap/push`: messages of the session that a stream missed and the host no longer has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SessionGap {
    /// How many, right before the next message.
    pub lost: u64,
}

/// `tool/changed/push` and its like, one for each namespace of types: what is offered there is other than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Changed {
    /// Grows with each change.
    pub generation: u64,
}

/// `handshake/resp`: what the session may use.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HandshakeResponse {
    /// The session; the same when a handshake is repeated on one connection.
    #[serde(default)]
    pub session_id: String,
    /// One entry per loaded plugin whose capability was asked for, in configuration order.
    #[serde(default)]
    pub accepted_caps: Vec<AcceptedCapability>,
    /// Advice: how many requests to keep in flight. More are queued, not refused.
    #[serde(default = "four", deserialize_with = "integer")]
    pub max_parallel: u32,
    /// Whether the handshake succeeded.
    #[serde(default = "yes")]
    pub ok: bool,
    /// Why not: `auth_failed`, `version_mismatch`, `server_error`.
    #[serde(default)]
    pub reason: String,
    /// The same as a code of the register; there when `ok` is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// Facts about the host; absent from other implementations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostFacts>,
    /// Whether the session asked for goes on here; there when the request had `resume`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<bool>,
    /// How many lines are lost for good; -1: unknown, counting begins again at 0. There when the
    /// request had `resume`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<i64>,
    /// Fields of the request that the host does not know; absent where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<String>,
}

fn four() -> u32 {
    4
}

fn yes() -> bool {
    true
}

/// A capability that the session may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AcceptedCapability {
    /// The capability's wire name.
    pub capability: String,
    /// Always true in what we send.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The plugin that offers it.
    #[serde(default)]
    pub metadata: CapabilityMetadata,
}

/// The plugin behind an accepted capability.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CapabilityMetadata {
    /// The plugin's instance name.
    #[serde(default)]
    pub name: String,
    /// The capability again, as the reference has it.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Higher is asked first.
    #[serde(default)]
    pub priority: i64,
    /// Whether only this plugin is asked.
    #[serde(default)]
    pub exclusive: bool,
}

/// Facts about the host in a handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostFacts {
    /// The program's version.
    pub version: String,
    /// The audit mode in force.
    pub audit: String,
    /// How child processes are kept from outliving the host.
    pub isolation: String,
}

/// `ping`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Ping {}

/// `pong`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pong {
    /// Seconds since the host started.
    #[serde(default)]
    pub uptime_seconds: f64,
}

/// `shutdown`: ends the session; on stdio also the host. It gets no reply.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Shutdown {
    /// Seconds that accepted requests may still take.
    #[serde(default = "ten", deserialize_with = "integer")]
    pub timeout: u64,
}

fn ten() -> u64 {
    10
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { timeout: ten() }
    }
}

/// `cancel`: ends a request of the same session with the error `cancelled`. It gets no reply of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cancel {
    /// The id of the request to end.
    pub req_id: String,
}

message!(HandshakeResponse, "handshake/resp");
message!(HandshakeRequest, "handshake/req" => HandshakeResponse, First);
message!(Pong, "pong");
message!(SessionGap, "session/gap/push");
message!(Changed, "*/changed/push");
message!(Ping, "ping" => Pong, First);
message!(Shutdown, "shutdown");
message!(Cancel, "cancel");

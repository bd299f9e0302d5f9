//! The messages with which an operator inspects and steers a host: `host/*`.
//!
//! They are served over stdio, over a Unix socket of the same user (see `server.operators`), and to
//! peers that shook hands with the operator token.

mod explain;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::ErrorCode;
use crate::message;
pub use explain::{
    ExplainedHandler, ExplainedInterceptor, Explanation, HostExplainRequest, LeftOut,
};

/// `host/status/req`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostStatusRequest {}

/// `host/status/resp`: a look at the whole host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct HostStatus {
    /// The host's name.
    pub host_id: String,
    /// The program's version.
    pub program: String,
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// Rises each time the table of plugins changes; 1 after the start.
    pub generation: u64,
    /// Open sessions.
    pub sessions: usize,
    /// Sessions without a connection that wait to be resumed.
    pub parked_sessions: usize,
    /// Bytes of sent lines that are kept for resumes, in all sessions.
    pub resume_bytes: usize,
    /// Requests that have left their readers and are not answered.
    pub in_flight: usize,
    /// Of these, the ones that wait for a permit.
    pub waiting: usize,
    /// Bytes that wait to be sent, in all sessions.
    pub unsent_bytes: usize,
    /// Bytes that the process has in memory, where a budget is configured; else 0.
    pub memory_bytes: usize,
    /// Threads of futures that a future blocks.
    pub blocked_future_threads: usize,
    /// Why handlers do not run as they should, if they do not.
    pub trouble: Option<String>,
    /// Child processes that live.
    pub children: usize,
    /// How children are held: `guard`, `group`.
    pub isolation: String,
    /// Each of them.
    pub processes: Vec<ProcessStatus>,
    /// The audit mode in force.
    pub audit: String,
    /// Audit records that reached the file.
    pub audit_written: u64,
    /// Audit records that were lost.
    pub audit_lost: u64,
    /// Why the audit fails now, if it does.
    pub audit_failing: Option<String>,
    /// The path of the audit file.
    pub audit_path: Option<String>,
    /// Every configured plugin.
    pub plugins: Vec<PluginStatus>,
    /// Every message type that a plugin has handled.
    pub types: Vec<TypeStatus>,
    /// The sessions with most in flight, at most 200.
    pub busiest: Vec<SessionStatus>,
    /// Calls that wait for a person, the oldest first.
    pub approvals: Vec<ApprovalStatus>,
    /// Plugins that a reload has replaced or removed and whose calls go on.
    pub retiring: Vec<String>,
    /// Counters of unusual events (refusals, drops, late answers), by name.
    pub counters: BTreeMap<String, u64>,
    /// Whether handlers do not run as they should, or the audit fails.
    pub is_degraded: bool,
}

/// Whether a plugin serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PluginHealth {
    /// It takes messages.
    #[default]
    Serving,
    /// It serves, though not as it should, as it says itself.
    Degraded,
    /// It says itself that it cannot serve.
    Down,
    /// It failed so often that it gets no messages for a while (see its breaker).
    Resting,
    /// Too many of its handlers hang, or it panicked again after it was built anew; it gets no messages.
    Quarantined,
    /// It was not built or not started.
    Failed,
    /// Its configuration says `enabled: false`.
    Disabled,
}

impl PluginHealth {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Resting => "resting",
            Self::Quarantined => "quarantined",
            Self::Failed => "failed",
            Self::Disabled => "disabled",
        }
    }

    /// Whether nothing is wrong: it serves, or is not meant to.
    pub fn is_well(self) -> bool {
        matches!(self, Self::Serving | Self::Disabled)
    }
}

/// A look at one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct PluginStatus {
    /// Its instance name.
    pub name: String,
    /// Its class.
    pub cls: String,
    /// Its capability.
    pub capability: String,
    /// Whether it serves.
    pub health: PluginHealth,
    /// Why it does not.
    pub reason: Option<String>,
    /// Why its state, or that of a session, was not restored or not saved the last time.
    pub state_problem: Option<String>,
    /// What it says of itself.
    pub notes: Vec<String>,
    /// The message types that it handles.
    pub types: Vec<String>,
    /// Higher is asked first.
    pub priority: i64,
    /// Whether only it is asked.
    pub exclusive: bool,
    /// Handlers that were called.
    pub calls: u64,
    /// Handlers that panicked.
    pub panics: u64,
    /// Requests that it did not answer in time.
    pub timeouts: u64,
    /// How often it was built anew.
    pub rebuilds: u64,
    /// Where its breaker stands: `closed`, `open`, `probing`.
    pub breaker: String,
    /// How often its breaker opened.
    pub breaker_opened: u64,
    /// Handlers that run now, inline ones left out.
    pub running: usize,
    /// Requests that wait for its permits.
    pub queued: usize,
    /// Threads that hang in its handlers.
    pub stuck: usize,
    /// Handlers that may run at a time.
    pub permits: PermitStatus,
}

/// The requests of one message type that have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct TypeStatus {
    /// The type; `other` for all that no plugin handled.
    pub message_type: String,
    /// How many ended how: `ok`, `error`, `refused`, `timeout`, `cancelled`, `client_gone`, `panic`.
    pub outcomes: BTreeMap<String, u64>,
    /// Bytes of the requests.
    pub input_bytes: u64,
    /// Bytes of the answers.
    pub output_bytes: u64,
    /// From acceptance to the start of a handler.
    pub queue: LatencyStatus,
    /// From there to the answer.
    pub run: LatencyStatus,
}

/// Durations, counted by size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct LatencyStatus {
    /// Half of them are at most this long, in microseconds; an upper bound.
    pub p50_us: u64,
    /// 99 of 100 are at most this long, in microseconds; an upper bound.
    pub p99_us: u64,
    /// All of them together, in microseconds.
    pub sum_us: u64,
    /// How many are at most as long as each bound and longer than the one before: 50, 100, 250, 500 us,
    /// 1, 2.5, 5, 10, 25, 50, 100, 250 ms, 1, 5, 30, 300 s; the last is what is longer.
    pub counts: Vec<u64>,
}

/// The bounds of [`LatencyStatus::counts`], in microseconds.
pub const LATENCY_BOUNDS_US: [u64; 16] = [
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    1_000_000,
    5_000_000,
    30_000_000,
    300_000_000,
];

/// A look at one session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct SessionStatus {
    /// Its id.
    pub session_id: String,
    /// The other end: `tcp 127.0.0.1:4711`.
    pub peer: String,
    /// Its name as authenticated, if it was.
    pub principal: String,
    /// What the agent calls itself.
    pub agent_id: String,
    /// Bytes that wait to be sent.
    pub unsent_bytes: usize,
    /// Its requests that are not answered, the oldest first, at most 20.
    pub in_flight: Vec<CallStatus>,
}

/// A look at one request that is not answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct CallStatus {
    /// Its id.
    pub req_id: String,
    /// Its type.
    pub message_type: String,
    /// The plugin that was asked last.
    pub plugin: String,
    /// Seconds since it was accepted.
    pub age_seconds: f64,
}

/// A look at one call that waits for a person.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct ApprovalStatus {
    /// Its id in `approval/*`.
    pub approval_id: String,
    /// Why it waits.
    pub rules: Vec<String>,
    /// The caller, as it was authenticated; empty where it was not.
    pub principal: String,
    /// What the caller calls itself.
    pub agent_id: String,
    /// The session of the caller.
    pub session_id: String,
    /// The id of its request.
    pub req_id: String,
    /// The type of its request.
    pub message_type: String,
    /// Seconds since it began to wait.
    pub age_seconds: f64,
}

/// `host/cancel/req`: end a request of any session.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostCancelRequest {
    /// The session, as `host/status/resp` names it.
    pub session_id: String,
    /// The request.
    // The encoder keeps `req_id` for the envelope: our own side writes `request_id`.
    #[serde(rename(serialize = "request_id"), alias = "request_id")]
    pub req_id: String,
}

/// `host/cancel/resp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct HostCancel {
    /// Whether there was such a request in flight; it has ended as `cancelled`.
    pub found: bool,
}

/// A look at one child process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct ProcessStatus {
    /// Its process id.
    pub pid: u32,
    /// The program, as it was asked for.
    pub program: String,
    /// When it was started, in Unix seconds.
    pub since: f64,
    /// How often the same program had been started before it, where it is kept running.
    pub restarts: u32,
    /// `running`, or `ending` while its descendants die.
    pub state: String,
    /// How it is held: `guard`, `group`, `pidns`.
    pub isolation: String,
    /// The last lines of its standard error, where the host reads that.
    pub stderr: Vec<String>,
}

/// How many handlers of a plugin may run at a time, by where they run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PermitStatus {
    /// On the worker pool.
    pub pool: usize,
    /// On threads that may block.
    pub blocking: usize,
    /// As futures.
    pub future: usize,
}

/// `host/reload/req`: read the configuration again and put its plugins in force.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostReloadRequest {
    /// Plugins to build anew although nothing changed, by name; `["*"]` is all of them.
    #[serde(default)]
    pub rebuild: Vec<String>,
}

/// `host/reload/resp`: what a reload did, by plugin names. A reload that is refused changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct ReloadReport {
    /// Whether the configuration is in force now.
    pub ok: bool,
    /// The number of the table in force; rises with each change.
    pub generation: u64,
    /// Plugins that are new.
    pub added: Vec<String>,
    /// Plugins that are gone. Their calls in flight come to their end.
    pub removed: Vec<String>,
    /// Plugins that were built anew, with the state of the instance before.
    pub rebuilt: Vec<String>,
    /// Plugins whose priority, permits or the like changed; the instance stayed.
    pub adjusted: Vec<String>,
    /// Plugins that were not touched.
    pub kept: Vec<String>,
    /// Plugins that failed before, with the same configuration, and fail still.
    pub failed: Vec<String>,
    /// Keys that differ from what the host was started with and take effect at its next start.
    pub needs_restart: Vec<String>,
    /// Why it was refused.
    pub problems: Vec<ReloadProblem>,
    /// The same for programs; there when `ok` is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
}

/// One problem that keeps a configuration from being put in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct ReloadProblem {
    /// The plugin, where it is one's.
    pub plugin: Option<String>,
    /// The problem, with its place in the file.
    pub message: String,
}

/// `host/snapshot/req`: save the state of every plugin now.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostSnapshotRequest {}

/// `host/snapshot/resp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct HostSnapshot {
    /// How many plugins were asked and did not fail.
    pub saved: usize,
    /// The failures, as texts that name the plugin.
    pub failed: Vec<String>,
}

/// `host/stop/req`: finish what was accepted, and end.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostStopRequest {
    /// Seconds that accepted requests may go on, at most 3600; without it, as the host was told when it
    /// was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_s: Option<f64>,
}

/// `host/stop/resp`: from now on the host takes nothing new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct HostStop {
    /// Seconds that accepted requests may go on.
    pub drain_s: f64,
    /// Requests in flight.
    pub in_flight: usize,
    /// The process id of the host.
    pub pid: u32,
}

message!(HostStatus, "host/status/resp");
message!(HostStatusRequest, "host/status/req" => HostStatus, First);
message!(ReloadReport, "host/reload/resp");
message!(HostReloadRequest, "host/reload/req" => ReloadReport, First);
message!(HostSnapshot, "host/snapshot/resp");
message!(HostSnapshotRequest, "host/snapshot/req" => HostSnapshot, First);
message!(HostCancel, "host/cancel/resp");
message!(HostCancelRequest, "host/cancel/req" => HostCancel, First);
message!(HostStop, "host/stop/resp");
message!(HostStopRequest, "host/stop/req" => HostStop, First);

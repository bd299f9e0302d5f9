//! What goes over the wire for `proc/*`.

use std::collections::BTreeMap;
use std::fmt;

use a2e_core::message;
use a2e_core::protocol::ErrorCode;
use a2e_core::protocol::number::integer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `proc/spawn/req`: starts a program. No shell is added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SpawnRequest {
    /// Accepted and not used: a process belongs to the session that started it.
    pub session_id: String,
    /// Program and arguments; the program must be in the host's list, letter by letter.
    pub cmd: Vec<String>,
    /// The folder to start in; empty: the host's.
    pub cwd: String,
    /// Variables laid over those that the program inherits.
    pub env: BTreeMap<String, String>,
    /// Where its standard input comes from.
    pub stdin_mode: StdinMode,
    /// Seconds after which it is killed; 0 or less: what the host's `timeout` setting says.
    #[serde(deserialize_with = "integer")]
    pub timeout: i64,
}

/// Where the standard input of a process comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StdinMode {
    /// From `proc/write/req`.
    #[default]
    Pipe,
    /// It has none.
    Null,
}

/// `proc/spawn/resp`: the process, or why there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SpawnResponse {
    /// 32 hex digits that the session names the process by; empty without one.
    pub proc_id: String,
    /// Whether it was started.
    pub ok: bool,
    /// The system's number of the process; 0 without one.
    #[serde(deserialize_with = "integer")]
    pub pid: u32,
    /// Why it was not started.
    pub error: String,
    /// The same for programs; there when it was not started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
}

/// `proc/write/req`: text for the standard input of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WriteRequest {
    /// Which process.
    pub proc_id: String,
    /// The text; nothing is added to it, no newline either.
    pub data: String,
    /// Whether the input ends after it.
    pub eof: bool,
}

/// `proc/write/resp`: whether the process took the text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WriteResponse {
    /// As in the request.
    pub proc_id: String,
    /// Whether all of it was taken.
    pub ok: bool,
    /// The system's number of the process; 0 when it is unknown.
    #[serde(deserialize_with = "integer")]
    pub pid: u32,
    /// Why not, and how much of it.
    pub error: String,
    /// The same for programs; there when `ok` is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
}

/// `proc/kill/req`: ends a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KillRequest {
    /// Which process.
    pub proc_id: String,
    /// What is sent first. A process that does not end of it is killed after the host's
    /// `kill_grace_s`.
    pub signal: KillSignal,
}

/// The signals that a client may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KillSignal {
    /// Please end.
    #[default]
    #[serde(rename = "SIGTERM")]
    Terminate,
    /// Ends at once.
    #[serde(rename = "SIGKILL")]
    Kill,
    /// As Ctrl-C.
    #[serde(rename = "SIGINT")]
    Interrupt,
}

/// `proc/kill/resp`: sent when the process and all that it started are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KillResponse {
    /// Whether the request ended it.
    pub ok: bool,
    /// The status afterwards; for an unknown process `not_found`.
    pub state: String,
    /// Why not.
    pub error: String,
    /// The same for programs; there when `ok` is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
}

/// `proc/status/req`: asks for one process or, with an empty id, for all of the session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StatusRequest {
    /// Which process.
    pub proc_id: String,
}

/// `proc/status/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatusResponse {
    /// As in the request.
    pub proc_id: String,
    /// `running`, `completed`, `failed`, `killed`, `timedout`; `not_found` also when all were asked for.
    pub status: String,
    /// Why there is no status.
    pub error: String,
    /// The same for programs; there when `error` says something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// All processes of the session that are remembered, in the order of their start; only when
    /// the request named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub procs: Option<Vec<ProcessInfo>>,
}

/// One line of the list of processes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessInfo {
    /// Its id.
    pub proc_id: String,
    /// Program and arguments, cut off with `…` after 1 KiB.
    pub cmd: Vec<String>,
    /// As `status` says of one process.
    pub state: String,
    /// The system's number; it may be another's when the process has ended.
    #[serde(deserialize_with = "integer")]
    pub pid: u32,
    /// What it returned; minus the signal's number when it was ended by one. Null while it runs.
    pub exit_code: Option<i32>,
    /// Seconds since the Unix epoch.
    pub started_at: f64,
}

/// The state of a process, as text in `status` and `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It runs.
    Running,
    /// It returned 0.
    Completed,
    /// It returned something else, or was ended by a signal from elsewhere.
    Failed,
    /// It was told to end by `proc/kill/req` or by the end of its session.
    Killed,
    /// Its `timeout` passed.
    TimedOut,
    /// This session has, or remembers, no such process.
    NotFound,
}

impl Status {
    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::TimedOut => "timedout",
            Self::NotFound => "not_found",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `proc/read/event`: one line of output, or a part of one, or the end. Its `req_id` is that of the spawn request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadEvent {
    /// Always `status`.
    #[serde(default)]
    pub kind: String,
    /// What happened.
    #[serde(default)]
    pub data: ReadData,
    /// Counts the events of this process from 0.
    #[serde(default, deserialize_with = "integer")]
    pub seq: u64,
    /// Which process.
    #[serde(default)]
    pub proc_id: String,
    /// Where it came from. At the exit: stdout for code 0, else stderr.
    #[serde(default)]
    pub stream_type: StreamType,
}

/// What the output holds: a line has `text`, the exit has `code`, the end by a kill nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ReadData {
    /// A line with its newline. It has none where the output ended without one, and where a line goes
    /// on in a later event: one longer than 64 KiB, or one whose end has not come within 30 ms, such as
    /// a prompt or a progress bar. Bytes that are no UTF-8 are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What the process returned; minus the signal's number when it was ended by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
}

/// The stream or end that an event reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StreamType {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of a process that was killed; no exit follows.
    Killed,
}

message!(SpawnResponse, "proc/spawn/resp");
message!(SpawnRequest, "proc/spawn/req" => SpawnResponse, First; subject "cmd");
message!(WriteResponse, "proc/write/resp");
message!(WriteRequest, "proc/write/req" => WriteResponse, First; subject "proc_id");
message!(KillResponse, "proc/kill/resp");
message!(KillRequest, "proc/kill/req" => KillResponse, First; subject "proc_id", "signal");
message!(StatusResponse, "proc/status/resp");
message!(StatusRequest, "proc/status/req" => StatusResponse, First; subject "proc_id");
message!(ReadEvent, "proc/read/event");

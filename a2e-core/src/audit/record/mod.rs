//! One audit record, and the bytes that it becomes.

mod detail;
mod line;
mod packed;
#[cfg(test)]
mod tests;

pub use detail::Detail;
pub(super) use line::{Gap, MAX_LINE, push_crc, push_gap, push_record};
#[cfg(test)]
pub(super) use packed::MAX_PACKED;
pub(super) use packed::{Unpacked, pack};

use crate::Time;

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RecordOutcome {
    /// A reply that is not an `error`.
    #[default]
    Ok,
    /// The handler answered with an error.
    Error,
    /// The host did not let it reach a handler.
    Refused,
    /// The deadline passed.
    Timeout,
    /// It was cancelled.
    Cancelled,
    /// The client left before the answer.
    ClientGone,
    /// The handler panicked.
    Panic,
}

impl RecordOutcome {
    /// Every outcome.
    pub const ALL: [RecordOutcome; 7] = [
        Self::Ok,
        Self::Error,
        Self::Refused,
        Self::Timeout,
        Self::Cancelled,
        Self::ClientGone,
        Self::Panic,
    ];

    /// The outcome as it stands in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::ClientGone => "client_gone",
            Self::Panic => "panic",
        }
    }
}

/// The facts about a request when it ends.
#[derive(Clone, Copy, Debug)]
pub struct AuditRecord<'a> {
    /// When the whole line had been read and checked.
    pub accepted: Time,
    /// When the handler began; equal to `ended` where none did.
    pub started: Time,
    /// When the request ended; becomes `ts` and `mono_us`.
    pub ended: Time,
    /// The session; empty before there is one.
    pub session_id: &'a str,
    /// The request's `id`; empty when the line had none that could be read.
    pub req_id: &'a str,
    /// The request's own `correlation_id`; without one `req_id` stands there.
    pub correlation_id: Option<&'a str>,
    /// The trace that it belongs to, where its sender said so.
    pub trace_id: Option<&'a str>,
    /// The `type` of the request.
    pub kind: &'a str,
    /// The instance that answered.
    pub plugin: Option<&'a str>,
    /// The agent, as the handshake named it.
    pub agent_id: Option<&'a str>,
    /// The authenticated principal, where there is one.
    pub principal: Option<&'a str>,
    /// How it ended; `success` is true for [`RecordOutcome::Ok`] alone.
    pub outcome: RecordOutcome,
    /// The code of the error that was answered.
    pub error_code: Option<&'a str>,
    /// Size of the request's line.
    pub input_bytes: usize,
    /// Size of the reply's line; 0 without one.
    pub output_bytes: usize,
    /// What it was about, as far as `audit.detail` has it recorded.
    pub detail: Option<&'a Detail>,
}

impl AuditRecord<'_> {
    /// An empty record of something that ended at once; fill in the rest with `..`.
    pub fn at(now: Time) -> Self {
        Self {
            accepted: now,
            started: now,
            ended: now,
            session_id: "",
            req_id: "",
            correlation_id: None,
            trace_id: None,
            kind: "",
            plugin: None,
            agent_id: None,
            principal: None,
            outcome: RecordOutcome::Ok,
            error_code: None,
            input_bytes: 0,
            output_bytes: 0,
            detail: None,
        }
    }
}

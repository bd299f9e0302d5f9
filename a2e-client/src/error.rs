//! The errors of calls and connections.

use std::io;
use std::ops::Deref;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::Error;
use a2e_core::codec::EncodeError;
use a2e_core::protocol::{ErrorBody, ErrorCode};

/// An error of the host: its fields, and the line as it came.
#[derive(Clone, Debug)]
pub struct HostError {
    body: ErrorBody,
    line: Box<str>,
}

impl HostError {
    pub(crate) fn new(body: ErrorBody, line: &str) -> Self {
        Self { body, line: line.into() }
    }

    /// The whole message, one JSON object.
    pub fn line(&self) -> &str {
        &self.line
    }
}

impl Deref for HostError {
    type Target = ErrorBody;

    fn deref(&self) -> &ErrorBody {
        &self.body
    }
}

/// Why a call or a connection failed. Cheap to clone: one loss fails many calls.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The host answered with an error.
    #[error("{}: {}", .0.code, .0.message)]
    Remote(Arc<HostError>),
    /// No answer came in time; a `cancel` was sent. A late answer is counted and dropped.
    #[error("no answer to `{wire_type}` within {after:?}")]
    Timeout {
        /// The type of the request.
        wire_type: Box<str>,
        /// The time limit that passed.
        after: Duration,
    },
    /// The connection has ended, before or during the call.
    #[error("{0}")]
    Closed(Closed),
    /// The connection was lost before the answer came, and is made again. Whether the host did the work
    /// is not known; only calls that are [repeatable](crate::CallOptions::repeatable) are sent again.
    #[error("no answer came before the connection was lost, the work may be done or not: {0}")]
    Interrupted(Closed),
    /// The connection is away and calls do not wait for it, see [`WhileAway`](crate::WhileAway). Nothing
    /// was sent.
    #[error("not connected; attempt {attempt} to reconnect is under way, because: {reason}")]
    Reconnecting {
        /// Which attempt it is, from 1.
        attempt: u32,
        /// Why there is no connection.
        reason: Box<str>,
    },
    /// The connection is away and [as many calls](crate::Reconnect::max_waiting) wait for it as may.
    /// Nothing was sent.
    #[error("not connected, and {waiting} calls wait for the connection, as many as may")]
    TooManyWaiting {
        /// How many wait.
        waiting: usize,
    },
    /// This call blocks its thread, which must not be blocked: it runs asynchronous tasks, or is the
    /// client's own. Nothing was done.
    #[error("blocking calls cannot be made here: {0}")]
    WouldDeadlock(Box<str>),
    /// No connection was made.
    #[error("cannot reach {target}: {reason}")]
    Connect {
        /// The address or command that was tried.
        target: Box<str>,
        /// What went wrong.
        reason: Arc<io::Error>,
    },
    /// The host refused the handshake: `auth_failed`, `version_mismatch`, `server_error`.
    #[error("the host refused the handshake: {reason}")]
    Handshake {
        /// The reason that the host gave.
        reason: Box<str>,
    },
    /// The host broke the protocol.
    #[error("the host broke the protocol: {0}")]
    Protocol(Box<str>),
    /// The request has no form on the wire; nothing was sent.
    #[error("request not encoded: {0}")]
    Encode(#[from] EncodeError),
    /// The request is longer than [`Options::max_line_bytes`](crate::Options::max_line_bytes); nothing was sent.
    #[error("a request of {bytes} bytes; at most {limit} are sent")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Events that must not be dropped came faster than they were taken; a `cancel` was sent.
    #[error("the events of this call were not taken in time; {held} were waiting")]
    EventsNotTaken {
        /// How many waited.
        held: usize,
    },
}

impl ClientError {
    pub(crate) fn connect(target: impl Into<Box<str>>, reason: io::Error) -> Self {
        Self::Connect { target: target.into(), reason: Arc::new(reason) }
    }

    pub(crate) fn protocol(text: impl Into<Box<str>>) -> Self {
        Self::Protocol(text.into())
    }

    /// The error of the host, where it is one.
    pub fn remote(&self) -> Option<&HostError> {
        match self {
            Self::Remote(error) => Some(error),
            _ => None,
        }
    }

    /// The code of the host's error; what programs branch on.
    pub fn code(&self) -> Option<&ErrorCode> {
        self.remote().map(|body| &body.code)
    }

    /// Whether the same call may succeed later: what the host says of its own errors, time-outs, and
    /// what a connection that comes back cut short.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Remote(body) => body.retryable,
            Self::Timeout { .. }
            | Self::Interrupted(_)
            | Self::Reconnecting { .. }
            | Self::TooManyWaiting { .. } => true,
            _ => false,
        }
    }
}

/// For hosts and plugins that call another host: remote errors keep their code.
impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Remote(error) => Arc::unwrap_or_clone(error).body.into(),
            ClientError::Timeout { .. } => Self::new(ErrorCode::Timeout, error.to_string()),
            ClientError::Closed(_)
            | ClientError::Connect { .. }
            | ClientError::Interrupted(_)
            | ClientError::Reconnecting { .. }
            | ClientError::TooManyWaiting { .. } => {
                Self::new(ErrorCode::Unavailable, error.to_string())
            }
            _ => Self::runtime(error.to_string()),
        }
    }
}

/// Why a connection has ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Closed {
    /// This side closed it.
    #[error("the connection was closed on this side")]
    ByUs,
    /// The host ended its output.
    #[error("the host closed the connection")]
    Ended,
    /// Reading or writing failed.
    #[error("the connection was lost: {0}")]
    Lost(Arc<io::Error>),
    /// The host process ended.
    #[error("the host process ended ({status}){}", last_words(.stderr))]
    Exited {
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote to standard error, where that was collected.
        stderr: Arc<str>,
    },
    /// It was lost and could not be made again.
    #[error("{lost}; given up after {attempts} attempts to reconnect: {last}")]
    GaveUp {
        /// How many attempts were made.
        attempts: u32,
        /// How it was lost.
        lost: Arc<Closed>,
        /// What the last attempt failed with.
        last: Arc<ClientError>,
    },
}

impl From<Closed> for ClientError {
    fn from(closed: Closed) -> Self {
        Self::Closed(closed)
    }
}

fn last_words(stderr: &str) -> String {
    let text = stderr.trim_end();
    if text.is_empty() { String::new() } else { format!("; its last words: {text}") }
}

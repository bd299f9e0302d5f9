//! How a command ends when it does not succeed.

use std::fmt::{self, Display};
use std::io::Write;
use std::process::ExitCode;

use a2e_client::ClientError;
use a2e_core::protocol::{ErrorBody, ErrorCode};
use serde_json::{Map, Value};

use crate::stdout::print;

/// A message for people, an exit code for scripts, and an error code for programs.
#[derive(Debug)]
pub struct Failure {
    exit: u8,
    message: String,
    /// What `--json` shows, a line; a failure whose report is on stdout already has none.
    line: Option<Box<str>>,
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    /// Refused, or problems were found: exit code 1.
    pub fn refused(message: impl Display) -> Self {
        Self::new(1, ErrorCode::RuntimeError, message.to_string())
    }

    /// Exit code 1, and everything was said already.
    pub fn silent() -> Self {
        Self::reported("")
    }

    /// Exit code 1; the report is on stdout already, for people this is to be said of it.
    pub fn reported(message: impl Display) -> Self {
        Self { exit: 1, message: message.to_string(), line: None }
    }

    /// No answer in time: exit code 1.
    pub(crate) fn late(message: impl Display) -> Self {
        Self::new(1, ErrorCode::Timeout, message.to_string())
    }

    /// An `error` message in the place of an answer: exit code 1.
    pub(crate) fn of_error(line: &str) -> Self {
        match serde_json::from_str::<ErrorBody>(line) {
            Ok(body) => Self::of_body(&body, line),
            Err(error) => Self::refused(format_args!("`error`: {error}")),
        }
    }

    /// `line` is the whole message as it came.
    fn of_body(body: &ErrorBody, line: &str) -> Self {
        let mut message = format!("error {}: {}", body.code, body.message);
        if !body.detail.is_empty()
            && let Ok(detail) = serde_json::to_string_pretty(&body.detail)
        {
            message = format!("{message}\n{detail}");
        }
        Self { exit: 1, message, line: Some(line.into()) }
    }

    /// Wrong usage: exit code 2.
    pub fn usage(message: impl Display) -> Self {
        Self::new(2, ErrorCode::InvalidMessage, message.to_string())
    }

    /// Something that should not happen: exit code 70.
    pub fn internal(message: impl Display) -> Self {
        Self::new(70, ErrorCode::InternalError, message.to_string())
    }

    fn new(exit: u8, code: ErrorCode, message: String) -> Self {
        Self::with(exit, message.clone(), &a2e_core::Error::new(code, message))
    }

    fn with(exit: u8, message: String, error: &a2e_core::Error) -> Self {
        let body = error.to_body("");
        let mut whole = Map::from_iter([("type".to_owned(), Value::from("error"))]);
        if let Ok(Value::Object(fields)) = serde_json::to_value(&body) {
            whole.extend(fields);
        }
        Self { exit, message, line: Some(Value::Object(whole).to_string().into()) }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        self.exit
    }

    /// Says it on stderr, where `is_json` also whole on stdout, and gives the code.
    pub(crate) fn report(&self, is_json: bool) -> ExitCode {
        if !self.message.is_empty() {
            let text = format!("a2e: {}\n", self.message);
            // One write, so that it is whole among other lines; nothing to do when stderr is gone.
            let _gone = std::io::stderr().write_all(text.as_bytes());
        }
        if let Some(line) = self.line.as_ref().filter(|_| is_json) {
            let _gone = print(&format!("{line}\n"));
        }
        ExitCode::from(self.exit)
    }
}

/// What a host inside this process answered: exit code 1.
impl From<a2e_core::Error> for Failure {
    fn from(error: a2e_core::Error) -> Self {
        Self::with(1, format!("error {error}"), &error)
    }
}

/// What kept a command from its answer, or an error in the answer's place.
impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        if let Some(error) = error.remote() {
            return Self::of_body(error, error.line());
        }
        let code = match &error {
            ClientError::Timeout { .. } => ErrorCode::Timeout,
            ClientError::Connect { .. } | ClientError::Closed(_) => ErrorCode::Unavailable,
            ClientError::Handshake { .. } => ErrorCode::Unauthorized,
            _ => ErrorCode::RuntimeError,
        };
        Self::new(1, code, error.to_string())
    }
}

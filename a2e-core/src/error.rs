//! The one Rust error of the kernel and of plugins, and the one map from it to the wire.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::protocol::{ErrorBody, ErrorCode};

/// `std::result::Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something failed: a code for programs, a message for people, further facts.
///
/// ```
/// use a2e_core::{Error, protocol::ErrorCode};
/// let error = Error::new(ErrorCode::ToolDenied, "writing is off; set `allow_write: true`")
///     .with_detail("path", "notes.txt");
/// assert_eq!(error.code().as_str(), "tool_denied");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Error(Box<Parts>);

#[derive(Clone, Debug, PartialEq)]
struct Parts {
    code: ErrorCode,
    message: String,
    detail: Map<String, Value>,
    retryable: Option<bool>,
}

impl Error {
    /// An error with this code and message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Box::new(Parts { code, message: message.into(), detail: Map::new(), retryable: None }))
    }

    /// An ordinary failure inside a plugin: `runtime_error`.
    pub fn runtime(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::RuntimeError, message)
    }

    /// A failure that should not happen: `internal_error`.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InternalError, message)
    }

    /// A known type that this plugin cannot handle: `invalid_message`, as the reference's `None`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidMessage, message)
    }

    /// A field that is missing or wrong: `schema_violation` with `detail.errors: [{loc, msg}]`.
    /// `loc` is the path to the field, such as `arguments.path`.
    pub fn schema(loc: impl Into<String>, msg: impl Into<String>) -> Self {
        let (loc, msg) = (loc.into(), msg.into());
        let message = if loc.is_empty() { msg.clone() } else { format!("{loc}: {msg}") };
        Self::new(ErrorCode::SchemaViolation, message)
            .with_detail("errors", json!([{ "loc": loc, "msg": msg }]))
    }

    /// Adds a fact for programs.
    #[must_use]
    pub fn with_detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.detail.insert(key.to_owned(), value.into());
        self
    }

    /// States whether a repeat may succeed, where that differs from what the code says.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = Some(retryable);
        self
    }

    /// What failed, for programs.
    pub fn code(&self) -> &ErrorCode {
        &self.0.code
    }

    /// What failed, for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Further facts.
    pub fn detail(&self) -> &Map<String, Value> {
        &self.0.detail
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable.unwrap_or_else(|| self.0.code.is_retryable())
    }

    /// The wire form: the only place where an error becomes an [`ErrorBody`].
    pub fn to_body(&self, capability: &str) -> ErrorBody {
        ErrorBody {
            code: self.0.code.clone(),
            message: self.0.message.clone(),
            detail: self.0.detail.clone(),
            retryable: self.is_retryable(),
            capability_name: capability.to_owned(),
        }
    }
}

impl From<ErrorBody> for Error {
    fn from(body: ErrorBody) -> Self {
        Self(Box::new(Parts {
            code: body.code,
            message: body.message,
            detail: body.detail,
            retryable: Some(body.retryable),
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.message)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::runtime(error.to_string())
    }
}

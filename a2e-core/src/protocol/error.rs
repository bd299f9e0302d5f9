//! Errors on the wire: a stable code, a message, a detail.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::message;

macro_rules! codes {
    ($( $(#[doc = $about:literal])* $name:ident = $wire:literal $(, $retry:ident)? ; )*) => {
        /// Why a request failed. Programs branch on this, never on the message.
        ///
        /// The known codes are the wire's register; a plugin may send one of its own as [`ErrorCode::Other`].
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $( $(#[doc = $about])* $name, )*
            /// A code outside the register.
            Other(Cow<'static, str>),
        }

        impl ErrorCode {
            /// Every code of the register.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The code as it stands on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $( ErrorCode::$name => $wire, )*
                    ErrorCode::Other(code) => code,
                }
            }

            /// What the code means, for people; empty for one outside the register.
            pub fn about(&self) -> &'static str {
                match self {
                    $( ErrorCode::$name => concat!($($about),*).trim_ascii(), )*
                    ErrorCode::Other(_) => "",
                }
            }

            /// Reads a code; one outside the register is kept as it is.
            pub fn parse(text: &str) -> Self {
                match text {
                    $( $wire => ErrorCode::$name, )*
                    other => ErrorCode::Other(Cow::Owned(other.to_owned())),
                }
            }

            /// Whether the same request may succeed later without a change.
            pub fn is_retryable(&self) -> bool {
                match self {
                    $( ErrorCode::$name => codes!(@retry $($retry)?), )*
                    ErrorCode::Other(_) => false,
                }
            }
        }
    };
    (@retry retryable) => { true };
    (@retry) => { false };
}

codes! {
    /// The line is not JSON, or not an object.
    ParseError = "parse_error";
    /// No plugin handles this type.
    UnknownType = "unknown_type";
    /// A known type that no plugin could handle, a missing type, or a type that only hosts send.
    InvalidMessage = "invalid_message";
    /// A field is missing or of the wrong type.
    SchemaViolation = "schema_violation";
    /// The host or a plugin has a bug.
    InternalError = "internal_error";
    /// An ordinary failure inside a plugin.
    RuntimeError = "runtime_error";
    /// The peer speaks another major version.
    VersionMismatch = "version_mismatch";
    /// No good handshake yet, or a wrong token.
    Unauthorized = "unauthorized";
    /// The principal may not use this.
    Forbidden = "forbidden";
    /// The deadline passed.
    Timeout = "timeout", retryable;
    /// A memory limit was reached.
    OutOfMemory = "out_of_memory";
    /// The process that ran the plugin died.
    SandboxCrash = "sandbox_crash", retryable;
    /// The plugin is loaded, but the handshake did not accept its capability.
    CapabilityMissing = "capability_missing";

    /// The call needs an approval, and a person refused it.
    ApprovalDenied = "approval_denied";
    /// The call needs an approval, and nobody was there to give one, or nobody did in time.
    ApprovalUnavailable = "approval_unavailable";
    /// No call waits under this id that the sender may approve.
    UnknownApproval = "unknown_approval";

    /// Cancelled by its sender.
    Cancelled = "cancelled";
    /// The line is longer than the host accepts.
    LineTooLong = "line_too_long";
    /// The id is in use by another request of the session.
    DuplicateRequest = "duplicate_request";
    /// A queue is full.
    Overloaded = "overloaded", retryable;
    /// The plugin is quarantined.
    Unavailable = "unavailable", retryable;
    /// The session or the host is ending.
    ShuttingDown = "shutting_down", retryable;
    /// The audit record could not be written and the host was told to refuse then.
    AuditUnavailable = "audit_unavailable", retryable;

    /// No tool has this name.
    UnknownTool = "unknown_tool";
    /// The tool exists, but this use of it is not allowed.
    ToolDenied = "tool_denied";
    /// The tool failed.
    ToolError = "tool_error";
    /// No skill has this name.
    UnknownSkill = "unknown_skill";
    /// The skill failed.
    SkillError = "skill_error";
    /// The environment does not know this action.
    UnknownAction = "unknown_action";
    /// The environment refuses a reset.
    ResetDenied = "reset_denied";
    /// No process has this id.
    UnknownProc = "unknown_proc";
    /// The process has ended.
    ProcDead = "proc_dead";
    /// Too many processes.
    ProcLimit = "proc_limit";
    /// The memory is full.
    MemoryFull = "memory_full";
    /// No memory has this id.
    MemoryNotFound = "memory_not_found";
    /// A node was visited twice.
    ChainCycle = "chain_cycle";
    /// A node failed.
    ChainNodeError = "chain_node_error";
    /// The chain has no such entry node.
    BadEntry = "bad_entry";
    /// The chain is not well formed.
    ChainError = "chain_error";
    /// No MCP server has this id.
    McpServerNotFound = "mcp_server_not_found";
    /// The MCP server does not answer.
    McpServerUnavailable = "mcp_server_unavailable";
    /// The MCP server has no such tool.
    McpToolNotFound = "mcp_tool_not_found";
    /// The MCP server has no such resource.
    McpResourceNotFound = "mcp_resource_not_found";
    /// The MCP server has no such prompt.
    McpPromptNotFound = "mcp_prompt_not_found";
    /// The connection to the MCP server failed.
    McpTransportError = "mcp_transport_error";
    /// The MCP server broke its protocol.
    McpProtocolError = "mcp_protocol_error";
    /// The agent refused to sample.
    McpSamplingRefused = "mcp_sampling_refused";
    /// The MCP server lacks the capability.
    McpCapabilityMissing = "mcp_capability_missing";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self::parse(&text))
    }
}

/// `error`: the answer to a request that failed, or to a line that was none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorBody {
    /// What failed, for programs.
    #[cfg_attr(feature = "schema", schemars(with = "Codes"))]
    pub code: ErrorCode,
    /// What failed and what would be right, for people.
    #[serde(default)]
    pub message: String,
    /// Further facts, for programs; free form.
    #[serde(default)]
    pub detail: Map<String, Value>,
    /// Whether the same request may succeed later.
    #[serde(default)]
    pub retryable: bool,
    /// The capability of the plugin that failed; empty for errors of the host itself.
    #[serde(default)]
    pub capability_name: String,
}

/// A code as `error` has it: its schema lists the register.
#[cfg(feature = "schema")]
pub(crate) struct Codes;

message!(ErrorBody, "error");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back_and_are_distinct() {
        let mut seen = std::collections::BTreeSet::new();
        for code in ErrorCode::ALL {
            assert_eq!(&ErrorCode::parse(code.as_str()), code);
            assert!(seen.insert(code.as_str().to_owned()), "{code} stands twice");
        }
        assert_eq!(ErrorCode::parse("acme_failed").as_str(), "acme_failed");
    }

    #[test]
    fn retryable_codes_are_those_of_the_specification() {
        let retryable: Vec<&str> =
            ErrorCode::ALL.iter().filter(|c| c.is_retryable()).map(ErrorCode::as_str).collect();
        assert_eq!(
            retryable,
            [
                "timeout",
                "sandbox_crash",
                "overloaded",
                "unavailable",
                "shutting_down",
                "audit_unavailable"
            ]
        );
    }
}

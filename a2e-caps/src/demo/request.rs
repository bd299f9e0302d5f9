//! `tool/call/req` as the demo reads it: an echo allocates nothing but the copy of its arguments.

use std::fmt;

use a2e_core::codec::RawJson;
use a2e_core::protocol::number::integer;
use a2e_core::protocol::{Deadline, Fold, Message, Request};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::tools::Tool;
use crate::tools::contract::{ToolCallRequest, ToolCallResponse, object};

/// The fields of [`ToolCallRequest`]; those without use here are checked and dropped.
#[derive(Debug, serde::Deserialize)]
pub(super) struct DemoCall {
    #[serde(default)]
    pub(super) tool_name: Name,
    #[serde(deserialize_with = "object")]
    pub(super) arguments: RawJson,
    #[serde(default)]
    pub(super) streaming: bool,
    #[serde(default, rename = "session_id")]
    _session_id: AnyText,
    #[serde(default, rename = "correlation_id")]
    _correlation_id: AnyText,
    /// The kernel enforces it; here it is only checked.
    #[serde(default, rename = "timeout", deserialize_with = "integer")]
    _timeout: i64,
}

impl Message for DemoCall {
    const TYPE: &'static str = ToolCallRequest::TYPE;
}

impl Request for DemoCall {
    type Reply = ToolCallResponse;
    const FOLD: Fold = ToolCallRequest::FOLD;
    const DEADLINE: Deadline = ToolCallRequest::DEADLINE;
}

/// The name of a tool; only one that is not ours is kept as text.
#[derive(Debug)]
pub(super) enum Name {
    Known(Tool),
    Unknown(String),
}

impl Default for Name {
    fn default() -> Self {
        Self::Unknown(String::new())
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

/// Checks that a field is a text, and drops it.
#[derive(Debug, Default)]
struct AnyText;

impl<'de> Deserialize<'de> for AnyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Ignored)
    }
}

struct NameVisitor;
struct Ignored;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Name, E> {
        Ok(match Tool::parse(text) {
            Some(tool) => Name::Known(tool),
            None => Name::Unknown(text.to_owned()),
        })
    }
}

impl Visitor<'_> for Ignored {
    type Value = AnyText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<AnyText, E> {
        Ok(AnyText)
    }
}

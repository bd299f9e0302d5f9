//! The tools of the demo: names, arguments, and what they do.

use std::time::Duration;

use a2e_core::codec::{RawJson, decode_field};
use a2e_core::protocol::number::integer;
use a2e_core::protocol::{ErrorCode, Event};
use a2e_core::request::{Call, EmitError, Sent};
use a2e_core::{Error, Result};
use serde::Deserialize;
use serde_json::json;

use crate::tools::contract::{TOOL_EVENT, ToolDefinition, ToolParameter};

/// Most events of one `stream` call: enough to fill every queue on the way.
const MAX_EVENTS: u32 = 100_000;

/// A tool of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    Echo,
    Sleep,
    Fail,
    Stream,
    Hidden,
}

impl Tool {
    const ALL: [Self; 5] = [Self::Echo, Self::Sleep, Self::Fail, Self::Stream, Self::Hidden];

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Sleep => "sleep",
            Self::Fail => "fail",
            Self::Stream => "stream",
            Self::Hidden => "hidden",
        }
    }

    fn definition(self) -> ToolDefinition {
        let of = |about: &str| ToolDefinition::new(self.name(), about).tagged(&["demo"]);
        match self {
            Self::Echo => ToolDefinition {
                idempotent: true,
                ..of("Gives its arguments back as the result's data.")
                    .with_input_schema(&json!({ "type": "object" }))
                    .with_output_schema(&json!({ "type": "object" }))
            },
            Self::Sleep => of("Waits, and ends at once when the call is cancelled.")
                .input(ToolParameter::required("ms", "integer", "How long, in milliseconds."))
                .output(ToolParameter::required("slept_ms", "integer", "The same.")),
            Self::Fail => of("Always fails with `tool_error`.").input(ToolParameter::optional(
                "message",
                "string",
                "What the error says.",
            )),
            Self::Stream => ToolDefinition {
                streaming: true,
                ..of("Sends progress events, then a result.")
                    .input(ToolParameter::required("n", "integer", "How many; 100000 at most."))
                    .output(ToolParameter::required("sent", "integer", "How many were sent."))
                    .output(ToolParameter::required(
                        "dropped",
                        "integer",
                        "How many were left out because the reader was slow.",
                    ))
            },
            Self::Hidden => ToolDefinition {
                defer_loading: true,
                ..of("Is listed only when deferred tools are asked for.")
                    .output(ToolParameter::required("value", "string", "Always `found`."))
            },
        }
    }
}

/// Their definitions for agents.
///
/// # Errors
/// When one is not complete in itself.
pub(super) fn definitions() -> Result<Vec<ToolDefinition>> {
    Tool::ALL.into_iter().map(|tool| tool.definition().completed()).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SleepArguments {
    #[serde(deserialize_with = "integer")]
    ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailArguments {
    #[serde(default = "asked_to")]
    message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamArguments {
    #[serde(deserialize_with = "integer")]
    n: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HiddenArguments {}

fn asked_to() -> String {
    "failed, as it was asked to".to_owned()
}

pub(super) async fn sleep(arguments: RawJson) -> Result<RawJson> {
    let SleepArguments { ms } = decode_field(&arguments, "arguments")?;
    tokio::time::sleep(Duration::from_millis(ms)).await;
    raw(&json!({ "slept_ms": ms }))
}

pub(super) fn fail(arguments: &RawJson) -> Error {
    match decode_field::<FailArguments>(arguments, "arguments") {
        Ok(FailArguments { message }) => Error::new(ErrorCode::ToolError, message),
        Err(error) => error,
    }
}

pub(super) async fn stream(arguments: RawJson, call: &Call) -> Result<RawJson> {
    let StreamArguments { n } = decode_field(&arguments, "arguments")?;
    if n > MAX_EVENTS {
        let text = format!("{n} is above the {MAX_EVENTS} events that one call may send");
        return Err(Error::schema("arguments.n", text));
    }
    let (mut sent, mut dropped) = (0_u32, 0_u32);
    for place in 1..=n {
        let pct = u8::try_from(u64::from(place) * 100 / u64::from(n)).unwrap_or(100);
        let event = Event::progress(pct, format!("{place} of {n}")).under(TOOL_EVENT);
        match call.emit_wait(event).await {
            Ok(Sent::Queued) => sent += 1,
            Ok(Sent::Dropped) => dropped += 1,
            Ok(Sent::Muted) => {}
            Err(EmitError::Ended | EmitError::Gone) => break,
            Err(error) => return Err(error.into()),
        }
        // Others get their turn, and so does the session's writer.
        if place % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    raw(&json!({ "sent": sent, "dropped": dropped }))
}

pub(super) fn hidden(arguments: &RawJson) -> Result<RawJson> {
    let HiddenArguments {} = decode_field(arguments, "arguments")?;
    raw(&json!({ "value": "found" }))
}

fn raw(value: &serde_json::Value) -> Result<RawJson> {
    RawJson::of(value).map_err(|error| Error::internal(error.to_string()))
}

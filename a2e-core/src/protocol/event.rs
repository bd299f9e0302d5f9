//! Events: what a request reports before its final answer.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::message;

/// The kind of an event: one of the wire, or a capability's own (`skill.started`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// `{pct: 0..100, message}`.
    Progress,
    /// `{name, mime, chunk: base64, final}`; never dropped.
    Artifact,
    /// `{level, message}`.
    Log,
    /// `{message}`.
    Status,
    /// A kind that only its capability knows; never dropped.
    Other(Cow<'static, str>),
}

impl EventKind {
    /// The kind as it stands on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Progress => "progress",
            Self::Artifact => "artifact",
            Self::Log => "log",
            Self::Status => "status",
            Self::Other(kind) => kind,
        }
    }

    /// Reads a kind; an unknown one is kept as it is.
    pub fn parse(text: &str) -> Self {
        match text {
            "progress" => Self::Progress,
            "artifact" => Self::Artifact,
            "log" => Self::Log,
            "status" => Self::Status,
            other => Self::Other(Cow::Owned(other.to_owned())),
        }
    }

    /// Whether a slow reader may miss it; the gap then shows in `seq` and in a counter.
    pub fn is_droppable(&self) -> bool {
        matches!(self, Self::Progress | Self::Log | Self::Status)
    }
}

impl Serialize for EventKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self::parse(&text))
    }
}

/// One event; the host adds `req_id` and `seq` when it is emitted.
///
/// ```
/// use a2e_core::protocol::Event;
/// let half = Event::progress(50, "halfway");
/// assert_eq!(half.data["pct"], 50);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The wire type, for example `tool/event`; `invoke/event` when a capability has none of its own.
    pub wire_type: Cow<'static, str>,
    /// Its kind.
    pub kind: EventKind,
    /// Its content, an object by the rules of the wire.
    pub data: Map<String, Value>,
}

impl Event {
    /// An event of any kind under `invoke/event`.
    pub fn new(kind: EventKind, data: Map<String, Value>) -> Self {
        Self { wire_type: Cow::Borrowed("invoke/event"), kind, data }
    }

    /// How far the work is, in per cent; above 100 is cut to 100.
    pub fn progress(pct: u8, message: impl Into<String>) -> Self {
        let data = [("pct", Value::from(pct.min(100))), ("message", Value::from(message.into()))];
        Self::new(EventKind::Progress, object(data))
    }

    /// One line for the agent's log; `level` is `debug`, `info`, `warning` or `error`.
    pub fn log(level: &str, message: impl Into<String>) -> Self {
        let data = [("level", Value::from(level)), ("message", Value::from(message.into()))];
        Self::new(EventKind::Log, object(data))
    }

    /// A status message: the present step of the work.
    pub fn status(message: impl Into<String>) -> Self {
        Self::new(EventKind::Status, object([("message", Value::from(message.into()))]))
    }

    /// Sends it under another wire type, such as `tool/event`.
    #[must_use]
    pub fn under(mut self, wire_type: impl Into<Cow<'static, str>>) -> Self {
        self.wire_type = wire_type.into();
        self
    }
}

/// `invoke/event`: what a request tells before its answer, where its capability has no type of its own
/// for that.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InvokeEvent {
    /// What it tells of.
    pub kind: EventKind,
    /// Its number within the request, from 0; a gap means that events were left out for a slow reader.
    pub seq: u64,
    /// What it tells.
    pub data: Map<String, Value>,
}

message!(InvokeEvent, "invoke/event");

fn object<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

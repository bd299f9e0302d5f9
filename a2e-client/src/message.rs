//! Messages of the host, as callers and push handlers get them.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use a2e_core::codec::{Body, RawJson, decode};
use a2e_core::protocol::EventKind;
use a2e_core::protocol::number::optional_integer;

use crate::ClientError;

/// One message of the host: checked, and not decoded yet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Received {
    wire_type: Box<str>,
    body: Body,
}

impl Received {
    pub(crate) fn new(wire_type: &str, body: Body) -> Self {
        Self { wire_type: wire_type.into(), body }
    }

    /// The text of `type`.
    pub fn wire_type(&self) -> &str {
        &self.wire_type
    }

    /// The whole line: one JSON object.
    pub fn text(&self) -> &str {
        self.body.text()
    }

    /// The request that it belongs to; empty where it names none.
    pub fn req_id(&self) -> String {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            req_id: String,
        }
        self.decode::<Head>().map(|head| head.req_id).unwrap_or_default()
    }

    /// Its fields as a typed message; envelope fields are ignored unless `T` has them.
    ///
    /// # Errors
    /// [`ClientError::Protocol`] with the path of the field that is wrong.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        decode(self.body.as_incoming()).map_err(|error| {
            ClientError::protocol(format!("`{}`: {}", self.wire_type, error.message()))
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether a slow reader may miss it; an event without a kind is a status.
    pub(crate) fn is_droppable(&self) -> bool {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default = "status")]
            kind: EventKind,
        }
        self.decode::<Head>().is_ok_and(|head| head.kind.is_droppable())
    }
}

fn status() -> EventKind {
    EventKind::Status
}

/// An event: what a request reports before its answer, or later about what it started.
#[derive(Clone, Debug)]
pub struct EventMessage {
    message: Received,
    kind: EventKind,
    seq: Option<u64>,
    data: RawJson,
}

impl EventMessage {
    /// Its kind.
    pub fn kind(&self) -> &EventKind {
        &self.kind
    }

    /// Its number within the request, from 0; a gap means that events were dropped on the way.
    pub fn seq(&self) -> Option<u64> {
        self.seq
    }

    /// Its content, an object.
    pub fn data(&self) -> &RawJson {
        &self.data
    }

    /// The whole message, for types that have fields beyond those of every event.
    pub fn message(&self) -> &Received {
        &self.message
    }

    /// The text of `type`.
    pub fn wire_type(&self) -> &str {
        self.message.wire_type()
    }
}

impl TryFrom<Received> for EventMessage {
    type Error = ClientError;

    /// Reads a message as an event.
    fn try_from(message: Received) -> Result<Self, ClientError> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default = "status")]
            kind: EventKind,
            #[serde(default, deserialize_with = "optional_integer")]
            seq: Option<u64>,
            data: Option<RawJson>,
        }
        let head: Head = message.decode()?;
        let data = match head.data {
            Some(data) if data.get().starts_with('{') => data,
            Some(data) => {
                let text = format!("`{}`: data: not an object: {data:.40?}", message.wire_type());
                return Err(ClientError::protocol(text));
            }
            None => RawJson::parse("{}".into())
                .map_err(|error| ClientError::protocol(error.to_string()))?,
        };
        Ok(Self { message, kind: head.kind, seq: head.seq, data })
    }
}

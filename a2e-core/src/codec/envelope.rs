//! The envelope, the common fields of all messages: read from a checked line, written around a body.

use std::borrow::Cow;

use serde::Serialize;

use super::MAX_DEPTH;
use super::encode::{EncodeError, encode_fields_within, encode_seconds, encode_str};
use super::scan::{Key, Scanned, Slot};
use crate::protocol::{ErrorCode, IdSource, VERSION};
use crate::{Error, Time};

/// The envelope of a line that can be routed.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// The routing key.
    pub kind: Cow<'a, str>,
    /// The message's id; `None` when the sender gave none.
    pub id: Option<Cow<'a, str>>,
    /// `req_id`, for what a peer sends about one of our messages.
    pub req_id: Option<Cow<'a, str>>,
}

/// A line that gets an error instead of being routed.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvelopeError {
    /// The error to answer with.
    pub error: Error,
    /// The `req_id` of the answer; empty where none can be trusted.
    pub req_id: String,
    /// Whether it is a `handshake/req`, which answers a wrong version in its own form.
    pub is_handshake: bool,
}

impl<'a> Envelope<'a> {
    /// Checks the envelope keys of a line.
    ///
    /// # Errors
    /// The code that the line gets: `invalid_message`, `schema_violation` or `version_mismatch`, in this order.
    pub fn of(scanned: &Scanned<'a>) -> Result<Self, EnvelopeError> {
        let refused = |error| Err(refuse(error, scanned));
        if let Some(key) = scanned.repeated {
            let text = format!("`{key}` stands twice; readers differ in which one counts");
            return refused(Error::invalid(text));
        }
        let kind = match scanned.get(Key::Kind) {
            Slot::Text(kind) if !kind.is_empty() => kind,
            Slot::Text(_) => return refused(Error::invalid("`type` is empty")),
            Slot::Absent if scanned.has_key("jsonrpc") => return refused(json_rpc()),
            Slot::Absent => return refused(Error::invalid("`type` is missing")),
            _ => return refused(Error::invalid("`type` is not a string")),
        };
        let id = match scanned.get(Key::Id) {
            Slot::Text(id) => Some(id),
            Slot::Absent => None,
            Slot::Number(_) => {
                let text =
                    "expected a string: this is A2E and not JSON-RPC, whose ids may be numbers";
                return refused(Error::schema("id", text));
            }
            Slot::Other => return refused(Error::schema("id", "expected a string")),
        };
        for (name, key) in [("version", Key::Version), ("a2e", Key::A2e)] {
            check_version(name, &scanned.get(key)).map_err(|error| refuse(error, scanned))?;
        }
        let req_id = match scanned.get(Key::ReqId) {
            Slot::Text(req_id) => Some(req_id),
            _ => None,
        };
        Ok(Self { kind, id, req_id })
    }
}

/// The digits of a number that stand in an answer; no client counts so far.
const MAX_NUMBER: usize = 64;

/// The error for a message of JSON-RPC, as clients of MCP send it.
fn json_rpc() -> Error {
    Error::invalid(
        "`type` is missing: this is A2E and not JSON-RPC, so MCP is not spoken here, but \
         with `a2e serve --mcp`, and at /mcp of an http:// address (`a2e serve --help`)",
    )
}

fn refuse(error: Error, scanned: &Scanned<'_>) -> EnvelopeError {
    // A repeated id may be the id of another call, and an error under it would end that call.
    let req_id = match (scanned.repeated, scanned.get(Key::Id)) {
        (Some("id"), _) => String::new(),
        // A sender that counts finds its number again.
        (_, Slot::Number(_)) => {
            let text = scanned.number(Key::Id).unwrap_or_default();
            text.get(..MAX_NUMBER).unwrap_or(text).to_owned()
        }
        (_, id) => id.as_text().unwrap_or_default().to_owned(),
    };
    EnvelopeError {
        error,
        req_id,
        is_handshake: scanned.get(Key::Kind).as_text() == Some("handshake/req"),
    }
}

fn check_version(key: &str, slot: &Slot<'_>) -> Result<(), Error> {
    let text = match slot {
        Slot::Absent => return Ok(()),
        Slot::Text(text) => text,
        _ => return Err(Error::schema(key, "expected a string")),
    };
    let major = text.split('.').next().unwrap_or_default();
    if major == "1" {
        return Ok(());
    }
    let message = format!("`{key}` is {text:?}; this host speaks {VERSION}");
    Err(Error::new(ErrorCode::VersionMismatch, message).with_detail("supported", VERSION))
}

/// Appends one whole line: envelope, body fields, newline.
/// `fields` are what [`encode_fields`](super::encode_fields) wrote; `req_id` is written when given.
pub fn write_message(
    out: &mut Vec<u8>,
    ids: &IdSource,
    now: Time,
    wire_type: &str,
    req_id: Option<&str>,
    fields: &[u8],
) {
    // Enough for all pieces, escapes aside.
    out.reserve(128 + wire_type.len() + req_id.map_or(0, str::len) + fields.len());
    open_message(out, wire_type);
    out.push(b'"');
    ids.append_to(out);
    out.push(b'"');
    close_envelope(out, now, req_id);
    if !fields.is_empty() {
        out.push(b',');
        out.extend_from_slice(fields);
    }
    out.extend_from_slice(b"}\n");
}

/// Appends one whole line under an id that the sender knows, which lets it match the answer.
/// `body` is a struct or map without the envelope's fields. On an error `out` is as before.
///
/// ```
/// use a2e_core::{Time, codec::envelope::encode_message};
/// let (mut line, now) = (Vec::new(), Time::default());
/// encode_message(&mut line, "a1", now, "x/req", None, &serde_json::json!({ "n": 1 })).unwrap();
/// assert_eq!(line, br#"{"type":"x/req","id":"a1","version":"1.0","ts":0.000000,"n":1}
/// "#);
/// ```
///
/// # Errors
/// As [`encode_fields`](super::encode_fields), and where the body does not fit into a line of [`MAX_DEPTH`]
/// levels, which a host would not read.
pub fn encode_message<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    id: &str,
    now: Time,
    wire_type: &str,
    req_id: Option<&str>,
    body: &T,
) -> Result<(), EncodeError> {
    let before = out.len();
    open_message(out, wire_type);
    encode_str(id, out);
    close_envelope(out, now, req_id);
    let bare = out.len();
    out.push(b',');
    if let Err(error) = encode_fields_within(MAX_DEPTH, body, out) {
        out.truncate(before);
        return Err(error);
    }
    if out.len() == bare + 1 {
        out.truncate(bare);
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

#[inline]
fn open_message(out: &mut Vec<u8>, wire_type: &str) {
    out.extend_from_slice(br#"{"type":"#);
    encode_str(wire_type, out);
    out.extend_from_slice(br#","id":"#);
}

#[inline]
fn close_envelope(out: &mut Vec<u8>, now: Time, req_id: Option<&str>) {
    out.extend_from_slice(br#","version":"1.0","ts":"#);
    encode_seconds(out, now.wall_us());
    if let Some(req_id) = req_id {
        out.extend_from_slice(br#","req_id":"#);
        encode_str(req_id, out);
    }
}

#[cfg(test)]
mod tests;

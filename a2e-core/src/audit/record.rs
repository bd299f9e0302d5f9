//! One audit record and the bytes it becomes: formatted by hand, for this is on the way of every message.

use crate::Time;
use crate::codec::digits::{hex8, write_seconds};
use crate::codec::is_plain_ascii;

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A reply that is not an `error`.
    #[default]
    Ok,
    /// The handler answered with an error.
    Error,
    /// The host did not let it reach a handler.
    Refused,
    /// The deadline passed.
    Timeout,
    /// Somebody cancelled it.
    Cancelled,
    /// The client left before the answer.
    ClientGone,
    /// The handler panicked.
    Panic,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 7] = [
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

/// What the dispatcher knows when a request ends. It has no place for a payload.
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
    /// The `type` of the request.
    pub kind: &'a str,
    /// The instance that answered.
    pub plugin: Option<&'a str>,
    /// Who asked, as the handshake named it.
    pub agent_id: Option<&'a str>,
    /// How it ended; `success` is true for [`Outcome::Ok`] alone.
    pub outcome: Outcome,
    /// The code of the error that was answered.
    pub error_code: Option<&'a str>,
    /// Size of the request's line.
    pub input_bytes: usize,
    /// Size of the reply's line; 0 without one.
    pub output_bytes: usize,
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
            kind: "",
            plugin: None,
            agent_id: None,
            outcome: Outcome::Ok,
            error_code: None,
            input_bytes: 0,
            output_bytes: 0,
        }
    }
}

/// The longest text that is recorded whole, in bytes. Ids and types come from clients, the buffer is bounded.
const MAX_TEXT: usize = 256;

/// No line is longer: eight texts of [`MAX_TEXT`] bytes, each byte at most six (`\u0000`), and the rest.
pub(super) const MAX_LINE: usize = 16 * 1024;

/// Appends the line of this record. Without room in `out` it grows; the log keeps room.
pub(super) fn push_record(out: &mut Vec<u8>, record: &AuditRecord<'_>, session_id: &str, seq: u64) {
    let line = out.len();
    // Room for all but long texts and escapes.
    out.reserve(1024);
    push(out, "{\"ts\":");
    write_seconds(out, record.ended.wall_us());
    push(out, ",\"session_id\":");
    push_text(out, session_id);
    push(out, ",\"req_id\":");
    let req_id = out.len();
    push_text(out, record.req_id);
    let req_id = req_id..out.len();
    push(out, ",\"correlation_id\":");
    match record.correlation_id {
        Some(own) => push_text(out, own),
        None => out.extend_from_within(req_id),
    }
    match record.outcome {
        Outcome::Ok => push(out, ",\"success\":true,\"duration_ms\":"),
        _ => push(out, ",\"success\":false,\"duration_ms\":"),
    }
    push_number(out, micros(record.accepted, record.ended) / 1000);
    push(out, ",\"error_code\":");
    push_option(out, record.error_code);
    push(out, ",\"input_bytes\":");
    push_number(out, record.input_bytes as u64);
    push(out, ",\"output_bytes\":");
    push_number(out, record.output_bytes as u64);
    push(out, ",\"seq\":");
    push_number(out, seq);
    push(out, ",\"mono_us\":");
    push_number(out, record.ended.mono_us());
    push(out, ",\"plugin\":");
    push_option(out, record.plugin);
    push(out, ",\"type\":");
    push_text(out, record.kind);
    push(out, ",\"agent_id\":");
    push_option(out, record.agent_id);
    match record.outcome {
        Outcome::Ok => push(out, ",\"outcome\":\"ok\",\"queue_us\":"),
        other => {
            push(out, ",\"outcome\":\"");
            push(out, other.as_str());
            push(out, "\",\"queue_us\":");
        }
    }
    push_number(out, micros(record.accepted, record.started));
    push(out, ",\"run_us\":");
    push_number(out, micros(record.started, record.ended));
    push_crc(out, line);
}

/// Records that were dropped, in one stretch of `seq`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    pub(super) first: u64,
    pub(super) last: u64,
    /// When the last of them ended.
    pub(super) ended: Time,
}

/// Appends the line that stands for the dropped records `first..=last`. Its own `seq` is `last`,
/// so that a reader who knows nothing of gaps still sees where the count goes on.
pub(super) fn push_gap(out: &mut Vec<u8>, gap: &Gap, session_id: &str, reason: &str) {
    let line = out.len();
    let mut digits = itoa::Buffer::new();
    push(out, "{\"gap\":{\"first\":");
    push(out, digits.format(gap.first));
    push(out, ",\"last\":");
    push(out, digits.format(gap.last));
    push(out, ",\"lost\":");
    push(out, digits.format(gap.last.saturating_sub(gap.first).saturating_add(1)));
    push(out, ",\"reason\":");
    push_text(out, reason);
    push(out, "},\"ts\":");
    write_seconds(out, gap.ended.wall_us());
    push(out, ",\"session_id\":");
    push_text(out, session_id);
    push(out, ",\"seq\":");
    push(out, digits.format(gap.last));
    push(out, ",\"mono_us\":");
    push(out, digits.format(gap.ended.mono_us()));
    push_crc(out, line);
}

#[inline]
fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// Most of them have one digit.
#[inline]
fn push_number(out: &mut Vec<u8>, number: u64) {
    match u8::try_from(number) {
        Ok(digit @ 0..=9) => out.push(b'0' + digit),
        _ => push(out, itoa::Buffer::new().format(number)),
    }
}

fn micros(from: Time, to: Time) -> u64 {
    u64::try_from(to.since(from).as_micros()).unwrap_or(u64::MAX)
}

fn push_option(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => push_text(out, text),
        None => push(out, "null"),
    }
}

#[inline]
fn push_text(out: &mut Vec<u8>, text: &str) {
    if text.len() <= MAX_TEXT && is_plain_ascii(text) {
        out.push(b'"');
        push(out, text);
        return out.push(b'"');
    }
    push_long_or_escaped(out, text);
}

#[cold]
fn push_long_or_escaped(out: &mut Vec<u8>, text: &str) {
    let kept = text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or(text);
    out.push(b'"');
    push_escaped(out, kept);
    if kept.len() < text.len() {
        push(out, "\\u2026");
    }
    out.push(b'"');
}

fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let mut units = [0; 2];
    for character in text.chars() {
        match character {
            '"' => push(out, "\\\""),
            '\\' => push(out, "\\\\"),
            '\n' => push(out, "\\n"),
            '\r' => push(out, "\\r"),
            '\t' => push(out, "\\t"),
            ' '..='~' => out.extend(u8::try_from(character)),
            _ => {
                for unit in character.encode_utf16(&mut units) {
                    let [_, _, _, _, a, b, c, d] = hex8(u32::from(*unit));
                    out.extend_from_slice(&[b'\\', b'u', a, b, c, d]);
                }
            }
        }
    }
}

/// Ends the line that began at `line`: checksum, brace, newline.
pub(super) fn push_crc(out: &mut Vec<u8>, line: usize) {
    let crc = crc32c::crc32c(out.get(line..).unwrap_or_default());
    push(out, ",\"crc\":\"");
    out.extend_from_slice(&hex8(crc));
    push(out, "\"}\n");
}

//! The lines of the audit file: formatted by hand, because each message has one.

use super::RecordOutcome;
use super::packed::Unpacked;
use crate::Time;
use crate::codec::encode::{encode_seconds, hex};
use crate::codec::is_plain_ascii;

/// The longest text that is recorded whole, in bytes. Ids and types come from clients, the buffer is bounded.
pub(super) const MAX_TEXT: usize = 256;

/// No line is longer: ten texts of [`MAX_TEXT`] bytes, each byte at most six (`\u0000`), subject and
/// payload, and the rest.
pub(in crate::audit) const MAX_LINE: usize = 32 * 1024;

/// Appends the line of this record.
pub(in crate::audit) fn push_record(out: &mut Vec<u8>, record: &Unpacked<'_>, seq: u64) {
    let line = out.len();
    let [wall_us, mono_us, duration_us, queue_us, run_us, input_bytes, output_bytes] =
        record.numbers;
    // Room for all but long texts and escapes.
    out.reserve(1024);
    push(out, "{\"ts\":");
    encode_seconds(out, wall_us);
    push(out, ",\"session_id\":");
    push_text(out, record.session_id);
    push(out, ",\"req_id\":");
    push_text(out, record.req_id);
    push(out, ",\"correlation_id\":");
    push_text(out, record.correlation_id.unwrap_or(record.req_id));
    let is_success = record.outcome == RecordOutcome::Ok;
    push(out, if is_success { ",\"success\":true" } else { ",\"success\":false" });
    push(out, ",\"duration_ms\":");
    push_number(out, duration_us / 1000);
    push(out, ",\"error_code\":");
    push_option(out, record.error_code);
    push(out, ",\"input_bytes\":");
    push_number(out, input_bytes);
    push(out, ",\"output_bytes\":");
    push_number(out, output_bytes);
    push(out, ",\"seq\":");
    push_number(out, seq);
    push(out, ",\"mono_us\":");
    push_number(out, mono_us);
    push(out, ",\"plugin\":");
    push_option(out, record.plugin);
    push(out, ",\"type\":");
    push_text(out, record.kind);
    push(out, ",\"agent_id\":");
    push_option(out, record.agent_id);
    if let Some(principal) = record.principal {
        push(out, ",\"principal\":");
        push_text(out, principal);
    }
    push(out, ",\"outcome\":\"");
    push(out, record.outcome.as_str());
    push(out, "\",\"queue_us\":");
    push_number(out, queue_us);
    push(out, ",\"run_us\":");
    push_number(out, run_us);
    if let Some(trace_id) = record.trace_id {
        push(out, ",\"trace_id\":");
        push_text(out, trace_id);
    }
    let [subject, payload] = record.detail;
    if !subject.is_empty() {
        push(out, ",\"subject\":{");
        out.extend_from_slice(subject);
        out.push(b'}');
    }
    if !payload.is_empty() {
        push(out, ",\"payload\":");
        out.extend_from_slice(payload);
    }
    push_crc(out, line);
}

/// Records that were dropped, in one stretch of `seq`.
#[derive(Clone, Copy, Debug)]
pub(in crate::audit) struct Gap {
    pub(in crate::audit) first: u64,
    pub(in crate::audit) last: u64,
    /// When the last of them ended.
    pub(in crate::audit) ended: Time,
}

/// Appends the line that stands for the dropped records `first..=last`. Its own `seq` is `last`,
/// so that a reader without knowledge of gaps still sees where the count goes on.
pub(in crate::audit) fn push_gap(out: &mut Vec<u8>, gap: &Gap, session_id: &str, reason: &str) {
    let line = out.len();
    push(out, "{\"gap\":{\"first\":");
    push_number(out, gap.first);
    push(out, ",\"last\":");
    push_number(out, gap.last);
    push(out, ",\"lost\":");
    push_number(out, gap.last.saturating_sub(gap.first).saturating_add(1));
    push(out, ",\"reason\":");
    push_text(out, reason.as_bytes());
    push(out, "},\"ts\":");
    encode_seconds(out, gap.ended.wall_us());
    push(out, ",\"session_id\":");
    push_text(out, session_id.as_bytes());
    push(out, ",\"seq\":");
    push_number(out, gap.last);
    push(out, ",\"mono_us\":");
    push_number(out, gap.ended.mono_us());
    push_crc(out, line);
}

#[inline]
fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    push(out, itoa::Buffer::new().format(number));
}

fn push_option(out: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        Some(text) => push_text(out, text),
        None => push(out, "null"),
    }
}

#[inline]
pub(super) fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() <= MAX_TEXT && is_plain_ascii(text) {
        out.push(b'"');
        out.extend_from_slice(text);
        return out.push(b'"');
    }
    push_cut(out, &String::from_utf8_lossy(text), MAX_TEXT);
}

/// Appends the first bytes of a text, as many as `limit`.
#[cold]
pub(super) fn push_cut(out: &mut Vec<u8>, text: &str, limit: usize) {
    let kept = text.get(..text.floor_char_boundary(limit)).unwrap_or(text);
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
                    push(out, "\\u");
                    out.extend_from_slice(&hex::<4>(u64::from(*unit)));
                }
            }
        }
    }
}

/// Ends the line that began at `line`: checksum, brace, newline.
pub(in crate::audit) fn push_crc(out: &mut Vec<u8>, line: usize) {
    let crc = crc32c::crc32c(out.get(line..).unwrap_or_default());
    push(out, ",\"crc\":\"");
    out.extend_from_slice(&hex::<8>(u64::from(crc)));
    push(out, "\"}\n");
}

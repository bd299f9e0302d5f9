//! The lines of the audit file: formatted by hand, because each message has one.

use super::Outcome;
use super::packed::{PackedCommon, Unpacked};
use crate::Time;
use crate::codec::encode::{encode_seconds, hex};
use crate::codec::is_plain_ascii;

/// The longest text that is recorded whole, in bytes. Ids and types come from clients, the buffer is bounded.
pub(super) const MAX_TEXT: usize = 256;

/// No line is longer: eight texts of [`MAX_TEXT`] bytes, each byte at most six (`\u0000`), and the rest.
pub(in crate::audit) const MAX_LINE: usize = 16 * 1024;

/// Appends the line of this record.
pub(in crate::audit) fn push_record(
    out: &mut Vec<u8>,
    record: &Unpacked<'_>,
    seq: u64,
    forms: &mut Forms,
) {
    let line = out.len();
    // Room for all but long texts and escapes.
    out.reserve(1024);
    forms.fit(record);
    push(out, "{\"ts\":");
    encode_seconds(out, record.wall_us);
    out.extend_from_slice(&forms.session);
    let req_id = out.len();
    push_text(out, record.req_id);
    let req_id = req_id..out.len();
    push(out, ",\"correlation_id\":");
    match record.correlation_id {
        Some(own) => push_text(out, own),
        None => out.extend_from_within(req_id),
    }
    out.extend_from_slice(&forms.success);
    push_number(out, record.duration_us / 1000);
    out.extend_from_slice(&forms.error_code);
    push_number(out, record.input_bytes);
    push(out, ",\"output_bytes\":");
    push_number(out, record.output_bytes);
    push(out, ",\"seq\":");
    push_number(out, seq);
    push(out, ",\"mono_us\":");
    push_number(out, record.mono_us);
    out.extend_from_slice(&forms.place);
    push_number(out, record.queue_us);
    push(out, ",\"run_us\":");
    push_number(out, record.run_us);
    push_crc(out, line);
}

/// The parts of a line that mostly equal those of the line before: made once and copied.
#[derive(Debug, Default)]
pub(in crate::audit) struct Forms {
    /// Session and common fields of the line before, as they are packed.
    of_session: Option<Vec<u8>>,
    of_common: Vec<u8>,
    /// From the session to the request.
    session: Vec<u8>,
    /// From the success to the duration.
    success: Vec<u8>,
    /// From the error code to the input's size.
    error_code: Vec<u8>,
    /// From the plugin to the time in the queue.
    place: Vec<u8>,
}

impl Forms {
    /// Makes the parts anew that the record does not share with the one before.
    fn fit(&mut self, record: &Unpacked<'_>) {
        if self.of_session.as_deref() != Some(record.session_id) {
            self.fit_session(record.session_id);
        }
        if self.of_common != record.common.0 {
            self.fit_common(record.common);
        }
    }

    fn fit_session(&mut self, session_id: &[u8]) {
        let out = &mut self.session;
        out.clear();
        push(out, ",\"session_id\":");
        push_text(out, session_id);
        push(out, ",\"req_id\":");
        let of_session = self.of_session.get_or_insert_default();
        of_session.clear();
        of_session.extend_from_slice(session_id);
    }

    #[cold]
    fn fit_common(&mut self, common: PackedCommon<'_>) {
        let fields = common.fields();
        self.success.clear();
        push(
            &mut self.success,
            match fields.outcome {
                Outcome::Ok => ",\"success\":true,\"duration_ms\":",
                _ => ",\"success\":false,\"duration_ms\":",
            },
        );
        self.error_code.clear();
        push(&mut self.error_code, ",\"error_code\":");
        push_option(&mut self.error_code, fields.error_code);
        push(&mut self.error_code, ",\"input_bytes\":");
        let out = &mut self.place;
        out.clear();
        push(out, ",\"plugin\":");
        push_option(out, fields.plugin);
        push(out, ",\"type\":");
        push_text(out, fields.kind);
        push(out, ",\"agent_id\":");
        push_option(out, fields.agent_id);
        push(out, ",\"outcome\":\"");
        push(out, fields.outcome.as_str());
        push(out, "\",\"queue_us\":");
        self.of_common.clear();
        self.of_common.extend_from_slice(common.0);
    }
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
    let mut digits = itoa::Buffer::new();
    push(out, "{\"gap\":{\"first\":");
    push(out, digits.format(gap.first));
    push(out, ",\"last\":");
    push(out, digits.format(gap.last));
    push(out, ",\"lost\":");
    push(out, digits.format(gap.last.saturating_sub(gap.first).saturating_add(1)));
    push(out, ",\"reason\":");
    push_text(out, reason.as_bytes());
    push(out, "},\"ts\":");
    encode_seconds(out, gap.ended.wall_us());
    push(out, ",\"session_id\":");
    push_text(out, session_id.as_bytes());
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

fn push_option(out: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        Some(text) => push_text(out, text),
        None => push(out, "null"),
    }
}

#[inline]
fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() <= MAX_TEXT && is_plain_ascii(text) {
        out.push(b'"');
        out.extend_from_slice(text);
        return out.push(b'"');
    }
    push_long_or_escaped(out, &String::from_utf8_lossy(text));
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

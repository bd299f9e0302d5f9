//! The one encoder: compact JSON, ASCII only, never NaN, never deeper than a reader accepts.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::ser::{self, Serialize};
use serde_json::value::RawValue;

use super::raw::RAW_TOKEN;
use super::scan::depth_of;
use super::text::{is_ascii_line, is_plain_ascii, plain_ascii_run};
use super::{MAX_DEPTH, MAX_WRITTEN_DEPTH};

/// Why a value cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// NaN or an infinity.
    #[error("a number is NaN or infinite")]
    NonFinite,
    /// Nested deeper than this many levels: [`MAX_DEPTH`] in a request or a value,
    /// [`MAX_WRITTEN_DEPTH`] in what a host writes.
    #[error("nested deeper than {0}")]
    TooDeep(u8),
    /// A map key that is neither text nor an integer.
    #[error("a map key is not text")]
    Key,
    /// A body that is not an object, or a body field named like an envelope field.
    #[error("a message body is an object without the envelope's fields: {0}")]
    Body(String),
    /// An error that the type itself reported.
    #[error("{0}")]
    Custom(String),
}

impl ser::Error for EncodeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

/// Appends the fields of a struct or map without the outer braces: `"a":1,"b":2`.
/// What was in `out` stays; on an error `out` is as before.
///
/// They may nest to [`MAX_WRITTEN_DEPTH`], so that a reply can wrap any payload that a request brought.
///
/// # Errors
/// [`EncodeError`]; a field named `type`, `id`, `version`, `ts` or `req_id` is refused.
pub fn encode_fields<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    encode_fields_within(MAX_WRITTEN_DEPTH, value, out)
}

/// As [`encode_fields`], with a limit of the depth.
pub(super) fn encode_fields_within<T: Serialize + ?Sized>(
    limit: u8,
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let before = out.len();
    let result = value.serialize(&mut Encoder { out, limit, depth: 0, is_body: true });
    if result.is_err() {
        out.truncate(before);
    }
    result
}

/// The JSON of any value that nests to [`MAX_DEPTH`] at most.
///
/// # Errors
/// [`EncodeError`].
pub fn encode_value<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(128);
    value.serialize(&mut Encoder { out: &mut out, limit: MAX_DEPTH, depth: 0, is_body: false })?;
    Ok(out)
}

/// Appends a JSON string, quotes included.
#[inline]
pub fn encode_str(text: &str, out: &mut Vec<u8>) {
    if !is_plain_ascii(text.as_bytes()) {
        return encode_escaped(text, out);
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Appends a string that needs escapes.
#[inline(never)]
fn encode_escaped(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        let run = plain_ascii_run(bytes, at);
        out.extend_from_slice(bytes.get(at..at + run).unwrap_or_default());
        at += run;
        let Some(&byte) = bytes.get(at) else { break };
        at += match byte {
            b'"' | b'\\' => {
                out.extend_from_slice(&[b'\\', byte]);
                1
            }
            b'\n' => escape(out, b'n'),
            b'\r' => escape(out, b'r'),
            b'\t' => escape(out, b't'),
            _ => match text.get(at..).and_then(|rest| rest.chars().next()) {
                Some(character) => {
                    escape_char(character, out);
                    character.len_utf8()
                }
                None => 1,
            },
        };
    }
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, letter: u8) -> usize {
    out.extend_from_slice(&[b'\\', letter]);
    1
}

fn escape_char(character: char, out: &mut Vec<u8>) {
    let mut units = [0_u16; 2];
    for unit in character.encode_utf16(&mut units) {
        out.extend_from_slice(br"\u");
        out.extend_from_slice(&hex::<4>(u64::from(*unit)));
    }
}

/// Appends checked JSON text: copied when it is ASCII on one line, else escaped on the way.
fn encode_raw(json: &str, out: &mut Vec<u8>) {
    if is_ascii_line(json.as_bytes()) {
        return out.extend_from_slice(json.as_bytes());
    }
    for character in json.chars() {
        match character {
            // Outside strings these are white space; inside strings they are always escaped.
            '\n' | '\r' => out.push(b' '),
            _ if character.is_ascii() => out.push(character as u8),
            // Only the contents of strings can be beyond ASCII.
            _ => escape_char(character, out),
        }
    }
}

/// Appends a finite number in the shortest form that reads back the same.
pub(super) fn encode_f64(value: f64, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if !value.is_finite() {
        return Err(EncodeError::NonFinite);
    }
    out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    Ok(())
}

/// Appends an integer.
pub(super) fn encode_int<I: itoa::Integer>(value: I, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends microseconds as seconds with six decimals.
pub(crate) fn encode_seconds(out: &mut Vec<u8>, micros: u64) {
    encode_int(micros / 1_000_000, out);
    out.push(b'.');
    // The leading 1 keeps the zeros of the fraction and is left out.
    let mut digits = itoa::Buffer::new();
    let fraction = digits.format(1_000_000 + micros % 1_000_000);
    out.extend_from_slice(fraction.as_bytes().get(1..).unwrap_or_default());
}

/// The lowest `N` hex digits of a word, lower case.
pub(crate) fn hex<const N: usize>(word: u64) -> [u8; N] {
    let mut digits = [b'0'; N];
    let mut rest = word;
    for digit in digits.iter_mut().rev() {
        let [low, ..] = rest.to_le_bytes();
        *digit = match low & 0xf {
            nibble @ 0..=9 => b'0' + nibble,
            nibble => b'a' - 10 + nibble,
        };
        rest >>= 4;
    }
    digits
}

#[inline]
fn is_of_envelope(key: &str) -> bool {
    matches!(key, "type" | "id" | "version" | "ts" | "req_id")
}

/// What stands between the braces of raw JSON that is a message body.
fn fields_of(json: &str) -> Result<&str, EncodeError> {
    let members: HashMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(json).map_err(|error| EncodeError::Body(error.to_string()))?;
    if let Some(key) = members.into_keys().find(|key| is_of_envelope(key)) {
        return Err(EncodeError::Body(key.into_owned()));
    }
    let json = json.trim();
    Ok(json.get(1..json.len().saturating_sub(1)).unwrap_or_default().trim())
}

struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    limit: u8,
    depth: u8,
    /// The next container is the message body: its braces are the envelope's.
    is_body: bool,
}

impl Encoder<'_> {
    #[inline]
    fn open(&mut self, bracket: u8) -> Result<(), EncodeError> {
        if self.depth >= self.limit {
            return Err(EncodeError::TooDeep(self.limit));
        }
        self.depth += 1;
        if !self.is_body {
            self.out.push(bracket);
        }
        Ok(())
    }

    #[inline]
    fn scalar(&mut self) -> Result<&mut Vec<u8>, EncodeError> {
        if self.is_body {
            return Err(EncodeError::Body("not an object".into()));
        }
        Ok(self.out)
    }

    fn int<I: itoa::Integer>(&mut self, value: I) -> Result<(), EncodeError> {
        encode_int(value, self.scalar()?);
        Ok(())
    }

    fn raw(&mut self, json: &str, depth_bound: Option<u8>) -> Result<(), EncodeError> {
        let room = self.limit - self.depth;
        let is_shallow = depth_bound.is_some_and(|bound| bound <= room) || {
            let brackets = json.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count();
            brackets <= usize::from(room) || depth_of(json) <= room
        };
        if !is_shallow {
            return Err(EncodeError::TooDeep(self.limit));
        }
        if self.is_body {
            encode_raw(fields_of(json)?, self.out);
        } else {
            encode_raw(json, self.out);
        }
        Ok(())
    }
}

/// An array, object or raw text that is being written.
struct Compound<'e, 'o> {
    encoder: &'e mut Encoder<'o>,
    is_first: bool,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Array,
    Object,
    /// The message body: an object whose braces are written elsewhere.
    Body,
    /// An object inside `{"Variant": …}`, or an array there.
    VariantObject,
    VariantArray,
    /// Raw JSON, with a bound of its depth where it is known.
    Raw(Option<u8>),
}

impl<'e, 'o> Compound<'e, 'o> {
    fn open(encoder: &'e mut Encoder<'o>, kind: Kind) -> Result<Self, EncodeError> {
        if encoder.is_body && kind != Kind::Object {
            return Err(EncodeError::Body("not an object".into()));
        }
        let bracket = if matches!(kind, Kind::Array | Kind::VariantArray) { b'[' } else { b'{' };
        encoder.open(bracket)?;
        let kind = if encoder.is_body { Kind::Body } else { kind };
        encoder.is_body = false;
        Ok(Self { encoder, is_first: true, kind })
    }

    fn variant(
        encoder: &'e mut Encoder<'o>,
        variant: &str,
        kind: Kind,
    ) -> Result<Self, EncodeError> {
        if encoder.is_body {
            return Err(EncodeError::Body("an enum".into()));
        }
        encoder.open(b'{')?;
        encode_str(variant, encoder.out);
        encoder.out.push(b':');
        Self::open(encoder, kind)
    }

    fn separate(&mut self) {
        if !self.is_first {
            self.encoder.out.push(b',');
        }
        self.is_first = false;
    }

    /// Always inlined, like its callers: the compiler knows the names of fields, and then also their encoding.
    #[allow(clippy::inline_always, reason = "a third of the encoder's instructions")]
    #[inline(always)]
    fn key(&mut self, key: &str) -> Result<(), EncodeError> {
        if self.kind == Kind::Body && is_of_envelope(key) {
            return Err(EncodeError::Body(key.to_owned()));
        }
        let out = &mut *self.encoder.out;
        // Keys of structs are the most frequent output, so the room is reserved once.
        out.reserve(key.len() + 4);
        if !std::mem::take(&mut self.is_first) {
            out.push(b',');
        }
        if is_plain_ascii(key.as_bytes()) {
            out.push(b'"');
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(b"\":");
        } else {
            encode_escaped(key, out);
            out.push(b':');
        }
        Ok(())
    }

    #[allow(clippy::inline_always, reason = "see `key`")]
    #[inline(always)]
    fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), EncodeError> {
        if let Kind::Raw(bound) = self.kind {
            return value.serialize(TextOnly { take: |json: &str| self.encoder.raw(json, bound) });
        }
        self.key(key)?;
        value.serialize(&mut *self.encoder)
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.separate();
        value.serialize(&mut *self.encoder)
    }

    #[inline]
    fn close(self) {
        let Encoder { out, depth, .. } = self.encoder;
        match self.kind {
            Kind::Array => out.push(b']'),
            Kind::Object => out.push(b'}'),
            Kind::VariantArray => out.extend_from_slice(b"]}"),
            Kind::VariantObject => out.extend_from_slice(b"}}"),
            Kind::Body => {}
            Kind::Raw(_) => return,
        }
        let closed =
            if matches!(self.kind, Kind::VariantArray | Kind::VariantObject) { 2 } else { 1 };
        *depth = depth.saturating_sub(closed);
    }
}

mod serializer;
mod text_only;
use text_only::TextOnly;

#[cfg(test)]
mod tests;

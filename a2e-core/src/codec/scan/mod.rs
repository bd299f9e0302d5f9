//! The strict check of one line, in one pass and without recursion: UTF-8, RFC 8259 syntax, depth,
//! numbers; on the way it notes the envelope keys of the outermost object.

pub(super) mod member;
mod problem;
mod scanner;

use std::borrow::Cow;

use super::text::long_plain_run;
use super::{MAX_DEPTH, MAX_WRITTEN_DEPTH};
use member::{Member, Outline, Shape, unescaped, within_quotes};
pub use problem::{Problem, ScanError};
use scanner::Scanner;

/// The value of an envelope key.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Slot<'a> {
    /// The key is not there.
    #[default]
    Absent,
    /// A string, with its escapes resolved.
    Text(Cow<'a, str>),
    /// A number.
    Number(f64),
    /// Anything else.
    Other,
}

impl Slot<'_> {
    /// The string, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The keys of the outermost object that the host itself looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `type`.
    Kind,
    /// `id`.
    Id,
    /// `req_id`.
    ReqId,
    /// `version`.
    Version,
    /// `a2e`, the other spelling of `version`.
    A2e,
    /// `timeout`, for types whose deadline is that field.
    Timeout,
    /// `correlation_id`, for the audit.
    CorrelationId,
    /// `traceparent` of W3C trace context.
    TraceParent,
    /// `tracestate` of W3C trace context.
    TraceState,
}

impl Key {
    #[inline]
    fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"type" => Self::Kind,
            b"id" => Self::Id,
            b"req_id" => Self::ReqId,
            b"version" => Self::Version,
            b"a2e" => Self::A2e,
            b"timeout" => Self::Timeout,
            b"correlation_id" => Self::CorrelationId,
            b"traceparent" => Self::TraceParent,
            b"tracestate" => Self::TraceState,
            _ => return None,
        })
    }

    /// Its text, for keys that a line must not repeat.
    fn must_be_single(self) -> Option<&'static str> {
        Some(match self {
            Self::Kind => "type",
            Self::Id => "id",
            Self::ReqId => "req_id",
            Self::Version => "version",
            Self::A2e => "a2e",
            Self::Timeout | Self::CorrelationId | Self::TraceParent | Self::TraceState => {
                return None;
            }
        })
    }
}

/// A line that passed the check.
#[derive(Clone, Debug)]
pub struct Scanned<'a> {
    /// The whole line as text.
    pub text: &'a str,
    /// The first envelope key that stands twice; `id` before all others, since no answer may tell it then.
    pub repeated: Option<&'static str>,
    /// Deepest nesting; the outermost object counts 1.
    pub depth: u8,
    outline: Outline,
}

impl<'a> Scanned<'a> {
    /// The value of a key; the last one where the key is repeated.
    #[inline]
    pub fn get(&self, key: Key) -> Slot<'a> {
        let Some(member) = self.outline.own(key as usize) else { return Slot::Absent };
        match member.shape {
            Shape::Plain => Slot::Text(Cow::Borrowed(member.text(self.text))),
            Shape::Escaped => Slot::Text(Cow::Owned(unescaped(member.value(self.text)))),
            Shape::Number => member.value(self.text).parse().map_or(Slot::Other, Slot::Number),
            Shape::Other => Slot::Other,
        }
    }

    /// Whether the outermost object has this key; false where it has more than are kept.
    pub(super) fn has_key(&self, key: &str) -> bool {
        self.members()
            .iter()
            .any(|it| !it.has_escaped_key && within_quotes(it.key(self.text)) == key)
    }

    /// The value of a key as it is written, where it is a number.
    pub(super) fn number(&self, key: Key) -> Option<&'a str> {
        let member = self.outline.own(key as usize)?;
        (member.shape == Shape::Number).then(|| member.value(self.text))
    }

    /// Its members, for the typed decode; empty when there are more than are kept.
    pub(super) fn members(&self) -> &[Member] {
        self.outline.all()
    }
}

/// Checks a whole line and finds its envelope.
///
/// # Errors
/// The first problem and its byte offset; the line then is a `parse_error`.
pub fn scan(line: &[u8]) -> Result<Scanned<'_>, ScanError> {
    read(line, MAX_DEPTH)
}

/// As [`scan`], for a line that a host wrote: it may nest to [`MAX_WRITTEN_DEPTH`].
///
/// # Errors
/// As [`scan`].
pub fn scan_written(line: &[u8]) -> Result<Scanned<'_>, ScanError> {
    read(line, MAX_WRITTEN_DEPTH)
}

fn read(line: &[u8], limit: u8) -> Result<Scanned<'_>, ScanError> {
    let mut outline = Outline::default();
    let text = simdutf8::compat::from_utf8(line)
        .map_err(|error| ScanError { problem: Problem::Utf8, offset: error.valid_up_to() })?;
    let mut scanner = Scanner::new(text, limit);
    scanner.skip_space();
    if scanner.here() != b'{' {
        return Err(scanner.error(Problem::NotAnObject));
    }
    let repeated = scanner.outermost(&mut outline)?;
    scanner.skip_space();
    if scanner.at < line.len() {
        return Err(scanner.error(Problem::Trailing));
    }
    Ok(Scanned { text, repeated, depth: scanner.deepest, outline })
}

/// Depth of one checked JSON text; 0 for a scalar. More than 255 counts as 255.
pub(super) fn depth_of(json: &str) -> u8 {
    let bytes = json.as_bytes();
    let (mut at, mut depth, mut deepest) = (0_usize, 0_usize, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => loop {
                at += long_plain_run(bytes, at);
                match bytes.get(at) {
                    Some(b'\\') => at += 2,
                    Some(b'"') | None => {
                        at += 1;
                        break;
                    }
                    Some(_) => at += 1,
                }
            },
            _ => {}
        }
    }
    u8::try_from(deepest).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;

//! The strict check of one line, in one pass and without recursion: UTF-8, RFC 8259 syntax, depth,
//! numbers; on the way it notes the envelope keys of the outermost object.

use std::borrow::Cow;

use super::MAX_DEPTH;
use super::text::plain_run;

/// What stands under an envelope key.
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

/// A line that passed the check.
#[derive(Clone, Debug, Default)]
pub struct Scanned<'a> {
    /// The whole line as text.
    pub text: &'a str,
    /// `type`.
    pub kind: Slot<'a>,
    /// `id`.
    pub id: Slot<'a>,
    /// `req_id`.
    pub req_id: Slot<'a>,
    /// `version`.
    pub version: Slot<'a>,
    /// `a2e`, the other spelling of `version`.
    pub a2e: Slot<'a>,
    /// `timeout`, for types whose deadline is that field.
    pub timeout: Slot<'a>,
    /// `correlation_id`, for the audit.
    pub correlation_id: Slot<'a>,
    /// The first envelope key that stands twice.
    pub repeated: Option<&'static str>,
    /// Deepest nesting; the outermost object counts 1.
    pub depth: u8,
}

/// Why a line is not a JSON object as we read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {offset}")]
pub struct ScanError {
    /// What is wrong.
    pub problem: Problem,
    /// Where, counted in bytes from the start of the line.
    pub offset: usize,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Bytes that are not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// The line is JSON perhaps, but no object.
    #[error("not a JSON object")]
    NotAnObject,
    /// The line ends too early.
    #[error("unexpected end of line")]
    End,
    /// A byte that cannot stand here.
    #[error("unexpected character")]
    Unexpected,
    /// An unescaped control character in a string.
    #[error("control character in a string")]
    Control,
    /// A bad escape, or half of a surrogate pair.
    #[error("bad escape in a string")]
    Escape,
    /// A malformed number, or one beyond the range of a double.
    #[error("bad number")]
    Number,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH}")]
    Depth,
    /// Something stands after the object.
    #[error("text after the object")]
    Trailing,
}

/// Checks a whole line and finds its envelope.
///
/// # Errors
/// The first problem and its byte offset; the line then is a `parse_error`.
pub fn scan(line: &[u8]) -> Result<Scanned<'_>, ScanError> {
    let text = std::str::from_utf8(line)
        .map_err(|error| ScanError { problem: Problem::Utf8, offset: error.valid_up_to() })?;
    let mut scanner = Scanner::new(text);
    scanner.skip_space();
    if scanner.peek() != Some(b'{') {
        return Err(scanner.error(Problem::NotAnObject));
    }
    scanner.values()?;
    scanner.skip_space();
    if scanner.at < line.len() {
        return Err(scanner.error(Problem::Trailing));
    }
    Ok(scanner.found)
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
                at += plain_run(bytes, at);
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

#[derive(Clone, Copy)]
enum Key {
    Kind,
    Id,
    ReqId,
    Version,
    A2e,
    Timeout,
    CorrelationId,
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Open containers; the lowest bit is the innermost, 1 for an object.
    open: u128,
    depth: u8,
    found: Scanned<'a>,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        let found = Scanned { text, ..Scanned::default() };
        Self { text, bytes: text.as_bytes(), at: 0, open: 0, depth: 0, found }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn error(&self, problem: Problem) -> ScanError {
        ScanError { problem, offset: self.at }
    }

    /// The error for whatever stands here when something else was due.
    fn unexpected(&self) -> ScanError {
        self.error(if self.at < self.bytes.len() { Problem::Unexpected } else { Problem::End })
    }

    #[inline]
    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Reads the outermost value and everything in it.
    fn values(&mut self) -> Result<(), ScanError> {
        let mut key = None;
        loop {
            let opened = self.value(key.take())?;
            let is_inside = opened && self.first_member(&mut key)?;
            if !is_inside && !self.next_member(&mut key)? {
                return Ok(());
            }
            self.skip_space();
        }
    }

    /// Reads a scalar, or the opening bracket of a container; true for the latter.
    #[inline]
    fn value(&mut self, key: Option<Key>) -> Result<bool, ScanError> {
        let start = self.at;
        let slot = match self.peek() {
            Some(b'"') => {
                let escaped = self.string()?;
                match key {
                    Some(_) => Slot::Text(self.text_of(start, escaped)),
                    None => return Ok(false),
                }
            }
            Some(b'{') => {
                self.note(key, Slot::Other);
                self.enter(1)?;
                return Ok(true);
            }
            Some(b'[') => {
                self.note(key, Slot::Other);
                self.enter(0)?;
                return Ok(true);
            }
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
                let parsed = || self.text.get(start..self.at).and_then(|text| text.parse().ok());
                key.and_then(|_| parsed()).map_or(Slot::Other, Slot::Number)
            }
            Some(b't') => self.literal(b"true")?,
            Some(b'f') => self.literal(b"false")?,
            Some(b'n') => self.literal(b"null")?,
            _ => return Err(self.unexpected()),
        };
        self.note(key, slot);
        Ok(false)
    }

    #[inline]
    fn enter(&mut self, bit: u128) -> Result<(), ScanError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error(Problem::Depth));
        }
        self.at += 1;
        self.depth += 1;
        self.found.depth = self.found.depth.max(self.depth);
        self.open = (self.open << 1) | bit;
        Ok(())
    }

    #[inline]
    fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
        self.open >>= 1;
    }

    /// After an opening bracket: true when a value follows, false when the container was empty.
    #[inline]
    fn first_member(&mut self, key: &mut Option<Key>) -> Result<bool, ScanError> {
        self.skip_space();
        match (self.open & 1, self.peek()) {
            (1, Some(b'}')) | (0, Some(b']')) => {
                self.leave();
                Ok(false)
            }
            (1, _) => {
                *key = self.key()?;
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    /// After a value: true when another follows, false when the outermost object has ended.
    #[inline]
    fn next_member(&mut self, key: &mut Option<Key>) -> Result<bool, ScanError> {
        loop {
            if self.depth == 0 {
                return Ok(false);
            }
            self.skip_space();
            match (self.open & 1, self.peek()) {
                (1, Some(b',')) => {
                    self.at += 1;
                    self.skip_space();
                    *key = self.key()?;
                    return Ok(true);
                }
                (0, Some(b',')) => {
                    self.at += 1;
                    return Ok(true);
                }
                (1, Some(b'}')) | (0, Some(b']')) => self.leave(),
                _ => return Err(self.unexpected()),
            }
        }
    }

    /// Reads a key and its colon; tells which envelope key it is.
    #[inline]
    fn key(&mut self) -> Result<Option<Key>, ScanError> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        let escaped = self.string()?;
        let key = if self.depth == 1 { self.envelope_key(start, escaped) } else { None };
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(key)
    }

    fn envelope_key(&mut self, start: usize, escaped: bool) -> Option<Key> {
        let name = self.text_of(start, escaped);
        let (key, name, seen) = match name.as_ref() {
            "type" => (Key::Kind, "type", &self.found.kind),
            "id" => (Key::Id, "id", &self.found.id),
            "req_id" => (Key::ReqId, "req_id", &self.found.req_id),
            "version" => (Key::Version, "version", &self.found.version),
            "a2e" => (Key::A2e, "a2e", &self.found.a2e),
            "timeout" => return Some(Key::Timeout),
            "correlation_id" => return Some(Key::CorrelationId),
            _ => return None,
        };
        if *seen != Slot::Absent && self.found.repeated != Some("id") {
            self.found.repeated = Some(name);
        }
        Some(key)
    }

    #[inline]
    fn note(&mut self, key: Option<Key>, slot: Slot<'a>) {
        let Some(key) = key else { return };
        *match key {
            Key::Kind => &mut self.found.kind,
            Key::Id => &mut self.found.id,
            Key::ReqId => &mut self.found.req_id,
            Key::Version => &mut self.found.version,
            Key::A2e => &mut self.found.a2e,
            Key::Timeout => &mut self.found.timeout,
            Key::CorrelationId => &mut self.found.correlation_id,
        } = slot;
    }

    /// The content of the string that began at `start` and ends before `at`.
    #[inline]
    fn text_of(&self, start: usize, escaped: bool) -> Cow<'a, str> {
        let end = self.at;
        if !escaped {
            return Cow::Borrowed(self.text.get(start + 1..end - 1).unwrap_or_default());
        }
        let quoted = self.text.get(start..end).unwrap_or_default();
        // The escapes were checked, so the decoder can only agree.
        Cow::Owned(serde_json::from_str(quoted).unwrap_or_default())
    }

    /// Reads a string; true when it holds escapes.
    #[inline]
    fn string(&mut self) -> Result<bool, ScanError> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at += plain_run(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0..=0x1f) => return Err(self.error(Problem::Control)),
                Some(_) => self.at += 1,
                None => return Err(self.error(Problem::End)),
            }
        }
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                match self.hex4()? {
                    0xd800..=0xdbff if self.bytes.get(self.at..self.at + 2) == Some(br"\u") => {
                        self.at += 2;
                        match self.hex4()? {
                            0xdc00..=0xdfff => Ok(()),
                            _ => Err(self.error(Problem::Escape)),
                        }
                    }
                    0xd800..=0xdfff => Err(self.error(Problem::Escape)),
                    _ => Ok(()),
                }
            }
            Some(_) => Err(self.error(Problem::Escape)),
            None => Err(self.error(Problem::End)),
        }
    }

    fn hex4(&mut self) -> Result<u32, ScanError> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or(self.error(Problem::Escape))?;
        let mut unit = 0;
        for digit in digits {
            let value = char::from(*digit).to_digit(16).ok_or(self.error(Problem::Escape))?;
            unit = unit * 16 + value;
        }
        self.at += 4;
        Ok(unit)
    }

    fn literal(&mut self, word: &[u8]) -> Result<Slot<'a>, ScanError> {
        if self.bytes.get(self.at..self.at + word.len()) == Some(word) {
            self.at += word.len();
            return Ok(Slot::Other);
        }
        Err(self.unexpected())
    }

    /// Reads `-? int frac? exp?`.
    #[inline]
    fn number(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.error(Problem::Number)),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        let mut can_overflow = self.at - start > 300;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            can_overflow = true;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        if can_overflow {
            let value = self.text.get(start..self.at).and_then(|text| text.parse::<f64>().ok());
            if !value.is_some_and(f64::is_finite) {
                return Err(self.error(Problem::Number));
            }
        }
        Ok(())
    }

    fn some_digits(&mut self) -> Result<(), ScanError> {
        let before = self.at;
        self.digits();
        if self.at == before { Err(self.error(Problem::Number)) } else { Ok(()) }
    }

    #[inline]
    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;

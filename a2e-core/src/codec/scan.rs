//! The strict check of one line, in one pass and without recursion: UTF-8, RFC 8259 syntax, depth,
//! numbers; on the way it notes the envelope keys of the outermost object.

use std::borrow::Cow;

use super::MAX_DEPTH;
pub use super::member::Outline;
use super::member::{Member, Shape, unescaped, within_quotes};
use super::text::{plain_run, short_plain_run};

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
}

impl Key {
    #[inline]
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "type" => Self::Kind,
            "id" => Self::Id,
            "req_id" => Self::ReqId,
            "version" => Self::Version,
            "a2e" => Self::A2e,
            "timeout" => Self::Timeout,
            "correlation_id" => Self::CorrelationId,
            _ => return None,
        })
    }

    /// Its text, where a line that has it twice is refused.
    fn must_be_single(self) -> Option<&'static str> {
        Some(match self {
            Self::Kind => "type",
            Self::Id => "id",
            Self::ReqId => "req_id",
            Self::Version => "version",
            Self::A2e => "a2e",
            Self::Timeout | Self::CorrelationId => return None,
        })
    }
}

/// A line that passed the check.
#[derive(Clone, Debug)]
pub struct Scanned<'a> {
    /// The whole line as text.
    pub text: &'a str,
    /// The first envelope key that stands twice.
    pub repeated: Option<&'static str>,
    /// Deepest nesting; the outermost object counts 1.
    pub depth: u8,
    outline: Cow<'a, Outline>,
}

impl<'a> Scanned<'a> {
    /// What stands under a key; of two values the last.
    #[inline]
    pub fn get(&self, key: Key) -> Slot<'a> {
        let Some(member) = self.outline.own(key as usize) else { return Slot::Absent };
        let value = member.value(self.text);
        match member.shape {
            Shape::Plain => Slot::Text(Cow::Borrowed(within_quotes(value))),
            Shape::Escaped => Slot::Text(Cow::Owned(unescaped(value))),
            Shape::Number => value.parse().map_or(Slot::Other, Slot::Number),
            Shape::Other => Slot::Other,
        }
    }

    /// Its members, for the typed decode; none when there are more than it keeps.
    pub(super) fn members(&self) -> &[Member] {
        self.outline.all()
    }
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
    let mut outline = Outline::default();
    let (text, repeated, depth) = read(line, &mut outline)?;
    Ok(Scanned { text, repeated, depth, outline: Cow::Owned(outline) })
}

/// As [`scan`], for line after line: `outline` brings its memory.
///
/// # Errors
/// As [`scan`].
#[inline]
pub fn scan_into<'a>(line: &'a [u8], outline: &'a mut Outline) -> Result<Scanned<'a>, ScanError> {
    outline.clear();
    let (text, repeated, depth) = read(line, outline)?;
    Ok(Scanned { text, repeated, depth, outline: Cow::Borrowed(outline) })
}

/// The text of a line, the first envelope key that stands twice, and the depth.
type Read<'a> = (&'a str, Option<&'static str>, u8);

fn read<'a>(line: &'a [u8], outline: &mut Outline) -> Result<Read<'a>, ScanError> {
    let text = std::str::from_utf8(line)
        .map_err(|error| ScanError { problem: Problem::Utf8, offset: error.valid_up_to() })?;
    let mut scanner = Scanner { text, bytes: line, at: 0, open: 0, depth: 0, deepest: 1 };
    scanner.skip_space();
    if scanner.peek() != Some(b'{') {
        return Err(scanner.error(Problem::NotAnObject));
    }
    let repeated = scanner.outermost(outline)?;
    scanner.skip_space();
    if scanner.at < line.len() {
        return Err(scanner.error(Problem::Trailing));
    }
    Ok((text, repeated, scanner.deepest))
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

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Open containers; the lowest bit is the innermost, 1 for an object.
    open: u128,
    depth: u8,
    deepest: u8,
}

impl<'a> Scanner<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn error(&self, problem: Problem) -> ScanError {
        ScanError { problem, offset: self.at }
    }

    /// The error for whatever stands here when something else was due.
    #[cold]
    fn unexpected(&self) -> ScanError {
        self.error(if self.at < self.bytes.len() { Problem::Unexpected } else { Problem::End })
    }

    #[inline]
    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Reads the outermost object, at whose brace it stands, and notes its members. Gives back the
    /// first envelope key that stands twice.
    fn outermost(&mut self, outline: &mut Outline) -> Result<Option<&'static str>, ScanError> {
        let mut repeated = None;
        self.enter(1)?;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.leave();
            return Ok(None);
        }
        loop {
            let key = self.at;
            let is_escaped = self.key()?;
            let end_of_key = self.colon()?;
            let value = self.at;
            let shape = self.value()?;
            let member = Member::new(key..end_of_key, is_escaped, value..self.at, shape);
            let own = self.own_key(&member);
            if let Some(name) = own.and_then(Key::must_be_single)
                && own.is_some_and(|own| outline.own(own as usize).is_some())
                && repeated != Some("id")
            {
                repeated = Some(name);
            }
            outline.push(member, own.map(|own| own as usize));
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.leave();
                    return Ok(repeated);
                }
                _ => return Err(self.unexpected()),
            }
            self.skip_space();
        }
    }

    /// Reads one value whole.
    #[inline]
    fn value(&mut self) -> Result<Shape, ScanError> {
        match self.peek() {
            Some(b'"') => {
                let is_escaped = self.string()?;
                Ok(if is_escaped { Shape::Escaped } else { Shape::Plain })
            }
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| Shape::Number),
            _ => self.nested().map(|()| Shape::Other),
        }
    }

    /// Reads one value and everything in it, to any allowed depth, without recursion.
    fn nested(&mut self) -> Result<(), ScanError> {
        let outside = self.depth;
        loop {
            let opened = match self.peek() {
                Some(b'"') => self.string().map(|_| false)?,
                Some(b'{') => self.enter(1).map(|()| true)?,
                Some(b'[') => self.enter(0).map(|()| true)?,
                Some(b'-' | b'0'..=b'9') => self.number().map(|()| false)?,
                Some(b't') => self.literal(b"true").map(|()| false)?,
                Some(b'f') => self.literal(b"false").map(|()| false)?,
                Some(b'n') => self.literal(b"null").map(|()| false)?,
                _ => return Err(self.unexpected()),
            };
            let is_inside = opened && self.first_member()?;
            if !is_inside && !self.next_member(outside)? {
                return Ok(());
            }
            self.skip_space();
        }
    }

    #[inline]
    fn enter(&mut self, bit: u128) -> Result<(), ScanError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error(Problem::Depth));
        }
        self.at += 1;
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
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
    fn first_member(&mut self) -> Result<bool, ScanError> {
        self.skip_space();
        match (self.open & 1, self.peek()) {
            (1, Some(b'}')) | (0, Some(b']')) => {
                self.leave();
                Ok(false)
            }
            (1, _) => {
                self.key()?;
                self.colon()?;
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    /// After a value: true when another follows, false when the value at depth `outside` has ended.
    #[inline]
    fn next_member(&mut self, outside: u8) -> Result<bool, ScanError> {
        loop {
            if self.depth == outside {
                return Ok(false);
            }
            self.skip_space();
            match (self.open & 1, self.peek()) {
                (1, Some(b',')) => {
                    self.at += 1;
                    self.skip_space();
                    self.key()?;
                    self.colon()?;
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

    /// Reads a key; true when it holds escapes.
    #[inline]
    fn key(&mut self) -> Result<bool, ScanError> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        self.string()
    }

    /// Goes from the end of a key, which it gives back, to the value.
    #[inline]
    fn colon(&mut self) -> Result<usize, ScanError> {
        let end_of_key = self.at;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected());
        }
        self.at += 1;
        self.skip_space();
        Ok(end_of_key)
    }

    /// Which of the host's own keys a member has.
    #[inline]
    fn own_key(&self, member: &Member) -> Option<Key> {
        let key = member.key(self.text);
        if member.has_escaped_key {
            return Key::of(&unescaped(key));
        }
        Key::of(within_quotes(key))
    }

    /// Reads a string; true when it holds escapes.
    #[inline]
    fn string(&mut self) -> Result<bool, ScanError> {
        self.at += 1;
        if let Some(run) = short_plain_run(self.bytes, self.at) {
            self.at += run;
            if self.peek() == Some(b'"') {
                self.at += 1;
                return Ok(false);
            }
        }
        self.rest_of_string()
    }

    /// Reads a string on.
    #[inline(never)]
    fn rest_of_string(&mut self) -> Result<bool, ScanError> {
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

    fn literal(&mut self, word: &[u8]) -> Result<(), ScanError> {
        if self.bytes.get(self.at..self.at + word.len()) == Some(word) {
            self.at += word.len();
            return Ok(());
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

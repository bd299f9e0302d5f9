//! The pass over a line: without recursion, each byte once, most of them several at a time.

use super::Key;
use super::member::{Member, Outline, Shape, unescaped, within_quotes};
use super::problem::{Problem, ScanError};
use crate::codec::MAX_DEPTH;
use crate::codec::text::{plain_run, short_plain_run};

pub(super) struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    pub(super) at: usize,
    /// Open containers; the lowest bit is the innermost, 1 for an object.
    open: u128,
    depth: u8,
    pub(super) deepest: u8,
}

impl<'a> Scanner<'a> {
    /// At the start of a line; `bytes` are those of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, open: 0, depth: 0, deepest: 1 }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn error(&self, problem: Problem) -> ScanError {
        ScanError { problem, offset: self.at }
    }

    /// The error for whatever stands here when something else was due.
    #[cold]
    fn unexpected(&self) -> ScanError {
        self.error(if self.at < self.bytes.len() { Problem::Unexpected } else { Problem::End })
    }

    #[inline]
    pub(super) fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Reads the outermost object, at whose brace it stands, and notes its members. Gives back the
    /// first envelope key that stands twice.
    pub(super) fn outermost(
        &mut self,
        outline: &mut Outline,
    ) -> Result<Option<&'static str>, ScanError> {
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

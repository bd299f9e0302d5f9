//! The pass over a line: without recursion, each byte once, most of them several at a time.

use std::ops::Range;

use super::Key;
use super::member::{Member, Outline, Shape, unescaped};
use super::problem::{Problem, ScanError};
use crate::codec::text::{BLOCK, long_plain_run, stops};

pub(super) struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    pub(super) at: usize,
    /// Where strings may end, in the block that was looked at last.
    stops: u64,
    /// The number of that block.
    block: usize,
    open: OpenContainers,
    /// How deep `depth` may get.
    limit: u8,
    depth: u8,
    pub(super) deepest: u8,
}

#[derive(Clone, Copy, PartialEq)]
enum Container {
    Array,
    Object,
}

/// The containers around the place that is read, for as many levels as a `u8` counts.
#[derive(Default)]
struct OpenContainers {
    /// A bit for each, 1 for an object; the lowest is the innermost.
    inner: u128,
    /// Those that do not fit into `inner`.
    outer: u128,
}

impl OpenContainers {
    #[inline]
    fn push(&mut self, container: Container) {
        self.outer = (self.outer << 1) | (self.inner >> 127);
        self.inner = (self.inner << 1) | u128::from(container == Container::Object);
    }

    #[inline]
    fn pop(&mut self) {
        self.inner = (self.inner >> 1) | (self.outer << 127);
        self.outer >>= 1;
    }

    #[inline]
    fn innermost(&self) -> Container {
        if self.inner & 1 == 1 { Container::Object } else { Container::Array }
    }
}

/// A string that goes on for this many blocks may be long.
const FAR: usize = 4;

/// The last block of a line, padded with bytes that end every string.
fn padded(rest: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    if let Some(start) = block.get_mut(..rest.len()) {
        start.copy_from_slice(rest);
    }
    block
}

impl<'a> Scanner<'a> {
    /// At the start of a line that may nest to `limit`.
    pub(super) fn new(text: &'a str, limit: u8) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            stops: 0,
            block: usize::MAX,
            open: OpenContainers::default(),
            limit,
            depth: 0,
            deepest: 1,
        }
    }

    /// The byte at this place; at the end 0, which no JSON text holds.
    #[inline]
    pub(super) fn here(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    pub(super) fn error(&self, problem: Problem) -> ScanError {
        ScanError { problem, offset: self.at }
    }

    /// The error for an unexpected byte, or for the end of the line.
    #[cold]
    fn unexpected(&self) -> ScanError {
        self.end_or(Problem::Unexpected)
    }

    /// This problem, unless the line ends here.
    #[cold]
    fn end_or(&self, problem: Problem) -> ScanError {
        self.error(if self.at < self.bytes.len() { problem } else { Problem::End })
    }

    #[inline]
    pub(super) fn skip_space(&mut self) {
        while matches!(self.here(), b' ' | b'\t' | b'\r' | b'\n') {
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
        self.enter(Container::Object)?;
        self.skip_space();
        if self.here() == b'}' {
            self.leave();
            return Ok(None);
        }
        loop {
            let key = self.at;
            let is_escaped = self.key()?;
            let end_of_key = self.colon()?;
            let value = self.at;
            let shape = self.value()?;
            let own = self.own_key(key..end_of_key, is_escaped);
            let member = Member::new(key..end_of_key, is_escaped, value..self.at, shape);
            if let Some(name) = own.and_then(Key::must_be_single)
                && own.is_some_and(|own| outline.own(own as usize).is_some())
                && repeated != Some("id")
            {
                repeated = Some(name);
            }
            outline.push(member, own.map(|own| own as usize));
            self.skip_space();
            match self.here() {
                b',' => self.at += 1,
                b'}' => {
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
        match self.here() {
            b'"' => {
                let is_escaped = self.string()?;
                Ok(if is_escaped { Shape::Escaped } else { Shape::Plain })
            }
            b'-' | b'0'..=b'9' => self.number().map(|()| Shape::Number),
            _ => self.nested().map(|()| Shape::Other),
        }
    }

    /// Reads one value and everything in it, to any allowed depth, without recursion.
    fn nested(&mut self) -> Result<(), ScanError> {
        let outside = self.depth;
        loop {
            let opened = match self.here() {
                b'"' => self.string().map(|_| false)?,
                b'{' => self.enter(Container::Object).map(|()| true)?,
                b'[' => self.enter(Container::Array).map(|()| true)?,
                b'-' | b'0'..=b'9' => self.number().map(|()| false)?,
                b't' => self.literal(b"true").map(|()| false)?,
                b'f' => self.literal(b"false").map(|()| false)?,
                b'n' => self.literal(b"null").map(|()| false)?,
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
    fn enter(&mut self, container: Container) -> Result<(), ScanError> {
        if self.depth == self.limit {
            return Err(self.error(Problem::Depth(self.limit)));
        }
        self.at += 1;
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        self.open.push(container);
        Ok(())
    }

    #[inline]
    fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
        self.open.pop();
    }

    /// After an opening bracket: true when a value follows, false when the container was empty.
    #[inline]
    fn first_member(&mut self) -> Result<bool, ScanError> {
        self.skip_space();
        match (self.open.innermost(), self.here()) {
            (Container::Object, b'}') | (Container::Array, b']') => {
                self.leave();
                Ok(false)
            }
            (Container::Object, _) => {
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
            match (self.open.innermost(), self.here()) {
                (Container::Object, b',') => {
                    self.at += 1;
                    self.skip_space();
                    self.key()?;
                    self.colon()?;
                    return Ok(true);
                }
                (Container::Array, b',') => {
                    self.at += 1;
                    return Ok(true);
                }
                (Container::Object, b'}') | (Container::Array, b']') => self.leave(),
                _ => return Err(self.unexpected()),
            }
        }
    }

    /// Reads a key; true when it holds escapes.
    #[inline]
    fn key(&mut self) -> Result<bool, ScanError> {
        if self.here() != b'"' {
            return Err(self.unexpected());
        }
        self.string()
    }

    /// Goes from the end of a key, which it gives back, to the value.
    #[inline]
    fn colon(&mut self) -> Result<usize, ScanError> {
        let end_of_key = self.at;
        self.skip_space();
        if self.here() != b':' {
            return Err(self.unexpected());
        }
        self.at += 1;
        self.skip_space();
        Ok(end_of_key)
    }

    /// Which of the host's own keys stands here, quotes included.
    #[inline]
    fn own_key(&self, key: Range<usize>, is_escaped: bool) -> Option<Key> {
        if is_escaped {
            return Key::of(unescaped(self.text.get(key)?).as_bytes());
        }
        Key::of(self.bytes.get(key.start + 1..key.end - 1)?)
    }

    /// Reads a string; true when it holds escapes.
    #[inline]
    fn string(&mut self) -> Result<bool, ScanError> {
        self.at += 1;
        self.skip_plain();
        if self.here() == b'"' {
            self.at += 1;
            return Ok(false);
        }
        self.rest_of_string()
    }

    /// Reads a string on that has not ended at its first stop.
    #[inline(never)]
    fn rest_of_string(&mut self) -> Result<bool, ScanError> {
        let mut escaped = false;
        loop {
            match self.here() {
                b'"' => {
                    self.at += 1;
                    return Ok(escaped);
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                0..=0x1f => return Err(self.end_or(Problem::Control)),
                _ => {}
            }
            self.skip_plain();
        }
    }

    /// Goes on to the next byte that is a quote, a backslash or below 0x20, or to the end.
    #[allow(
        clippy::inline_always,
        reason = "ten instructions; what they lead to rarely is elsewhere"
    )]
    #[inline(always)]
    fn skip_plain(&mut self) {
        let block = self.at / BLOCK;
        if block != self.block {
            self.look_at(block);
        }
        let rest = self.stops >> (self.at % BLOCK);
        if rest == 0 {
            return self.skip_far();
        }
        self.at += rest.trailing_zeros() as usize;
    }

    /// As [`skip_plain`](Self::skip_plain), for one that is not in this block.
    #[inline(never)]
    fn skip_far(&mut self) {
        self.at = (self.block + 1) * BLOCK;
        for _ in 0..FAR {
            self.look_at(self.block + 1);
            if self.stops != 0 {
                self.at += self.stops.trailing_zeros() as usize;
                return;
            }
            self.at += BLOCK;
        }
        self.at += long_plain_run(self.bytes, self.at);
    }

    #[inline(never)]
    fn look_at(&mut self, block: usize) {
        self.block = block;
        let rest = self.bytes.get(block * BLOCK..).unwrap_or_default();
        self.stops = match rest.first_chunk() {
            Some(block) => stops(block),
            None => stops(&padded(rest)),
        };
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        self.at += 1;
        match self.here() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.at += 1;
                Ok(())
            }
            b'u' => {
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
            _ => Err(self.end_or(Problem::Escape)),
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
        if self.here() == b'-' {
            self.at += 1;
        }
        match self.here() {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return Err(self.error(Problem::Number)),
        }
        if self.here() == b'.' {
            self.at += 1;
            self.some_digits()?;
        }
        let mut can_overflow = self.at - start > 300;
        if matches!(self.here(), b'e' | b'E') {
            can_overflow = true;
            self.at += 1;
            if matches!(self.here(), b'+' | b'-') {
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
        while self.here().is_ascii_digit() {
            self.at += 1;
        }
    }
}

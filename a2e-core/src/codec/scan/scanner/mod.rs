//! The pass over a line: without recursion, each byte once, most of them several at a time.

mod nesting;
mod scalar;

use std::ops::Range;

use super::Key;
use super::member::{Member, Outline, Shape, unescaped};
use super::problem::{Problem, ScanError};
use nesting::{Container, OpenContainers};

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
            let mut member = Member::new(key..end_of_key, is_escaped, value..self.at, shape);
            // `timeout` is a field of some types only.
            member.is_common = own.is_some_and(|own| own != Key::Timeout);
            if let Some(name) = own.and_then(Key::must_be_single)
                && own.is_some_and(|own| outline.own(own as usize).is_some())
                && (repeated.is_none() || name == "id")
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
}

//! Splits a byte stream into lines with a bound, before anything is parsed.

use bytes::{Buf, BytesMut};

/// Bytes of one read while a peer sends a lot. The buffer of a quiet connection is far smaller.
pub const READ_BLOCK: usize = 64 * 1024;

/// A byte order mark, which some programs write before the first line.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// Bytes of the first read of a connection.
const FIRST_BLOCK: usize = 4 * 1024;

/// The next thing in the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum LineItem {
    /// A whole line of this many bytes, without its LF, stands at the front of the buffer.
    /// Blank lines are not reported.
    Line(usize),
    /// A line passed the limit. The rest of it is discarded up to its LF.
    TooLong,
}

/// The read buffer of a connection: never holds more than the limit and one read block. A byte order
/// mark before the first line is passed over.
///
/// ```
/// use a2e_core::codec::{LineBuffer, LineItem};
/// let mut lines = LineBuffer::new(1024);
/// lines.buffer().extend_from_slice(b"{}\r\n\n{\"a\":1}\n{");
/// while let Some(LineItem::Line(length)) = lines.next_item() {
///     println!("{}", String::from_utf8_lossy(lines.front(length)));
///     lines.consume(length);
/// }
/// assert_eq!(lines.tail(), b"{");
/// ```
#[derive(Debug)]
pub struct LineBuffer {
    buffer: BytesMut,
    limit: usize,
    /// Bytes at the front that are known to hold no LF.
    searched: usize,
    is_discarding: bool,
    /// Whether the beginning of the stream was looked at.
    has_begun: bool,
    block: usize,
}

impl LineBuffer {
    /// A buffer that accepts lines of up to `limit` bytes, LF not counted.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            limit,
            searched: 0,
            is_discarding: false,
            has_begun: false,
            block: FIRST_BLOCK,
        }
    }

    /// Where to append what was read.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Makes room for the next read and returns how much may be read. Call before each read, with the
    /// size of the last one: a busy connection reads in larger blocks, a quiet one holds little.
    pub fn prepare(&mut self, last_read: usize) -> usize {
        if last_read >= self.block {
            self.block = (self.block * 4).min(READ_BLOCK);
        } else if last_read < self.block / 16 {
            self.block = (self.block / 4).max(FIRST_BLOCK);
        }
        if self.buffer.is_empty() && self.buffer.capacity() > 2 * self.block {
            // The buffer grew for long lines; the memory is given back.
            self.buffer = BytesMut::new();
        }
        let used = self.buffer.len();
        let wanted = if used > READ_BLOCK { READ_BLOCK.max(used / 2) } else { self.block };
        let room = (self.limit + READ_BLOCK).saturating_sub(used).max(1);
        let wanted = wanted.min(room);
        self.buffer.reserve(wanted);
        // The buffer may have more to spare than asked for, but never more than the bound.
        self.buffer.capacity().saturating_sub(used).min(room)
    }

    /// The next line or over-long line, if the buffer holds one.
    pub fn next_item(&mut self) -> Option<LineItem> {
        if !self.has_begun && self.buffer.len() >= MARK.len() {
            self.has_begun = true;
            if self.buffer.starts_with(MARK) {
                self.buffer.advance(MARK.len());
                self.searched = 0;
            }
        }
        loop {
            let fresh = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(length) = memchr::memchr(b'\n', fresh).map(|at| at + self.searched) else {
                return self.note_unfinished();
            };
            if self.is_discarding {
                self.is_discarding = false;
                self.consume(length);
                continue;
            }
            if length > self.limit {
                self.consume(length);
                return Some(LineItem::TooLong);
            }
            if is_blank(self.front(length)) {
                self.consume(length);
                continue;
            }
            // The LF is remembered, so that a second call finds it at once.
            self.searched = length;
            return Some(LineItem::Line(length));
        }
    }

    fn note_unfinished(&mut self) -> Option<LineItem> {
        if self.is_discarding {
            self.buffer.clear();
            self.searched = 0;
            return None;
        }
        self.searched = self.buffer.len();
        if self.buffer.len() > self.limit {
            self.is_discarding = true;
            self.buffer.clear();
            self.searched = 0;
            return Some(LineItem::TooLong);
        }
        None
    }

    /// Whether a whole line stands behind one of `length` bytes at the front.
    pub fn has_line_after(&self, length: usize) -> bool {
        memchr::memchr(b'\n', self.buffer.get(length + 1..).unwrap_or_default()).is_some()
    }

    /// The first `length` bytes.
    pub fn front(&self, length: usize) -> &[u8] {
        self.buffer.get(..length).unwrap_or_default()
    }

    /// Drops a line of `length` bytes and its LF.
    pub fn consume(&mut self, length: usize) {
        self.buffer.advance((length + 1).min(self.buffer.len()));
        self.searched = 0;
        self.has_begun = true;
    }

    /// The bytes after the last LF; at the end of input, a line without its LF.
    /// Empty while an over-long line is being discarded.
    pub fn tail(&self) -> &[u8] {
        if self.is_discarding { &[] } else { &self.buffer }
    }
}

/// Only space, tab and CR count as blank.
fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

#[cfg(test)]
mod tests;

//! Splits a byte stream into lines with a bound, before anything is parsed.

use bytes::{Buf, BytesMut};

/// Bytes of one read while a peer sends a lot. The buffer of a quiet connection is far smaller.
pub const READ_BLOCK: usize = 64 * 1024;

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

/// The read buffer of a connection: never holds more than the limit and one read block.
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The items that the buffer reports for a stream that arrives in these pieces.
    fn split(pieces: &[&[u8]], limit: usize) -> Vec<String> {
        let mut lines = LineBuffer::new(limit);
        let mut seen = Vec::new();
        for piece in pieces {
            lines.prepare(0);
            lines.buffer().extend_from_slice(piece);
            while let Some(item) = lines.next_item() {
                match item {
                    LineItem::Line(length) => {
                        seen.push(String::from_utf8_lossy(lines.front(length)).into_owned());
                        lines.consume(length);
                    }
                    LineItem::TooLong => seen.push("<too long>".into()),
                }
            }
            assert!(lines.buffer.len() <= limit + READ_BLOCK);
        }
        seen.push(format!("tail {}", String::from_utf8_lossy(lines.tail())));
        seen
    }

    #[test]
    fn r10_r11_lines_blanks_and_over_long_lines() {
        for (input, expected) in [
            ("", vec!["tail "]),
            ("a\nb\r\n\n \t\r\nc", vec!["a", "b\r", "tail c"]),
            ("12345678\n123456789\nx\n", vec!["12345678", "<too long>", "x", "tail "]),
            ("1234567890", vec!["<too long>", "tail "]),
            ("\u{a0}\n", vec!["\u{a0}", "tail "]),
        ] {
            assert_eq!(split(&[input.as_bytes()], 8), expected, "{input:?}");
            let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
            assert_eq!(split(&bytes, 8), expected, "{input:?} byte by byte");
        }
    }

    #[test]
    fn r10_a_long_line_s_memory_is_given_back() {
        let mut lines = LineBuffer::new(8 << 20);
        lines.buffer().extend_from_slice(&vec![b'x'; 4 << 20]);
        lines.buffer().extend_from_slice(b"\n");
        assert_eq!(lines.next_item(), Some(LineItem::Line(4 << 20)));
        lines.consume(4 << 20);
        lines.prepare(0);
        assert!(lines.buffer.capacity() <= 2 * READ_BLOCK);
    }

    proptest! {
        #[test]
        fn r10_how_the_stream_is_cut_changes_nothing(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(b' '), Just(b'{')], 0..80),
            cuts in proptest::collection::vec(0_usize..80, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(input.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&input[from..cut]);
                from = cut;
            }
            pieces.push(&input[from..]);
            prop_assert_eq!(split(&pieces, 10), split(&[&input], 10));
        }
    }
}

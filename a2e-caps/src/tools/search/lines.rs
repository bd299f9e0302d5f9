//! A file's lines as `grep` searches them: UTF-16 as UTF-8, one form of line ends, none without end.

use std::io::{self, BufRead, BufReader, Read};

use encoding_rs_io::{DecodeReaderBytes, DecodeReaderBytesBuilder};
use memchr::memchr;

/// Longest line that is searched, in bytes; of a longer one this much is.
pub(super) const MAX_LINE: usize = 1 << 20;

/// Bytes of a file by which one that is no text is told from one with a NUL in it.
const HEAD: usize = 512;

/// Reads a file. A byte order mark at its beginning is passed over.
pub(super) struct Lines<R> {
    inner: BufReader<DecodeReaderBytes<R, Vec<u8>>>,
    /// Whether `\r\n` stays as it is: the pattern asks for `\r`.
    keeps_returns: bool,
    /// A `\r` that was read and not given: it may be the first half of a line's end.
    held: bool,
    /// Bytes of the line so far.
    length: usize,
    /// Lines that have ended.
    ended: u64,
    /// The first line that was cut, from 1.
    pub(super) cut: Option<u64>,
    head: Vec<u8>,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(file: R, keeps_returns: bool) -> Self {
        let decoded = DecodeReaderBytesBuilder::new()
            .utf8_passthru(true)
            .strip_bom(true)
            .bom_override(true)
            .bom_sniffing(true)
            .build(file);
        let inner = BufReader::with_capacity(64 << 10, decoded);
        Self { inner, keeps_returns, held: false, length: 0, ended: 0, cut: None, head: Vec::new() }
    }

    /// Whether what stands before the first NUL reads like text.
    pub(super) fn begins_as_text(&self) -> bool {
        let text = self.head.split(|byte| *byte == 0).next().unwrap_or_default();
        let is_text = |it: char| !it.is_control() || it.is_whitespace() || it == '\u{1b}';
        match std::str::from_utf8(text) {
            Ok(text) => text.chars().all(is_text),
            // A character that the head cuts in two.
            Err(error) => error.error_len().is_none(),
        }
    }

    /// Gives one piece of what was read, within one line; how much of it was used and given.
    fn pass(&mut self, out: &mut [u8]) -> io::Result<Option<usize>> {
        let chunk = self.inner.fill_buf()?;
        let Some(first) = chunk.first() else { return Ok(None) };
        if self.held {
            self.held = false;
            if *first != b'\n' {
                return Ok(Some(give(&mut self.length, &mut self.cut, self.ended, b"\r", out)));
            }
        }
        let chunk = chunk.get(..out.len()).unwrap_or(chunk);
        let end = memchr(b'\n', chunk);
        let piece = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
        let text = match piece.split_last() {
            Some((b'\r', text)) if !self.keeps_returns => text,
            _ => piece,
        };
        self.held = end.is_none() && text.len() < piece.len();
        let mut given = give(&mut self.length, &mut self.cut, self.ended, text, out);
        let used = piece.len() + usize::from(end.is_some());
        let room = HEAD.saturating_sub(self.head.len()).min(used);
        self.head.extend_from_slice(chunk.get(..room).unwrap_or_default());
        if end.is_some() {
            // A newline was read, so there is room for one.
            out.get_mut(given).into_iter().for_each(|it| *it = b'\n');
            given += 1;
            self.length = 0;
            self.ended += 1;
        }
        self.inner.consume(used);
        Ok(Some(given))
    }
}

/// Gives as much of a line's piece as the line may still have.
fn give(
    length: &mut usize,
    cut: &mut Option<u64>,
    ended: u64,
    text: &[u8],
    out: &mut [u8],
) -> usize {
    let room = MAX_LINE.saturating_sub(*length);
    if text.len() > room {
        cut.get_or_insert(ended + 1);
    }
    let text = text.get(..room).unwrap_or(text);
    *length += text.len();
    let (given, _) = out.split_at_mut(text.len().min(out.len()));
    given.copy_from_slice(text.get(..given.len()).unwrap_or_default());
    given.len()
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut written = 0;
        while let Some(rest) = out.get_mut(written..).filter(|rest| !rest.is_empty()) {
            match self.pass(rest)? {
                Some(given) => written += given,
                None if std::mem::take(&mut self.held) => {
                    written += give(&mut self.length, &mut self.cut, self.ended, b"\r", rest);
                }
                None => break,
            }
            // An error of the next read must not take back what was given.
            if written > 0 && self.inner.buffer().is_empty() {
                break;
            }
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read, when it comes and goes in pieces of these sizes.
    fn read(file: &[u8], keeps: bool, give: usize, take: usize) -> Vec<u8> {
        struct Pieces<'a>(&'a [u8], usize);
        impl Read for Pieces<'_> {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                let most = self.1.min(out.len());
                self.0.read(&mut out[..most])
            }
        }
        let mut lines = Lines::new(Pieces(file, give), keeps);
        let (mut all, mut buffer) = (Vec::new(), vec![0; take]);
        loop {
            match lines.read(&mut buffer).unwrap() {
                0 => return all,
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
    }

    #[test]
    fn ends_of_lines_have_one_form_however_they_come() {
        for (file, expected) in [
            (&b""[..], &b""[..]),
            (b"a\r\nb\n\r\nc", b"a\nb\n\nc"),
            (b"a\r\r\nb\rc\r", b"a\r\nb\rc\r"),
            (b"\xef\xbb\xbfa\r\n", b"a\n"),
            (b"\xff\xfea\0\r\0\n\0\xe4\0", "a\nä".as_bytes()),
            (b"\xfe\xff\0a\0\n", b"a\n"),
        ] {
            for (give, take) in [(1, 1), (1, 100), (100, 1), (3, 2), (100, 100)] {
                let all = read(file, false, give, take);
                assert_eq!(all, expected, "{file:?} by {give} and {take}");
            }
        }
        assert_eq!(read(b"a\r\n\r", true, 2, 2), b"a\r\n\r");
    }

    #[test]
    fn of_a_line_without_end_the_beginning_is_read() {
        let long = "x".repeat(MAX_LINE + 5);
        let file = format!("a\n{long}\r\nb\n{long}");
        let cut = &long[..MAX_LINE];
        let expected = format!("a\n{cut}\nb\n{cut}");
        for take in [1000, 64 << 10, 3 << 20] {
            assert!(read(file.as_bytes(), false, 8192, take) == expected.as_bytes(), "{take}");
        }
        let mut lines = Lines::new(file.as_bytes(), false);
        io::copy(&mut lines, &mut io::sink()).unwrap();
        assert_eq!(lines.cut, Some(2));
    }
}

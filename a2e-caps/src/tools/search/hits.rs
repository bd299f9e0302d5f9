//! The lines that `grep` finds in one file, as the search hands them over.

use std::io;

use grep_matcher::Matcher;
use grep_regex::RegexMatcher;
use grep_searcher::{Searcher, Sink, SinkContext, SinkContextKind, SinkMatch};
use serde::Serialize;

use super::Cut;
use crate::tools::result::{fitting, text_len};

/// Longest text of a line, in bytes on the wire.
const MAX_TEXT: usize = 500;

/// Bytes of a line before what was found that are shown when the line is cut.
const LEAD: usize = 100;

/// Bytes of a hit on the wire beside its texts, at most: keys and numbers.
const HIT_BYTES: usize = 120;

/// A line that was found.
#[derive(Debug, Serialize)]
pub(super) struct Hit {
    pub(super) path: String,
    pub(super) line: u64,
    /// Where in the line it begins, in bytes from 1.
    column: usize,
    text: String,
    /// Whether `text` is only a part of the line.
    #[serde(skip_serializing_if = "is_false")]
    cut: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    before: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    after: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_false(it: &bool) -> bool {
    !it
}

/// The hits so far in all files, and the room for more.
#[derive(Debug)]
pub(super) struct Hits {
    pub(super) found: Vec<Hit>,
    limit: usize,
    /// Bytes on the wire that may still come.
    room: usize,
    pub(super) cut: Option<Cut>,
}

impl Hits {
    pub(super) fn new(limit: usize, room: usize) -> Self {
        Self { found: Vec::new(), limit, room, cut: None }
    }

    /// Takes back what was found in a file that turned out to be none to search.
    pub(super) fn forget(&mut self, kept: usize, room: usize) {
        self.found.truncate(kept);
        (self.room, self.cut) = (room, None);
    }

    /// How many there are, and the room that is left.
    pub(super) fn mark(&self) -> (usize, usize) {
        (self.found.len(), self.room)
    }

    fn take(&mut self, bytes: usize) -> bool {
        match self.room.checked_sub(bytes) {
            Some(room) => self.room = room,
            None => self.cut = Some(Cut::ResultSize),
        }
        self.cut.is_none()
    }
}

/// Takes the lines of one file.
pub(super) struct FileSink<'a> {
    pub(super) hits: &'a mut Hits,
    pub(super) matcher: &'a RegexMatcher,
    pub(super) path: &'a str,
    /// Lines before the next match.
    pub(super) before: Vec<String>,
    pub(super) is_binary: bool,
    /// One is enough: only the names of files are wanted.
    pub(super) is_first_only: bool,
}

impl Sink for FileSink<'_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> io::Result<bool> {
        let line = found.bytes();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        // A pattern may ask for the `\r` that is not shown.
        let at = self.matcher.find(line).ok().flatten().map_or(0, |it| it.start());
        if self.hits.found.len() >= self.hits.limit {
            self.hits.cut = Some(Cut::Limit);
            return Ok(false);
        }
        let (text, cut) = shown(trimmed(line), at);
        let before = std::mem::take(&mut self.before);
        let needed = HIT_BYTES + text_len(self.path) + text_len(&text);
        if !self.hits.take(needed) {
            return Ok(false);
        }
        self.hits.found.push(Hit {
            path: self.path.to_owned(),
            line: found.line_number().unwrap_or(0),
            column: at + 1,
            text,
            cut,
            before,
            after: Vec::new(),
        });
        Ok(!self.is_first_only)
    }

    fn context(&mut self, _: &Searcher, found: &SinkContext<'_>) -> io::Result<bool> {
        let (text, _) = shown(trimmed(found.bytes()), 0);
        if !self.hits.take(text_len(&text) + 3) {
            return Ok(false);
        }
        match found.kind() {
            SinkContextKind::After => {
                if let Some(hit) = self.hits.found.last_mut() {
                    hit.after.push(text);
                }
            }
            _ => self.before.push(text),
        }
        Ok(true)
    }

    fn binary_data(&mut self, _: &Searcher, _at: u64) -> io::Result<bool> {
        self.is_binary = true;
        Ok(false)
    }
}

/// A line without its end.
fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The part of a line that is shown, with what was found in it; and whether it is only a part.
fn shown(line: &[u8], at: usize) -> (String, bool) {
    // What is beyond cannot be shown: it is not worth decoding a line of a megabyte.
    let start = if at + LEAD > MAX_TEXT { at - LEAD.min(at) } else { 0 };
    let end = line.len().min(start + 4 * MAX_TEXT);
    let part = line.get(start..end).unwrap_or_default();
    // Not in the middle of a character.
    let lead = part.iter().take(3).take_while(|it| **it & 0xc0 == 0x80).count();
    let lead = if start > 0 { lead } else { 0 };
    let text = String::from_utf8_lossy(part.get(lead..).unwrap_or_default());
    let fits = fitting(&text, MAX_TEXT);
    let is_cut = start > 0 || end < line.len() || fits.len() < text.len();
    (fits.to_owned(), is_cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_shown_around_what_was_found() {
        let long = format!("{}needle{}", "a".repeat(2000), "b".repeat(2000));
        for (line, at, starts, is_cut) in [
            ("short", 0, "short", false),
            (&long, 2000, "aaaa", true),
            (&long[2000..], 0, "needle", true),
        ] {
            let (text, cut) = shown(line.as_bytes(), at);
            assert!(text.starts_with(starts) && cut == is_cut, "{text}");
            assert!(text_len(&text) <= MAX_TEXT);
            assert!(!is_cut || text.contains("needle"), "{text}");
        }
        let (text, _) = shown("é".repeat(3000).as_bytes(), 2001);
        assert!(!text.is_empty() && text.chars().all(|it| it == 'é'), "{text}");
        assert_eq!(shown(b"a\xffb", 0), ("a\u{fffd}b".to_owned(), false));
    }
}

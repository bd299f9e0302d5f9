//! The children as an operator sees them: command, start time, last lines of standard error.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Isolation;
use super::child::ChildState;

/// Most lines of standard error that are kept of a child.
const TAIL_LINES: usize = 64;

/// Most bytes of them.
const TAIL_BYTES: usize = 16 << 10;

/// One child, for status.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ChildStatus {
    /// Counts up in each supervisor, from 1.
    pub id: u64,
    /// The program's process id.
    pub pid: u32,
    /// The program, as it was asked for.
    pub program: String,
    /// When it was started, since the Unix epoch.
    pub since: Duration,
    /// How often the same program had been started before it, where it is kept running.
    pub restarts: u32,
    /// `running`, or `ending` when the program has ended and its descendants are dying.
    pub state: &'static str,
    /// How it is held.
    pub isolation: Isolation,
    /// The last lines of its standard error, where the supervisor drains that.
    pub tail: Vec<String>,
}

/// The end of a stream of text, safe to be shown: at most 64 lines and 16 KiB, what is no UTF-8
/// replaced, control characters removed. Clones are one tail.
#[derive(Clone, Default)]
pub struct Tail(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    whole: VecDeque<String>,
    bytes: usize,
    /// The line that is not whole yet; at most [`TAIL_BYTES`].
    open: Vec<u8>,
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").field("lines", &self.lock().whole.len()).finish()
    }
}

impl Tail {
    /// Guards the lines; held while they are copied.
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what was read. A line may come in pieces, and a character too.
    pub fn push(&self, bytes: &[u8]) {
        let mut lines = self.lock();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            // The end of a line that is too long is dropped.
            let room = TAIL_BYTES.saturating_sub(lines.open.len());
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            lines.open.extend_from_slice(text.get(..room).unwrap_or(text));
            if text.len() < piece.len() {
                lines.close();
            }
        }
    }

    /// The stream has ended: a line without a newline is whole.
    pub(super) fn end(&self) {
        let mut lines = self.lock();
        if !lines.open.is_empty() {
            lines.close();
        }
    }

    /// The lines, the last one perhaps not whole.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.lock();
        let open = (!lines.open.is_empty()).then(|| clean(&lines.open));
        let mut seen = Lines { whole: lines.whole.clone(), bytes: lines.bytes, open: Vec::new() };
        drop(lines);
        if let Some(open) = open {
            seen.add(open);
        }
        seen.whole.into()
    }
}

impl Lines {
    fn close(&mut self) {
        let line = clean(&std::mem::take(&mut self.open));
        self.add(line);
    }

    fn add(&mut self, line: String) {
        self.bytes += line.len();
        self.whole.push_back(line);
        while self.whole.len() > TAIL_LINES || self.bytes > TAIL_BYTES {
            let Some(first) = self.whole.pop_front() else { return };
            self.bytes -= first.len();
        }
    }
}

/// Text that a terminal can show: no escape sequence survives without its control character, and no
/// direction is turned.
fn clean(bytes: &[u8]) -> String {
    let is_hidden = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let text = String::from_utf8_lossy(bytes);
    let mut line: String =
        text.chars().filter(|c| (*c == '\t' || !c.is_control()) && !is_hidden(*c)).collect();
    // Replacement characters are longer than what they replace.
    let mut end = line.len().min(TAIL_BYTES);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}

/// What the supervisor notes of a child.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) pid: u32,
    pub(super) program: OsString,
    pub(super) since: Duration,
    pub(super) restarts: u32,
    pub(super) isolation: Isolation,
    pub(super) state: watch::Receiver<ChildState>,
    pub(super) tail: Tail,
}

/// The children that live, by id. Bounded by `max_children`: the ended ones are dropped whenever one
/// is added.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<BTreeMap<u64, Note>>);

impl Notes {
    fn living(&self) -> MutexGuard<'_, BTreeMap<u64, Note>> {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A sender that is gone went with its runtime, and the child with both.
        notes.retain(|_, note| {
            !matches!(*note.state.borrow(), ChildState::Gone(_)) && note.state.has_changed().is_ok()
        });
        notes
    }

    pub(super) fn add(&self, id: u64, note: Note) {
        self.living().insert(id, note);
    }

    pub(super) fn status(&self) -> Vec<ChildStatus> {
        let status = |(id, note): (&u64, &Note)| ChildStatus {
            id: *id,
            pid: note.pid,
            program: note.program.to_string_lossy().into_owned(),
            since: note.since,
            restarts: note.restarts,
            state: if matches!(*note.state.borrow(), ChildState::Running) {
                "running"
            } else {
                "ending"
            },
            isolation: note.isolation,
            tail: note.tail.lines(),
        };
        self.living().iter().map(status).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail_of(pieces: &[&[u8]]) -> Vec<String> {
        let tail = Tail::default();
        for piece in pieces {
            tail.push(piece);
        }
        tail.lines()
    }

    #[test]
    fn r35_lines_come_out_clean_however_they_come_in() {
        let cases: [(&[&[u8]], &[&str]); 9] = [
            (&[], &[]),
            (&[b"one\ntwo\n"], &["one", "two"]),
            (&[b"o", b"n", b"e\nt", b"wo"], &["one", "two"]),
            (&[b"\n\n"], &["", ""]),
            // A character in two pieces, bytes that are none, a colour, a carriage return, a tab.
            (&[b"\xc3", b"\xa9\n"], &["é"]),
            (&[b"a\xffb\n"], &["a\u{fffd}b"]),
            (&[b"\x1b[31mred\x1b[0m\r\n"], &["[31mred[0m"]),
            (&[b"a\tb\0c\x7f\n"], &["a\tbc"]),
            (&["\u{202e}evil\u{200b}\u{85}\n".as_bytes()], &["evil"]),
        ];
        for (pieces, expected) in cases {
            assert_eq!(tail_of(pieces), expected, "{pieces:?}");
        }
    }

    #[test]
    fn r35_only_the_end_is_kept() {
        let many: Vec<String> = (0..1000).map(|number| format!("line {number}\n")).collect();
        let many = many.concat();
        let lines = tail_of(&[many.as_bytes()]);
        assert_eq!((lines.len(), lines[0].as_str()), (64, "line 936"));
        let long = "x".repeat(1000) + "\n";
        let lines = tail_of(&[long.repeat(64).as_bytes()]);
        assert_eq!(lines.len(), 16, "16 KiB");
        // One endless line, in bytes that grow when they are replaced.
        for byte in [b'x', 0xff] {
            let tail = Tail::default();
            (0..100).for_each(|_| tail.push(&[byte; 4096]));
            assert!(tail.lock().open.len() <= TAIL_BYTES);
            tail.push(b"\nend\n");
            let lines = tail.lines();
            assert!(lines.iter().map(String::len).sum::<usize>() <= TAIL_BYTES);
            assert_eq!(lines.last().unwrap(), "end");
        }
    }

    #[test]
    fn the_end_of_the_stream_ends_the_line() {
        let tail = Tail::default();
        tail.push(b"last words");
        tail.end();
        tail.end();
        tail.push(b"next run\n");
        assert_eq!(tail.lines(), ["last words", "next run"]);
    }
}

//! The children as an operator sees them: command, start time, last lines of standard error.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Isolation;
use super::child::ChildState;
use crate::redact;
use crate::sync::{Mutex, MutexGuard};

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
/// replaced, control characters removed, secrets hidden that a line names as such (R69). Clones are one tail.
#[derive(Clone, Default)]
pub struct Tail(
    /// Held while the lines are copied.
    Arc<Mutex<Lines>>,
);

#[derive(Default)]
struct Lines {
    whole: VecDeque<String>,
    bytes: usize,
    /// The line that is not whole yet; at most [`TAIL_BYTES`].
    open: Vec<u8>,
}

show!(Tail, lines: |it| it.0.lock().whole.len());

impl Tail {
    /// Adds what was read. A line may come in pieces, and a character too.
    pub fn push(&self, bytes: &[u8]) {
        let mut lines = self.0.lock();
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
        let mut lines = self.0.lock();
        if !lines.open.is_empty() {
            lines.close();
        }
    }

    /// The lines, the last one perhaps not whole.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.0.lock();
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

/// Text that a terminal can show: no escape sequence survives without its control character, no direction is
/// turned, and no secret that it names is in it.
fn clean(bytes: &[u8]) -> String {
    let is_hidden = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let text = String::from_utf8_lossy(bytes);
    let line: String =
        text.chars().filter(|c| (*c == '\t' || !c.is_control()) && !is_hidden(*c)).collect();
    let mut line = redact::text(&line).into_owned();
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
        let mut notes = self.0.lock();
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
mod tests;

//! Checking audit files against their seals: was a line changed, removed, added or moved?

use std::io;
use std::path::{Path, PathBuf};

use super::file::rotated;
use super::finding::{Finding, SealAt, Wrong};
use super::scan::{Scan, ScannedLine, Verified, read_lines};
use super::seal::{Block, Digest, Seal};

/// The result of checking an audit file and its rotated files.
#[derive(Clone, Debug, Default)]
pub struct Verification {
    /// The files, oldest first.
    pub files: Vec<PathBuf>,
    /// Good lines that are records.
    pub records: u64,
    /// Records that gap lines say were dropped.
    pub lost: u64,
    /// Seal lines.
    pub seals: u64,
    /// The first `seq` that is there.
    pub first_seq: Option<u64>,
    /// The last one.
    pub last_seq: Option<u64>,
    /// The first seal whose block is all there and as it was sealed.
    pub trusted: Option<SealAt>,
    /// The last seal.
    pub last_seal: Option<SealAt>,
    /// The first and last `seq` before the first block that a seal covers.
    pub before: Option<(u64, u64)>,
    /// The first and last `seq` behind the last seal.
    pub unsealed: Option<(u64, u64)>,
    /// The problems; at most [`Scan::MAX_FOUND`] are kept.
    pub findings: Vec<Finding>,
    /// The number of problems.
    pub wrong: u64,
}

/// The files that hold the records up to the present one, oldest first: `path.N` to `path.1`, `path`.
///
/// One may be missing among them, where a rotation was interrupted; a file beside the path that belongs to
/// another host is told from a rotated one by its `seq`.
pub fn rotated_files(path: &Path) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned()];
    let mut is_missing = false;
    for index in 1..u32::MAX {
        let older = rotated(path, index);
        if !older.is_file() {
            if is_missing {
                break;
            }
            is_missing = true;
        } else if !is_missing || files.last().is_some_and(|newer| follows(newer, &older)) {
            files.push(older);
            is_missing = false;
        }
    }
    files.reverse();
    files
}

/// Whether the first record of one file is the next after the last of another.
fn follows(newer: &Path, older: &Path) -> bool {
    let (mut first, mut last) = (Scan::default(), Scan::default());
    let are_read = first.add(newer, u64::MAX).and_then(|()| last.add(older, 64 * 1024));
    let next = last.last_seq.and_then(|last| last.checked_add(1));
    are_read.is_ok() && next.is_some() && first.first_seq == next
}

/// Checks an audit file and its rotated files.
///
/// # Errors
/// When a file cannot be read; problems inside are in [`Verification::findings`].
pub fn verify(path: impl AsRef<Path>) -> io::Result<Verification> {
    verify_files(rotated_files(path.as_ref()))
}

/// Checks these files as one stretch, the oldest first.
///
/// # Errors
/// As [`verify`].
pub fn verify_files(files: Vec<PathBuf>) -> io::Result<Verification> {
    // A chain may begin anywhere: what the first seal says tells where hashing has to begin.
    let mut first_seal = None;
    for file in &files {
        read_lines(file, u64::MAX, |line| {
            if first_seal.is_none() && line.bytes.starts_with(super::seal::PREFIX) {
                first_seal = line.verify().ok().and_then(|found| found.seal);
            }
            first_seal.is_none()
        })?;
        if first_seal.is_some() {
            break;
        }
    }
    let mut check = Check {
        found: Verification::default(),
        block: Block::after(first_seal.map_or(Digest::NONE, |seal| seal.prev)),
        begin: first_seal.map(|seal| seal.first),
        is_damaged: false,
        bad_since: 0,
        last_place: None,
        since: None,
    };
    for file in &files {
        read_lines(file, u64::MAX, |line| {
            check.line(file, line);
            true
        })?;
    }
    check.end();
    check.found.files = files;
    Ok(check.found)
}

struct Check {
    found: Verification,
    /// The lines since the last seal.
    block: Block,
    /// While hashing has not begun: the `seq` at which it does.
    begin: Option<u64>,
    /// Whether something in this block was found already: its seal cannot fit.
    is_damaged: bool,
    /// Bad lines since the last good one: records that seem to be missing are mostly these.
    bad_since: u64,
    /// The last line.
    last_place: Option<(PathBuf, u64)>,
    /// The second of the first record behind the last seal, and of the last one.
    since: Option<(u64, u64)>,
}

impl Check {
    fn line(&mut self, path: &Path, line: &ScannedLine<'_>) {
        match line.verify() {
            Ok(Verified { seal: Some(seal), .. }) => self.seal(path, line.number, seal),
            Ok(record) => self.record(path, line, record),
            Err(problem) => {
                let seq = self.next_seq();
                self.wrong(
                    path,
                    line.number,
                    seq.saturating_add(self.bad_since),
                    Wrong::Line(problem),
                );
                self.bad_since += 1;
                if self.begin.is_none() {
                    self.block.add_bytes(line.bytes);
                }
            }
        }
        let place = self.last_place.get_or_insert_with(|| (path.to_owned(), 0));
        if place.0 != path {
            path.clone_into(&mut place.0);
        }
        place.1 = line.number;
    }

    fn record(&mut self, path: &Path, line: &ScannedLine<'_>, record: Verified) {
        let Verified { first, last, is_gap, .. } = record;
        let next = self.next_seq();
        let bad = std::mem::take(&mut self.bad_since);
        if self.found.last_seq.is_some() && first > next.saturating_add(bad) {
            let what = Wrong::Missing { first: next, last: first - 1 };
            self.wrong(path, line.number, next, what);
        } else if self.found.last_seq.is_some() && first < next {
            self.wrong(path, line.number, first, Wrong::OutOfOrder { after: next - 1 });
        }
        if self.begin.is_some_and(|begin| begin <= first) {
            self.begin = None;
        }
        if self.begin.is_none() {
            self.block.add(line.bytes, first, last);
        } else {
            let from = self.found.before.map_or(first, |(from, _)| from);
            self.found.before = Some((from, last));
        }
        let second = seconds(line.bytes);
        self.since = Some((self.since.map_or(second, |(from, _)| from), second));
        if is_gap {
            self.found.lost += last.saturating_sub(first).saturating_add(1);
        } else {
            self.found.records += 1;
        }
        self.found.first_seq = self.found.first_seq.or(Some(first));
        // Behind a record that was moved or doubled the count goes on from the highest.
        self.found.last_seq = self.found.last_seq.max(Some(last));
    }

    fn seal(&mut self, path: &Path, line: u64, seal: Seal) {
        let (first, last) = (seal.first, seal.last);
        self.bad_since = 0;
        // A chain that goes on, and lines before its first seal that it does not cover.
        let is_headless =
            self.found.seals == 0 && self.found.before.is_some() && seal.prev != Digest::NONE;
        let what = if is_headless {
            Some(Wrong::OtherBlock { first, last })
        } else if self.block.prev() != seal.prev {
            let expected = self.block.prev();
            Some(Wrong::BrokenChain { expected, prev: seal.prev })
        } else if self.block.span() != Some((first, last)) {
            Some(Wrong::OtherBlock { first, last })
        } else if self.block.seal() != Some(seal) {
            Some(Wrong::NotAsSealed { first, last })
        } else {
            None
        };
        let at = SealAt { path: path.to_owned(), line, seal };
        match what {
            Some(what) if !self.is_damaged => self.wrong(path, line, first, what),
            // The problem was reported at its line.
            Some(_) => {}
            None => {
                self.found.trusted.get_or_insert_with(|| at.clone());
            }
        }
        self.found.last_seal = Some(at);
        self.found.seals += 1;
        self.block = Block::after(seal.blake3);
        self.begin = None;
        self.is_damaged = false;
        self.since = None;
    }

    fn end(&mut self) {
        self.found.unsealed = self.block.span();
        let Some((path, line)) = self.last_place.take() else { return };
        let Some((from, to)) = self.since else { return };
        let seconds = to.saturating_sub(from);
        // A seal comes after 100 ms; this is far more than any thread waits for its turn.
        if seconds >= MOST_UNSEALED && self.found.seals > 0 && !self.is_damaged {
            let seq = self.block.span().map_or(0, |(first, _)| first);
            self.wrong(&path, line, seq, Wrong::NoSeal(seconds));
        }
    }

    fn next_seq(&self) -> u64 {
        self.found.last_seq.unwrap_or(0).saturating_add(1)
    }

    fn wrong(&mut self, path: &Path, line: u64, seq: u64, what: Wrong) {
        self.is_damaged = true;
        self.found.wrong += 1;
        if self.found.findings.len() < Scan::MAX_FOUND {
            self.found.findings.push(Finding { path: path.to_owned(), line, seq, what });
        }
    }
}

/// Seconds of records behind the last seal that are more than a slow machine.
const MOST_UNSEALED: u64 = 60;

/// The whole seconds of `ts`, by which a record begins or, in a gap record, which follows; else 0.
fn seconds(line: &[u8]) -> u64 {
    let key = b"\"ts\":";
    let start = memchr::memmem::find(line, key).map_or(line.len(), |place| place + key.len());
    let rest = line.get(start..).unwrap_or_default();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

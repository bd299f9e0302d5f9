//! Reads audit files back: checks that each line is whole, and `seq` without holes.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use memchr::memmem;

use super::file::rotated;
use super::record::MAX_LINE;
use super::seal::{self, Block, Digest, Seal};
use crate::codec::encode::hex;

/// The records that a good line stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The first `seq` it stands for.
    pub first: u64,
    /// The last one; the same as `first` but for a gap record.
    pub last: u64,
    /// Whether it says that these records were dropped.
    pub is_gap: bool,
    /// The seal, when the line is not a record but the seal of these.
    pub seal: Option<Seal>,
}

/// Why a line is not a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineProblem {
    /// It does not end in `,"crc":"xxxxxxxx"}`.
    NoChecksum,
    /// The checksum is another: the line was changed.
    WrongChecksum,
    /// The checksum is right, but there is no `seq`, or one above 2^53.
    NoSeq,
    /// The checksum is right, but the seal is not one of ours.
    NoSeal,
    /// It is longer than any line we write.
    TooLong,
    /// It has no newline: the write was cut short.
    Torn,
}

impl fmt::Display for LineProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoChecksum => "does not end in a checksum",
            Self::WrongChecksum => "does not match its checksum",
            Self::NoSeq => "has no seq",
            Self::NoSeal => "is no seal that can be read",
            Self::TooLong => "is longer than any audit line",
            Self::Torn => "has no end",
        })
    }
}

impl std::error::Error for LineProblem {}

/// No log ever comes this far, and JSON readers are exact only up to here.
const MAX_SEQ: u64 = 1 << 53;

/// Checks one line, without its newline.
///
/// # Errors
/// Any change of the line is noticed as one of [`LineProblem`].
pub fn verify_line(line: &[u8]) -> Result<Verified, LineProblem> {
    let (rest, brace) = line.split_last_chunk::<2>().ok_or(LineProblem::NoChecksum)?;
    let (rest, digits) = rest.split_last_chunk::<8>().ok_or(LineProblem::NoChecksum)?;
    let (body, name) = rest.split_last_chunk::<8>().ok_or(LineProblem::NoChecksum)?;
    if name != b",\"crc\":\"" || brace != b"\"}" {
        return Err(LineProblem::NoChecksum);
    }
    if *digits != hex::<8>(u64::from(crc32c::crc32c(body))) {
        return Err(LineProblem::WrongChecksum);
    }
    if body.starts_with(seal::PREFIX) {
        let seal = Seal::parse(body).ok_or(LineProblem::NoSeal)?;
        let Seal { first, last, .. } = seal;
        return Ok(Verified { first, last, is_gap: false, seal: Some(seal) });
    }
    // Quotes inside texts are escaped, so these byte strings occur only as keys.
    let last = number_after(body, b",\"seq\":").ok_or(LineProblem::NoSeq)?;
    if !body.starts_with(b"{\"gap\":") {
        return Ok(Verified { first: last, last, is_gap: false, seal: None });
    }
    let first = number_after(body, b"{\"first\":").ok_or(LineProblem::NoSeq)?;
    Ok(Verified { first, last, is_gap: true, seal: None })
}

fn number_after(body: &[u8], key: &[u8]) -> Option<u64> {
    let start = memmem::find(body, key)?.checked_add(key.len())?;
    let rest = body.get(start..)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()?;
    Some(number).filter(|number| *number <= MAX_SEQ)
}

/// Two neighbouring lines whose `seq` do not follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The file that holds the later line.
    pub path: PathBuf,
    /// The last `seq` before the hole.
    pub after: u64,
    /// The next one that is there; not above `after` means doubled or out of order.
    pub next: u64,
}

/// A line that is not a good one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// The file.
    pub path: PathBuf,
    /// Where in the file the line begins, in bytes.
    pub offset: u64,
    /// The problem.
    pub problem: LineProblem,
}

/// A line of an audit file, as it is read.
pub(super) struct ScannedLine<'a> {
    /// Its first byte, counted from the start of the file.
    pub(super) offset: u64,
    /// Counted from 1 where the file is read from its start.
    pub(super) number: u64,
    /// With its newline; of a line that is too long the last part only.
    pub(super) bytes: &'a [u8],
    /// Whether it has no newline, or is longer than any that we write.
    pub(super) problem: Option<LineProblem>,
}

impl ScannedLine<'_> {
    /// The records that it stands for.
    pub(super) fn verify(&self) -> Result<Verified, LineProblem> {
        match (self.problem, self.bytes.strip_suffix(b"\n")) {
            (Some(problem), _) => Err(problem),
            (None, whole) => verify_line(whole.unwrap_or(self.bytes)),
        }
    }
}

/// Reads the lines of a file, or only those in about the last `tail` bytes of it, until `each` says false.
pub(super) fn read_lines(
    path: &Path,
    tail: u64,
    mut each: impl FnMut(&ScannedLine<'_>) -> bool,
) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut offset = file.metadata()?.len().saturating_sub(tail);
    if offset > 0 {
        // One byte earlier: if that is a newline, nothing is skipped.
        offset -= 1;
        file.seek(SeekFrom::Start(offset))?;
    }
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    if offset > 0 {
        offset += reader.skip_until(b'\n')? as u64;
    }
    let mut bytes = Vec::with_capacity(1024);
    for number in 1.. {
        let begin = offset;
        let mut pieces = 0;
        let is_whole = loop {
            bytes.clear();
            let read = (&mut reader).take(MAX_LINE as u64).read_until(b'\n', &mut bytes)?;
            offset += read as u64;
            match bytes.last() {
                Some(b'\n') => break true,
                Some(_) => pieces += 1,
                None => break false,
            }
        };
        if !is_whole && pieces == 0 {
            break;
        }
        let problem = match (is_whole, pieces) {
            (true, 0) => None,
            (true, _) => Some(LineProblem::TooLong),
            (false, _) => Some(LineProblem::Torn),
        };
        let goes_on = each(&ScannedLine { offset: begin, number, bytes: &bytes, problem });
        if !is_whole || !goes_on {
            break;
        }
    }
    Ok(())
}

/// The result of reading one audit file, or several in order.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Good lines that are records.
    pub records: u64,
    /// Good lines that are seals; whether they fit is what [`super::verify`] says.
    pub seals: u64,
    /// Records that gap lines say were dropped.
    pub lost: u64,
    /// The first `seq` of a good line.
    pub first_seq: Option<u64>,
    /// The last `seq` of a good line.
    pub last_seq: Option<u64>,
    /// Breaks in `seq`; at most [`Scan::MAX_FOUND`] are kept.
    pub holes: Vec<Hole>,
    /// Lines that are not good; at most [`Scan::MAX_FOUND`] are kept.
    pub bad_lines: Vec<BadLine>,
    /// The last line of the file read last, where it has no newline.
    pub torn_tail: Option<BadLine>,
    /// Bad lines since the last good one; each may have been a record.
    bad_since: u64,
    /// The lines behind the last seal.
    block: Option<Block>,
}

impl Scan {
    /// How many holes and bad lines are kept; the rest is not counted.
    pub const MAX_FOUND: usize = 1000;

    /// Whether nothing at all is wrong.
    pub fn is_clean(&self) -> bool {
        self.holes.is_empty() && self.bad_lines.is_empty() && self.torn_tail.is_none()
    }

    /// The `seq` that a log which goes on from here gives next. Bad lines at the end are counted
    /// as records, so that no `seq` is given twice.
    pub(super) fn next_seq(&self) -> u64 {
        self.last_seq.unwrap_or(0).saturating_add(self.bad_since).saturating_add(1)
    }

    /// The block that a log which goes on from here has to seal.
    pub(super) fn block(&mut self) -> Block {
        self.block.take().unwrap_or_else(|| Block::after(Digest::NONE))
    }

    /// Reads one more file, or only about the last `tail` bytes of it.
    pub(super) fn add(&mut self, path: &Path, tail: u64) -> io::Result<()> {
        if let Some(torn) = self.torn_tail.take() {
            // Only the last line may be torn.
            self.note_bad(torn);
        }
        read_lines(path, tail, |line| {
            if line.problem == Some(LineProblem::Torn) {
                let (path, problem) = (path.to_owned(), LineProblem::Torn);
                self.torn_tail = Some(BadLine { path, offset: line.offset, problem });
            } else {
                self.count(path, line.offset, line.bytes, line.verify());
            }
            true
        })
    }

    fn note_bad(&mut self, line: BadLine) {
        self.bad_since += 1;
        if self.bad_lines.len() < Self::MAX_FOUND {
            self.bad_lines.push(line);
        }
    }

    fn count(
        &mut self,
        path: &Path,
        offset: u64,
        bytes: &[u8],
        verdict: Result<Verified, LineProblem>,
    ) {
        let block = self.block.get_or_insert_with(|| Block::after(Digest::NONE));
        let found = match verdict {
            Ok(found) => found,
            Err(problem) => {
                block.add_bytes(bytes);
                return self.note_bad(BadLine { path: path.to_owned(), offset, problem });
            }
        };
        if let Some(seal) = found.seal {
            *block = Block::after(seal.blake3);
            self.seals += 1;
            return;
        }
        block.add(bytes, found.first, found.last);
        if let Some(after) = self.last_seq
            && found.first != after.saturating_add(1)
            && self.holes.len() < Self::MAX_FOUND
        {
            self.holes.push(Hole { path: path.to_owned(), after, next: found.first });
        }
        if found.is_gap {
            self.lost += found.last.saturating_sub(found.first).saturating_add(1);
        } else {
            self.records += 1;
        }
        self.bad_since = 0;
        self.first_seq = self.first_seq.or(Some(found.first));
        self.last_seq = Some(found.last);
    }
}

/// Reads one audit file.
///
/// # Errors
/// When the file cannot be read; problems inside it are in [`Scan`].
pub fn scan(path: impl AsRef<Path>) -> io::Result<Scan> {
    let mut scan = Scan::default();
    scan.add(path.as_ref(), u64::MAX)?;
    Ok(scan)
}

/// Reads an audit file and its rotated files, oldest first, as one stretch of records.
///
/// # Errors
/// When a file that is there cannot be read.
pub fn scan_rotated(path: impl AsRef<Path>, backup_count: u32) -> io::Result<Scan> {
    let path = path.as_ref();
    let mut scan = Scan::default();
    let older = (1..=backup_count).rev().map(|index| rotated(path, index));
    for file in older.chain([path.to_owned()]) {
        match scan.add(&file, u64::MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(scan)
}

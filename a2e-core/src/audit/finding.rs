//! The findings of a check of audit files.

use std::fmt;
use std::path::PathBuf;

use super::scan::LineProblem;
use super::seal::{Digest, Seal};

/// A seal and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealAt {
    /// The file.
    pub path: PathBuf,
    /// Its line, from 1.
    pub line: u64,
    /// The seal.
    pub seal: Seal,
}

/// A problem and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// The line where it was noticed, from 1.
    pub line: u64,
    /// The `seq` that stands there, or that would be expected there.
    pub seq: u64,
    /// The problem.
    pub what: Wrong,
}

/// The problems that audit files may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wrong {
    /// A line that is not a good one.
    Line(LineProblem),
    /// The records `first..=last` are not there.
    Missing {
        /// The first of them.
        first: u64,
        /// The last.
        last: u64,
    },
    /// A record that is there already, or stands behind a later one.
    OutOfOrder {
        /// The last `seq` before it.
        after: u64,
    },
    /// The lines `first..=last` are whole and in order, and not those that were sealed.
    NotAsSealed {
        /// The first of the block.
        first: u64,
        /// The last.
        last: u64,
    },
    /// A seal for `first..=last`, and the lines since the seal before it are others.
    OtherBlock {
        /// The first that it seals.
        first: u64,
        /// The last.
        last: u64,
    },
    /// A seal that does not follow the one before it: one between them is missing, or was replaced.
    BrokenChain {
        /// The hash of the seal before it.
        expected: Digest,
        /// The one that it names.
        prev: Digest,
    },
    /// Records over this many seconds without a seal, though one is due after 100 ms.
    NoSeal(u64),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(problem) => write!(f, "the line {problem}"),
            Self::Missing { first, last } if first == last => {
                write!(f, "record {first} is missing")
            }
            Self::Missing { first, last } => write!(f, "records {first} to {last} are missing"),
            Self::OutOfOrder { after } => {
                write!(f, "the record stands behind {after}: doubled or moved")
            }
            Self::NotAsSealed { first, last } => {
                write!(f, "records {first} to {last} are not as they were sealed")
            }
            Self::OtherBlock { first, last } => write!(
                f,
                "this seals {first} to {last}, and other lines stand before it: lines or a seal are missing"
            ),
            Self::BrokenChain { expected, prev } => write!(
                f,
                "this seal follows {prev}, and the one before it is {expected}: a seal is missing or replaced"
            ),
            Self::NoSeal(seconds) => {
                write!(f, "{seconds} s of records follow the last seal: seals are missing")
            }
        }
    }
}

//! What a search did not see, by name: as much as a result has room for, the rest as numbers.

use serde::Serialize;

use crate::tools::result::text_len;

/// Names in one result.
const MOST: usize = 100;

/// Bytes of an entry on the wire beside its path.
const ENTRY_BYTES: usize = 48;

/// Why something was not seen, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Why {
    /// It could not be read.
    Unreadable,
    /// It has a NUL, so it is no text, or not all of it.
    Binary,
    /// It has a line of which only the beginning was searched.
    LongLine,
    /// It is a folder that is nested too deep.
    Depth,
}

/// One thing that was not seen.
#[derive(Debug, Serialize)]
struct Entry {
    path: String,
    why: Why,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
}

/// The list.
#[derive(Debug)]
pub(super) struct Unseen {
    told: Vec<Entry>,
    /// Files that are no text from their beginning on: told when there is room.
    plain: Vec<Entry>,
    room: usize,
}

impl Unseen {
    /// With the bytes on the wire that it may have.
    pub(super) fn new(room: usize) -> Self {
        Self { told: Vec::new(), plain: Vec::new(), room }
    }

    pub(super) fn note(&mut self, path: &str, why: Why, line: Option<u64>) {
        if self.told.len() < MOST {
            self.told.push(Entry { path: path.to_owned(), why, line });
        }
    }

    /// A file that nobody takes for text. Pictures must not take the room of what is worth telling.
    pub(super) fn note_plain_binary(&mut self, path: &str) {
        if self.plain.len() < MOST {
            self.plain.push(Entry { path: path.to_owned(), why: Why::Binary, line: None });
        }
    }

    /// The entries that fit.
    pub(super) fn fitting(self) -> Vec<impl Serialize> {
        let mut room = self.room;
        let all = self.told.into_iter().chain(self.plain).take(MOST);
        all.take_while(|entry| {
            let needed = ENTRY_BYTES + text_len(&entry.path);
            let fits = needed <= room;
            room = room.saturating_sub(needed);
            fits
        })
        .collect()
    }
}

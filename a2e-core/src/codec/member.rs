//! Where the members of a message stand in its line, so that nobody looks for them again.

use std::ops::Range;

/// What a value is, as far as the scanner tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shape {
    /// There is none.
    #[default]
    Absent,
    /// A string without escapes.
    Plain,
    /// A string with escapes.
    Escaped,
    Number,
    /// An object, an array, true, false or null.
    Other,
}

/// One member of the outermost object, as places in the line. A line has less than 4 GiB.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Member {
    key: (u32, u32),
    value: (u32, u32),
    pub(super) has_escaped_key: bool,
    pub(super) shape: Shape,
}

impl Member {
    #[inline]
    pub(super) fn new(
        key: Range<usize>,
        has_escaped_key: bool,
        value: Range<usize>,
        shape: Shape,
    ) -> Self {
        // A place that does not fit names no text, and such a member is never decoded by itself.
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            key: (place(key.start), place(key.end)),
            value: (place(value.start), place(value.end)),
            has_escaped_key,
            shape,
        }
    }

    /// Its key, quotes included.
    #[inline]
    pub(super) fn key<'a>(&self, line: &'a str) -> &'a str {
        part(line, self.key)
    }

    /// Its value as it is written.
    #[inline]
    pub(super) fn value<'a>(&self, line: &'a str) -> &'a str {
        part(line, self.value)
    }
}

#[inline]
fn part(line: &str, (start, end): (u32, u32)) -> &str {
    line.get(start as usize..end as usize).unwrap_or_default()
}

/// The content of a string that has no escapes.
#[inline]
pub(super) fn within_quotes(json: &str) -> &str {
    json.get(1..json.len().saturating_sub(1)).unwrap_or_default()
}

/// The content of a string whose escapes were checked, so the decoder can only agree.
#[cold]
pub(super) fn unescaped(json: &str) -> String {
    serde_json::from_str(json).unwrap_or_default()
}

/// Members of one object that are kept. Few messages have more.
const KEPT: usize = 16;

/// The members of the outermost object.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    kept: [Member; KEPT],
    count: usize,
}

impl Members {
    #[inline]
    pub(super) fn push(&mut self, member: Member) {
        if let Some(place) = self.kept.get_mut(self.count) {
            *place = member;
        }
        self.count += 1;
    }

    /// All of them, or none when there are more than are kept.
    #[inline]
    pub(super) fn all(&self) -> &[Member] {
        self.kept.get(..self.count).unwrap_or_default()
    }
}

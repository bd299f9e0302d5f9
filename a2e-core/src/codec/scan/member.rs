//! The places of the members of a message in its line, so that the decoder need not search for them again.

use std::ops::Range;

/// The kind of a value, as far as the scanner tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::codec) enum Shape {
    /// A string without escapes.
    Plain,
    /// A string with escapes.
    Escaped,
    Number,
    /// An object, an array, true, false or null.
    Other,
}

/// One member of the outermost object, as places in the line. A line has less than 4 GiB.
#[derive(Clone, Copy, Debug)]
pub(in crate::codec) struct Member {
    key: (u32, u32),
    value: (u32, u32),
    pub(in crate::codec) has_escaped_key: bool,
    pub(in crate::codec) shape: Shape,
    /// Whether a message of any type may have it: the host looks at it.
    pub(in crate::codec) is_common: bool,
}

impl Member {
    #[inline]
    pub(in crate::codec) fn new(
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
            is_common: false,
        }
    }

    /// Its key, quotes included.
    #[inline]
    pub(in crate::codec) fn key<'a>(&self, line: &'a str) -> &'a str {
        part(line, self.key)
    }

    /// Its value as it is written.
    #[inline]
    pub(in crate::codec) fn value<'a>(&self, line: &'a str) -> &'a str {
        part(line, self.value)
    }

    /// The content of its value, which is a string without escapes.
    #[inline]
    pub(in crate::codec) fn text<'a>(&self, line: &'a str) -> &'a str {
        let (start, end) = self.value;
        part(line, (start.saturating_add(1), end.saturating_sub(1)))
    }
}

#[inline]
fn part(line: &str, (start, end): (u32, u32)) -> &str {
    line.get(start as usize..end as usize).unwrap_or_default()
}

/// The content of a string that has no escapes.
#[inline]
pub(in crate::codec) fn within_quotes(json: &str) -> &str {
    json.get(1..json.len().saturating_sub(1)).unwrap_or_default()
}

/// The content of a string whose escapes were checked, so that the decoder cannot fail.
#[cold]
pub(in crate::codec) fn unescaped(json: &str) -> String {
    serde_json::from_str(json).unwrap_or_default()
}

/// Members that are kept for the typed decode.
const KEPT: usize = 64;

/// How many keys the host itself looks at.
pub(in crate::codec) const KEYS: usize = 9;

const NONE: u8 = u8::MAX;

/// The members of the outermost object of a line.
#[derive(Clone, Debug)]
pub(in crate::codec) struct Outline {
    /// The first [`KEPT`], and behind them what else the host looks at.
    members: Vec<Member>,
    /// Where the keys of the host stand in the list.
    own: [u8; KEYS],
    is_whole: bool,
}

impl Default for Outline {
    fn default() -> Self {
        // Few messages have more members.
        Self { members: Vec::with_capacity(12), own: [NONE; KEYS], is_whole: true }
    }
}

impl Outline {
    /// Keeps a member; `own` is its place among the keys of the host, if it is one.
    #[inline]
    pub(in crate::codec) fn push(&mut self, member: Member, own: Option<usize>) {
        let at = self.members.len();
        let own = own.and_then(|own| self.own.get_mut(own));
        if at < KEPT {
            if let Some(own) = own {
                *own = u8::try_from(at).unwrap_or(NONE);
            }
            self.members.push(member);
            return;
        }
        self.is_whole = false;
        let Some(own) = own else { return };
        if let Some(earlier) = self.members.get_mut(usize::from(*own)) {
            // The last of two counts, so there are never more than the keys of the host.
            *earlier = member;
        } else {
            *own = u8::try_from(at).unwrap_or(NONE);
            self.members.push(member);
        }
    }

    /// The member under one of the keys of the host.
    #[inline]
    pub(in crate::codec) fn own(&self, own: usize) -> Option<&Member> {
        self.members.get(usize::from(*self.own.get(own)?))
    }

    /// All members, or none when there are more than are kept.
    #[inline]
    pub(in crate::codec) fn all(&self) -> &[Member] {
        if self.is_whole { &self.members } else { &[] }
    }
}

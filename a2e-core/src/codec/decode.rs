//! The one typed decode of a message body, and the body as handlers get it.

use std::cell::Cell;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::MAX_WRITTEN_DEPTH;
use super::raw::RawJson;
use super::scan::Scanned;
use super::scan::member::{Member, unescaped};
use super::typed::LineDeserializer;
use crate::Error;

thread_local! {
    /// Nesting of the line that is being decoded on this thread, so that raw fields need no second look.
    static LINE_DEPTH: Cell<Option<u8>> = const { Cell::new(None) };
}

/// The nesting of the line that this thread decodes now.
pub(super) fn line_depth() -> Option<u8> {
    LINE_DEPTH.get()
}

/// A checked line, borrowed from the read buffer.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    pub(super) text: &'a str,
    depth: u8,
    /// Its members; empty where they are not known.
    pub(super) members: &'a [Member],
}

impl<'a> Incoming<'a> {
    /// A line that was checked.
    pub fn of(scanned: &'a Scanned<'a>) -> Self {
        Self { text: scanned.text, depth: scanned.depth, members: scanned.members() }
    }

    /// A text that was checked as a line, for a look at its fields.
    pub(crate) fn of_text(text: &'a str) -> Self {
        Self { text, depth: 0, members: &[] }
    }

    /// The whole line: one JSON object, checked.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Its deepest nesting; the outermost object counts 1.
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// A copy that outlives the read buffer.
    pub fn to_body(self) -> Body {
        Body { text: self.text.into(), depth: self.depth, members: self.members.into() }
    }
}

/// A checked line that is owned, for handlers that run elsewhere than on the reader.
#[derive(Clone, Debug)]
pub struct Body {
    text: Arc<str>,
    depth: u8,
    members: Arc<[Member]>,
}

impl Body {
    /// The same, borrowed.
    pub fn as_incoming(&self) -> Incoming<'_> {
        Incoming { text: &self.text, depth: self.depth, members: &self.members }
    }

    /// The whole line: one JSON object, checked.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether it is empty. A line that was accepted never is.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// Decodes a checked line as a typed message.
///
/// # Errors
/// `schema_violation` with the path of the field and what was expected there.
pub fn decode<T: DeserializeOwned>(incoming: Incoming<'_>) -> Result<T, Error> {
    decode_noting(incoming).0
}

/// As [`decode`], and tells which fields of the line the type does not know, whether it can be decoded or
/// not.
pub fn decode_noting<T: DeserializeOwned>(
    incoming: Incoming<'_>,
) -> (Result<T, Error>, Unknown<'_>) {
    let unknown = Cell::new(0);
    LINE_DEPTH.set(Some(incoming.depth));
    let Incoming { text, depth, members } = incoming;
    let result = if members.is_empty() {
        from_checked(text, depth)
    } else {
        T::deserialize(LineDeserializer { text, members, unknown: &unknown })
    };
    LINE_DEPTH.set(None);
    (result.or_else(|_| explain(incoming)), Unknown { text, members, bits: unknown.get() })
}

/// The fields of a line that the type of its message does not know, of those that not every message may
/// have. None is told where a type takes any field, or the line has more than the check keeps.
#[derive(Clone, Copy, Debug)]
pub struct Unknown<'a> {
    text: &'a str,
    members: &'a [Member],
    bits: u64,
}

impl Unknown<'_> {
    /// Most names that are told, and most bytes of one.
    const MOST: (usize, usize) = (16, 64);

    /// Whether the type knows them all.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bits == 0
    }

    /// Their names, the first ones.
    #[cold]
    pub fn names(&self) -> Vec<String> {
        let (most, bytes) = Self::MOST;
        let unknown = self.members.iter().enumerate().filter(|(at, _)| self.bits >> at & 1 == 1);
        let name = |(_, member): (usize, &Member)| {
            let mut name = unescaped(member.key(self.text));
            name.truncate(name.floor_char_boundary(bytes));
            name
        };
        unknown.take(most).map(name).collect()
    }
}

/// Decodes a field that was carried as raw JSON; `loc` is its path in the message.
///
/// # Errors
/// `schema_violation` with the path of what is wrong, such as `arguments.path`.
pub fn decode_field<T: DeserializeOwned>(raw: &RawJson, loc: &str) -> Result<T, Error> {
    raw.decode().map_err(|_| {
        let mut deserializer = reader(raw.get(), raw.depth());
        match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
            Err(error) => {
                let inner = error.path().to_string();
                let loc = if inner == "." { loc.to_owned() } else { format!("{loc}.{inner}") };
                Error::schema(loc, without_position(&error.into_inner()))
            }
            Ok(_) => Error::schema(loc, "not of the expected shape"),
        }
    })
}

/// Decodes JSON text that nests to this depth.
pub(super) fn from_checked<'a, T: Deserialize<'a>>(
    text: &'a str,
    depth: u8,
) -> Result<T, serde_json::Error> {
    let mut deserializer = reader(text, depth);
    let value = T::deserialize(&mut deserializer)?;
    deserializer.end().map(|()| value)
}

/// A deserializer for text that nests to this depth. The limit of `serde_json` is [`MAX_DEPTH`](super::MAX_DEPTH),
/// which a line that wraps a payload may exceed; text that is deeper than any line meets that limit.
fn reader(text: &str, depth: u8) -> serde_json::Deserializer<serde_json::de::StrRead<'_>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    if depth <= MAX_WRITTEN_DEPTH {
        deserializer.disable_recursion_limit();
    }
    deserializer
}

/// The failed decode once more, this time keeping track of the path: slow, and only on failure.
#[cold]
fn explain<T: DeserializeOwned>(incoming: Incoming<'_>) -> Result<T, Error> {
    let mut deserializer = reader(incoming.text, incoming.depth);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let loc = error.path().to_string();
        let loc = if loc == "." { String::new() } else { loc };
        Error::schema(loc, without_position(&error.into_inner()))
    })
}

/// The parser's message without ` at line 1 column n`: a message is one line, the path says more.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests;

//! Long texts: copied in pieces, and their memory kept.
//!
//! What a message of 64 KiB costs is mostly copies and memory that is taken and given back.

use std::cell::RefCell;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Bytes that are copied at a time. From 4 KiB on (2 KiB without AVX) the C library copies with `rep movsb`,
/// which takes up to twice as long as wide moves on some processors (AMD Zen 3), more where the two
/// places lie within 32 bytes of each other in their pages.
const PIECE: usize = 2 * 1024;

/// A text that took less than this is an allocation like others, and one that took more is not kept.
const KEPT: std::ops::RangeInclusive<usize> = 4 * 1024..=256 * 1024;

/// So many are kept by each thread.
const SPARES: usize = 2;

thread_local! {
    /// Memory of long texts that are gone, for the next ones.
    static SPARE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Appends bytes of any number.
#[inline]
pub(crate) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= PIECE {
        return out.extend_from_slice(bytes);
    }
    append_long(out, bytes);
}

#[inline(never)]
fn append_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len());
    for piece in bytes.chunks(PIECE) {
        out.extend_from_slice(piece);
    }
}

/// A text that may be long.
pub(super) struct Text(String);

impl Text {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn copy_of(text: &str) -> Self {
        if !KEPT.contains(&text.len()) {
            return Self(text.to_owned());
        }
        let mut copy = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        copy.reserve(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, next) = rest.split_at(rest.floor_char_boundary(PIECE));
            copy.push_str(piece);
            rest = next;
        }
        Self(copy)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Clone for Text {
    fn clone(&self) -> Self {
        Self::copy_of(&self.0)
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        if KEPT.contains(&self.0.capacity()) {
            let mut text = std::mem::take(&mut self.0);
            text.clear();
            // Where the thread ends already, there is no place to keep it.
            let _gone = SPARE.try_with(|spare| {
                let mut spare = spare.borrow_mut();
                if spare.len() < SPARES {
                    spare.push(text);
                }
            });
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_string(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text::copy_of(text))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Text, E> {
        Ok(Text(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_length_are_copied_whole() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7, 300 * 1024] {
            // Two bytes to a letter, so that some pieces would end within one.
            for text in ["x".repeat(length), format!("x{}", "é".repeat(length / 2))] {
                let copy = Text::copy_of(&text);
                assert_eq!(copy.as_str(), text);
                assert_eq!(copy.clone().as_str(), text);
                let mut out = b"before ".to_vec();
                append(&mut out, text.as_bytes());
                assert_eq!(out, format!("before {text}").into_bytes());
            }
        }
    }

    #[test]
    fn a_thread_keeps_the_memory_of_two_long_texts_and_of_no_others() {
        let kept = || SPARE.with_borrow(Vec::len);
        let texts = |length: usize| vec![Text::copy_of(&"x".repeat(length)); 4];
        drop(texts(100));
        assert_eq!(kept(), 0, "short ones");
        drop(texts(300 * 1024));
        assert_eq!(kept(), 0, "too long ones");
        drop(texts(10_000));
        assert_eq!(kept(), SPARES);
        let copy = Text::copy_of(&"y".repeat(5_000));
        assert_eq!((kept(), copy.as_str().len()), (SPARES - 1, 5_000));
    }
}

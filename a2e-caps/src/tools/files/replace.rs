//! Exact, counted replacements in a text: all of them, or none and why not.

use std::ops::Range;

use serde::Serialize;

/// Most places that one edit may have.
pub(super) const MAX_PLACES: usize = 10_000;

/// Line numbers that an error names, at most.
const MAX_LINES: usize = 8;

/// One thing to replace.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) old: String,
    pub(super) new: String,
    /// How often `old` must be there.
    pub(super) count: usize,
}

/// Where an edit applies: bytes of the old text, and which edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) range: Range<usize>,
    pub(super) edit: usize,
}

/// An edit that does not fit the text.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Mismatch {
    pub(super) edit: usize,
    pub(super) expected: usize,
    /// [`MAX_PLACES`] and one more stand for "more than that".
    pub(super) found: usize,
    /// Where it was found; where it was not, lines that hold its first line.
    pub(super) lines: Vec<usize>,
}

/// Why a text was not changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Edits that are there more or less often than they say.
    Counts(Vec<Mismatch>),
    /// Two edits want the same characters, in this line.
    Overlap { first: usize, second: usize, line: usize },
}

/// Where the edits apply, in the order of the text. Every edit is looked for in the text as it is,
/// not in what other edits make of it.
///
/// # Errors
/// When any edit is not there as often as it says, or two edits overlap.
pub(super) fn places(text: &str, edits: &[Edit]) -> Result<Vec<Place>, Unfit> {
    let (mut all, mut mismatches) = (Vec::new(), Vec::new());
    for (number, edit) in edits.iter().enumerate() {
        let found = text.match_indices(&edit.old).take(MAX_PLACES + 1);
        let found: Vec<usize> = found.map(|(at, _)| at).collect();
        if found.len() == edit.count {
            let length = edit.old.len();
            let place = |at| Place { range: at..at + length, edit: number };
            all.extend(found.into_iter().map(place));
        } else {
            let lines = match found.as_slice() {
                [] => similar_lines(text, &edit.old),
                places => lines_of(text, places.iter().copied().take(MAX_LINES)),
            };
            let (expected, found) = (edit.count, found.len());
            mismatches.push(Mismatch { edit: number, expected, found, lines });
        }
    }
    if !mismatches.is_empty() {
        return Err(Unfit::Counts(mismatches));
    }
    all.sort_by_key(|place| place.range.start);
    for (before, after) in all.iter().zip(all.iter().skip(1)) {
        if after.range.start < before.range.end {
            let line = line_of(text, after.range.start);
            return Err(Unfit::Overlap { first: before.edit, second: after.edit, line });
        }
    }
    Ok(all)
}

/// The bytes of a part of the new text.
pub(super) fn applied(text: &str, part: Range<usize>, places: &[Place], edits: &[Edit]) -> String {
    let (mut out, mut at) = (String::new(), part.start);
    for place in places {
        out.push_str(text.get(at..place.range.start).unwrap_or_default());
        out.push_str(edits.get(place.edit).map_or("", |edit| &edit.new));
        at = place.range.end;
    }
    out.push_str(text.get(at..part.end).unwrap_or_default());
    out
}

/// How long the new text will be, in bytes.
pub(super) fn new_length(text: &str, edits: &[Edit]) -> usize {
    edits.iter().fold(text.len(), |length, edit| {
        let (gone, come) = (edit.old.len() * edit.count, edit.new.len().saturating_mul(edit.count));
        length.saturating_add(come).saturating_sub(gone)
    })
}

/// The number of the line, from 1, that a byte stands in.
fn line_of(text: &str, at: usize) -> usize {
    lines_of(text, std::iter::once(at)).pop().unwrap_or(1)
}

/// The lines of some bytes, which are in order; each line once.
fn lines_of(text: &str, places: impl Iterator<Item = usize>) -> Vec<usize> {
    let (mut lines, mut line, mut seen) = (Vec::new(), 1, 0);
    for at in places {
        line += text.get(seen..at).unwrap_or_default().matches('\n').count();
        seen = at;
        if lines.last() != Some(&line) {
            lines.push(line);
        }
    }
    lines
}

/// Lines that hold the first line of a text that is not there: most often only blanks differ.
fn similar_lines(text: &str, old: &str) -> Vec<usize> {
    let Some(first) = old.lines().map(str::trim).find(|line| !line.is_empty()) else {
        return Vec::new();
    };
    let lines = text.lines().enumerate().filter(|(_, line)| line.contains(first));
    lines.map(|(number, _)| number + 1).take(MAX_LINES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(list: &[(&str, &str, usize)]) -> Vec<Edit> {
        let edit = |&(old, new, count): &(&str, &str, usize)| Edit {
            old: old.to_owned(),
            new: new.to_owned(),
            count,
        };
        list.iter().map(edit).collect()
    }

    fn replaced(text: &str, edits: &[Edit]) -> Result<String, Unfit> {
        let places = places(text, edits)?;
        Ok(applied(text, 0..text.len(), &places, edits))
    }

    #[test]
    fn every_edit_sees_the_old_text() {
        for (text, list, expected) in [
            ("a b c", &[("b", "B", 1)][..], "a B c"),
            ("a b a", &[("a", "b", 2), ("b", "a", 1)], "b a b"),
            ("x", &[("x", "", 1)], ""),
            ("é\r\nü", &[("\r\n", "\n", 1), ("ü", "u", 1)], "é\nu"),
            ("aaa", &[("aa", "b", 1)], "ba"),
            ("abcd", &[("cd", "2", 1), ("ab", "1", 1)], "12"),
        ] {
            let list = edits(list);
            let new = replaced(text, &list).unwrap();
            assert_eq!(new, expected);
            assert_eq!(new.len(), new_length(text, &list));
        }
    }

    #[test]
    fn an_edit_that_does_not_fit_is_told_with_its_lines() {
        let text = "one\n  two\nthree\ntwo two\n";
        let mismatch = |edit, expected, found, lines: &[usize]| Mismatch {
            edit,
            expected,
            found,
            lines: lines.to_vec(),
        };
        for (list, expected) in [
            (&[("two", "2", 1)][..], mismatch(0, 1, 3, &[2, 4])),
            (&[("one", "1", 1), ("four", "4", 2)], mismatch(1, 2, 0, &[])),
            (&[("two\n  three", "", 1)], mismatch(0, 1, 0, &[2, 4])),
            (&[("\n", " ", 1)], mismatch(0, 1, 4, &[1, 2, 3, 4])),
        ] {
            let found = replaced(text, &edits(list)).unwrap_err();
            assert_eq!(found, Unfit::Counts(vec![expected]));
        }
        let overlap = replaced("a\nbcd", &edits(&[("bc", "", 1), ("cd", "", 1)])).unwrap_err();
        assert_eq!(overlap, Unfit::Overlap { first: 0, second: 1, line: 2 });
    }

    proptest::proptest! {
        #[test]
        fn one_edit_is_as_the_library_replaces(text in "[ab\n]{0,60}", old in "[ab\n]{1,3}") {
            let count = text.matches(&old).count();
            let list = edits(&[(&old, "xyz", count)]);
            assert_eq!(replaced(&text, &list).unwrap(), text.replace(&old, "xyz"));
        }
    }
}

//! A short unified diff of a text and its replacements.

use std::fmt::Write;
use std::ops::Range;

use super::replace::{Edit, Place, applied};
use crate::tools::result::{fitting, text_len};

/// Unchanged lines around a change.
const CONTEXT: usize = 3;

/// Longest line of a diff, in bytes on the wire.
const MAX_LINE: usize = 400;

/// A change between whole lines.
#[derive(Debug)]
struct Change<'t> {
    /// Lines of the old text, from 0.
    old: Range<usize>,
    new: Vec<&'t str>,
}

/// The diff, and whether it was cut. `max_bytes` bounds it as it is written to the wire.
pub(super) fn unified(
    text: &str,
    places: &[Place],
    edits: &[Edit],
    max_bytes: usize,
) -> (String, bool) {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let starts = starts(&lines);
    let blocks = blocks(places, edits, &starts);
    let mut out = Output { text: String::new(), room: max_bytes, is_cut: false };
    // Lines that the changes before have added or taken.
    let mut shift = 0_isize;
    let mut hunk: Vec<(Range<usize>, String)> = Vec::new();
    for (block, places) in blocks {
        let at = offset(&starts, block.start, text)..offset(&starts, block.end, text);
        let new = applied(text, at, places, edits);
        if let Some((last, _)) = hunk.last()
            && block.start > last.end + 2 * CONTEXT
        {
            out.hunk(&lines, &std::mem::take(&mut hunk), &mut shift);
        }
        if out.is_cut {
            return (out.text, true);
        }
        hunk.push((block, new));
    }
    if !hunk.is_empty() {
        out.hunk(&lines, &hunk, &mut shift);
    }
    (out.text, out.is_cut)
}

fn starts(lines: &[&str]) -> Vec<usize> {
    let mut at = 0;
    let start = |line: &&str| {
        let start = at;
        at += line.len();
        start
    };
    lines.iter().map(start).collect()
}

fn offset(starts: &[usize], line: usize, text: &str) -> usize {
    starts.get(line).copied().unwrap_or(text.len())
}

/// The lines that the places are in, neighbours joined, each with its places.
fn blocks<'p>(
    places: &'p [Place],
    edits: &[Edit],
    starts: &[usize],
) -> Vec<(Range<usize>, &'p [Place])> {
    let line = |at: usize| starts.partition_point(|start| *start <= at).saturating_sub(1);
    let mut found: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    for (number, place) in places.iter().enumerate() {
        let first = line(place.range.start);
        // The line behind the place is joined to it when a line end goes.
        let new = edits.get(place.edit).map_or("", |edit| &edit.new);
        let is_whole = if new.is_empty() {
            starts.get(first) == Some(&place.range.start)
        } else {
            new.ends_with('\n')
        };
        let behind = starts.binary_search(&place.range.end).is_ok() && is_whole;
        let last = line(place.range.end - usize::from(behind));
        match found.last_mut() {
            Some((lines, members)) if first <= lines.end => {
                lines.end = lines.end.max(last + 1);
                members.end = number + 1;
            }
            _ => found.push((first..last + 1, number..number + 1)),
        }
    }
    let with_places = |(lines, members): (Range<usize>, Range<usize>)| {
        (lines, places.get(members).unwrap_or_default())
    };
    found.into_iter().map(with_places).collect()
}

struct Output {
    text: String,
    room: usize,
    is_cut: bool,
}

impl Output {
    /// Writes the changes of one hunk, with the lines between and around them.
    fn hunk(&mut self, lines: &[&str], blocks: &[(Range<usize>, String)], shift: &mut isize) {
        let changes: Vec<Change<'_>> = blocks.iter().map(|it| trimmed(lines, it)).collect();
        let (Some(first), Some(last)) = (changes.first(), changes.last()) else { return };
        let from = first.old.start.saturating_sub(CONTEXT);
        let to = (last.old.end + CONTEXT).min(lines.len());
        let grown: isize =
            changes.iter().map(|it| it.new.len().cast_signed() - it.old.len().cast_signed()).sum();
        let (old_len, new_len) = (to - from, (to - from).saturating_add_signed(grown));
        let new_from = from.saturating_add_signed(*shift);
        *shift += grown;
        // A range without lines is told by the line before it.
        let at = |from: usize, length: usize| if length == 0 { from } else { from + 1 };
        let (old_at, new_at) = (at(from, old_len), at(new_from, new_len));
        self.push(&format!("@@ -{old_at},{old_len} +{new_at},{new_len} @@\n"));
        let mut next = from;
        for change in &changes {
            self.lines(' ', lines.get(next..change.old.start).unwrap_or_default());
            self.lines('-', lines.get(change.old.clone()).unwrap_or_default());
            self.lines('+', &change.new);
            next = change.old.end;
        }
        self.lines(' ', lines.get(next..to).unwrap_or_default());
    }

    fn lines(&mut self, mark: char, lines: &[&str]) {
        for line in lines {
            let (body, has_end) = match line.strip_suffix('\n') {
                Some(body) => (body, true),
                None => (*line, false),
            };
            let shown = fitting(body, MAX_LINE);
            let mut text = format!("{mark}{shown}");
            if shown.len() < body.len() {
                let left = body.len() - shown.len();
                // Writing to a string does not fail.
                write!(text, "… ({left} bytes more)").unwrap_or_default();
            }
            text.push('\n');
            if !has_end {
                text.push_str("\\ No newline at end of file\n");
            }
            self.push(&text);
        }
    }

    fn push(&mut self, text: &str) {
        let room = self.room.checked_sub(text_len(text)).filter(|_| !self.is_cut);
        let Some(room) = room else { return self.is_cut = true };
        self.room = room;
        self.text.push_str(text);
    }
}

/// A block without the lines at its ends that stay as they are.
fn trimmed<'t>(lines: &[&str], (block, new): &'t (Range<usize>, String)) -> Change<'t> {
    let old = lines.get(block.clone()).unwrap_or_default();
    let mut new: Vec<&str> = new.split_inclusive('\n').collect();
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let (kept, rest) = (old.len() - same, new.split_off(same));
    let tail = old.iter().rev().zip(rest.iter().rev()).take(kept);
    let tail = tail.take_while(|(old, new)| old == new).count();
    let mut new = rest;
    new.truncate(new.len() - tail);
    Change { old: block.start + same..block.end.min(lines.len()) - tail, new }
}

#[cfg(test)]
mod tests {
    use super::super::replace::places;
    use super::*;

    fn diff(text: &str, list: &[(&str, &str, usize)], max: usize) -> (String, bool) {
        let edit = |&(old, new, count): &(&str, &str, usize)| Edit {
            old: old.to_owned(),
            new: new.to_owned(),
            count,
        };
        let edits: Vec<Edit> = list.iter().map(edit).collect();
        unified(text, &places(text, &edits).unwrap(), &edits, max)
    }

    #[test]
    fn changes_are_shown_with_lines_around_them() {
        let ten: String = (1..=20).fold(String::new(), |text, it| text + &format!("l{it}\n"));
        for (text, list, expected) in [
            ("a\nb\nc\n", &[("b", "B", 1)][..], "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"),
            ("a\nb\nc\n", &[("b\n", "", 1)], "@@ -1,3 +1,2 @@\n a\n-b\n c\n"),
            ("a\nb\n", &[("a\nb", "a\nx\nb", 1)], "@@ -1,2 +1,3 @@\n a\n+x\n b\n"),
            ("a\n", &[("a\n", "", 1)], "@@ -1,1 +0,0 @@\n-a\n"),
            (
                "a\nb",
                &[("\nb", "", 1)],
                "@@ -1,2 +1,1 @@\n-a\n-b\n\\ No newline at end of file\n+a\n\\ No newline at end of file\n",
            ),
            (
                "a\nb\nc",
                &[("a\n", "1\n", 1), ("c", "3\n", 1)],
                "@@ -1,3 +1,3 @@\n-a\n+1\n b\n-c\n\\ No newline at end of file\n+3\n",
            ),
            (
                &ten,
                &[("l2\n", "x\ny\n", 1), ("l19", "z", 1)],
                "@@ -1,5 +1,6 @@\n l1\n-l2\n+x\n+y\n l3\n l4\n l5\n@@ -16,5 +17,5 @@\n l16\n l17\n l18\n-l19\n+z\n l20\n",
            ),
            ("x x\n", &[("x", "y", 2)], "@@ -1,1 +1,1 @@\n-x x\n+y y\n"),
        ] {
            assert_eq!(diff(text, list, 10_000), (expected.to_owned(), false), "{list:?}");
        }
    }

    #[test]
    fn a_diff_has_a_bound() {
        let text = "line\n".repeat(5000);
        let (shown, is_cut) = diff(&text, &[("line", "é", 5000)], 2000);
        assert!(is_cut && text_len(&shown) <= 2000 && shown.ends_with('\n'), "{}", shown.len());
        let long = format!("{}a\n", "x".repeat(5000));
        let (shown, is_cut) = diff(&long, &[("a", "b", 1)], 2000);
        assert!(!is_cut && shown.contains("bytes more") && shown.len() < 1000, "{shown}");
    }

    /// Applies a diff that was not cut.
    fn patched(text: &str, diff: &str) -> String {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let (mut out, mut next) = (String::new(), 0);
        let mut rest = diff.lines().peekable();
        while let Some(line) = rest.next() {
            let ends = rest.peek().is_none_or(|it| !it.starts_with('\\'));
            let body = |out: &mut String| {
                out.push_str(&line[1..]);
                out.push_str(if ends { "\n" } else { "" });
            };
            match line.as_bytes()[0] {
                b'@' => {
                    let old = line.split(['-', ' ']).nth(2).unwrap();
                    let (at, length) = old.split_once(',').unwrap();
                    let at: usize = at.parse().unwrap();
                    let at = if length == "0" { at } else { at - 1 };
                    lines[next..at].iter().for_each(|line| out.push_str(line));
                    next = at;
                }
                b' ' => {
                    body(&mut out);
                    next += 1;
                }
                b'-' => next += 1,
                b'+' => body(&mut out),
                _ => {}
            }
        }
        lines[next..].iter().for_each(|line| out.push_str(line));
        out
    }

    proptest::proptest! {
        #[test]
        fn the_diff_leads_from_the_old_text_to_the_new(
            text in "[ab\n]{0,80}", old in "[ab\n]{1,3}", new in "[ab\n]{0,4}"
        ) {
            let count = text.matches(&old).count();
            proptest::prop_assume!(count > 0);
            let (shown, _) = diff(&text, &[(&old, &new, count)], 1 << 20);
            assert_eq!(patched(&text, &shown), text.replace(&old, &new), "{shown}");
        }
    }
}

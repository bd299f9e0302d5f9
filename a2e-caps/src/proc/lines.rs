//! Bytes of a stream into lines of text, for the pump.

/// Bytes of one line; a longer one is told in parts. With the worst escaping (six bytes for one)
/// an event stays below 400 KiB, far from any bound on lines of the wire.
pub(super) const MAX_LINE: usize = 64 << 10;

/// The unfinished line of one stream: at most [`MAX_LINE`] bytes.
#[derive(Debug, Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes what was read, and gives each line that is complete, newline included.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut give: impl FnMut(String)) {
        while !bytes.is_empty() {
            let newline = bytes.iter().position(|byte| *byte == b'\n');
            let (piece, after) = bytes.split_at(newline.map_or(bytes.len(), |at| at + 1));
            bytes = after;
            self.rest.extend_from_slice(piece);
            while self.rest.len() > MAX_LINE {
                let after = self.rest.split_off(cut(&self.rest));
                give(text(std::mem::replace(&mut self.rest, after)));
            }
            if newline.is_some() {
                give(text(std::mem::take(&mut self.rest)));
            }
        }
    }

    /// Whether a line has begun that has not ended.
    pub(super) fn is_amid(&self) -> bool {
        !self.rest.is_empty()
    }

    /// What there is of an unfinished line, but for a character that is not whole yet.
    pub(super) fn unfinished(&mut self) -> Option<String> {
        let after = self.rest.split_off(whole(&self.rest));
        let rest = std::mem::replace(&mut self.rest, after);
        (!rest.is_empty()).then(|| text(rest))
    }

    /// At the end of the stream: what stands there without a newline.
    pub(super) fn finish(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then(|| text(rest))
    }
}

/// Where to cut what is longer than a line may be: not inside a character.
fn cut(bytes: &[u8]) -> usize {
    let is_inside =
        |at: &usize| bytes.get(*at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    // A character has at most three bytes after its first; more of them are no text anyway.
    (MAX_LINE - 3..=MAX_LINE).rev().find(|at| !is_inside(at)).unwrap_or(MAX_LINE)
}

/// The bytes before a character at the end of which some are still to come.
fn whole(bytes: &[u8]) -> usize {
    let lead = bytes.iter().rev().take(3).position(|byte| byte & 0b1100_0000 != 0b1000_0000);
    let Some(behind) = lead else { return bytes.len() };
    let at = bytes.len() - behind - 1;
    let needed = match bytes.get(at) {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => 1,
    };
    if needed > behind + 1 { at } else { bytes.len() }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All parts, when the input comes in pieces of this size.
    fn lines(input: &[u8], piece: usize) -> Vec<String> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        for piece in input.chunks(piece) {
            lines.feed(piece, |line| all.push(line));
            assert!(lines.rest.len() <= MAX_LINE);
        }
        all.extend(lines.finish());
        all
    }

    #[test]
    fn lines_keep_their_newline_however_they_come() {
        for (input, expected) in [
            (&b""[..], &[][..]),
            (b"\n", &["\n"]),
            (b"a\nb\r\n\nc", &["a\n", "b\r\n", "\n", "c"]),
            ("täglich\n".as_bytes(), &["täglich\n"]),
            (b"\xff\xfe\nok", &["\u{fffd}\u{fffd}\n", "ok"]),
        ] {
            for piece in [1, 2, 3, 1000] {
                assert_eq!(lines(input, piece), expected, "{input:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn an_unfinished_line_is_told_by_whole_characters() {
        for (input, expected, kept) in [
            (&b""[..], None, &b""[..]),
            (b"done\n", None, b""),
            (b"name: ", Some("name: "), b""),
            ("größe: ä".as_bytes(), Some("größe: ä"), b""),
            (b"cut \xc3", Some("cut "), b"\xc3"),
            (b"cut \xe2\x82", Some("cut "), b"\xe2\x82"),
            (b"cut \xf0\x9d\x84", Some("cut "), b"\xf0\x9d\x84"),
            (b"\xf0\x9d", None, b"\xf0\x9d"),
            (b"no text \xff", Some("no text \u{fffd}"), b""),
            (b"\x80\x80\x80\x80", Some("\u{fffd}\u{fffd}\u{fffd}\u{fffd}"), b""),
        ] {
            let mut lines = Lines::default();
            lines.feed(input, drop);
            assert_eq!(lines.unfinished().as_deref(), expected, "{input:?}");
            assert_eq!(lines.rest, kept, "{input:?}");
        }
    }

    #[test]
    fn r20_long_lines_come_in_parts_that_split_no_character() {
        for (prefix, unit) in [("", "x"), ("", "ä"), ("x", "ä"), ("x", "€"), ("xx", "𝄞")] {
            let input = format!("{prefix}{}\nend", unit.repeat(150_000 / unit.len()));
            for piece in [1000, 8192, 1 << 20] {
                let parts = lines(input.as_bytes(), piece);
                assert_eq!(parts.concat(), input);
                assert_eq!(parts.len(), 4);
                assert!(parts.iter().all(|part| part.len() <= MAX_LINE));
            }
        }
        // No text at all: cut where the bound is.
        assert_eq!(lines(&vec![0x80; 2 * MAX_LINE], 8192).len(), 2);
    }
}

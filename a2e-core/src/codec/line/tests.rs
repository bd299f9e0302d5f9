//! Tests of the split into lines.

use proptest::prelude::*;

use super::*;

/// The items that the buffer reports for a stream that arrives in these pieces.
fn split(pieces: &[&[u8]], limit: usize) -> Vec<String> {
    let mut lines = LineBuffer::new(limit);
    let mut seen = Vec::new();
    for piece in pieces {
        lines.prepare(0);
        lines.buffer().extend_from_slice(piece);
        while let Some(item) = lines.next_item() {
            match item {
                LineItem::Line(length) => {
                    seen.push(String::from_utf8_lossy(lines.front(length)).into_owned());
                    lines.consume(length);
                }
                LineItem::TooLong => seen.push("<too long>".into()),
            }
        }
        assert!(lines.buffer.len() <= limit + READ_BLOCK);
    }
    seen.push(format!("tail {}", String::from_utf8_lossy(lines.tail())));
    seen
}

#[test]
fn r10_r11_lines_blanks_and_over_long_lines() {
    for (input, expected) in [
        ("", vec!["tail "]),
        ("a\nb\r\n\n \t\r\nc", vec!["a", "b\r", "tail c"]),
        ("12345678\n123456789\nx\n", vec!["12345678", "<too long>", "x", "tail "]),
        ("1234567890", vec!["<too long>", "tail "]),
        ("\u{a0}\n", vec!["\u{a0}", "tail "]),
        ("\u{feff}12345678\n\u{feff}a\n", vec!["12345678", "\u{feff}a", "tail "]),
        ("\u{feff}", vec!["tail "]),
        ("\u{feff}\n\u{feff}\n", vec!["\u{feff}", "tail "]),
        ("a\n\u{feff}\n", vec!["a", "\u{feff}", "tail "]),
    ] {
        assert_eq!(split(&[input.as_bytes()], 8), expected, "{input:?}");
        let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        assert_eq!(split(&bytes, 8), expected, "{input:?} byte by byte");
    }
}

#[test]
fn r10_a_long_line_s_memory_is_given_back() {
    let mut lines = LineBuffer::new(8 << 20);
    lines.buffer().extend_from_slice(&vec![b'x'; 4 << 20]);
    lines.buffer().extend_from_slice(b"\n");
    assert_eq!(lines.next_item(), Some(LineItem::Line(4 << 20)));
    lines.consume(4 << 20);
    lines.prepare(0);
    assert!(lines.buffer.capacity() <= 2 * READ_BLOCK);
}

proptest! {
    #[test]
    fn r10_how_the_stream_is_cut_changes_nothing(
        input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(b' '), Just(b'{')], 0..80),
        cuts in proptest::collection::vec(0_usize..80, 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(input.len())).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&input[from..cut]);
            from = cut;
        }
        pieces.push(&input[from..]);
        prop_assert_eq!(split(&pieces, 10), split(&[&input], 10));
    }
}

//! Tests of the tail of a stream.

use super::*;

fn tail_of(pieces: &[&[u8]]) -> Vec<String> {
    let tail = Tail::default();
    for piece in pieces {
        tail.push(piece);
    }
    tail.lines()
}

#[test]
fn r35_lines_come_out_clean_however_they_come_in() {
    let cases: [(&[&[u8]], &[&str]); 11] = [
        (&[], &[]),
        (&[b"one\ntwo\n"], &["one", "two"]),
        (&[b"o", b"n", b"e\nt", b"wo"], &["one", "two"]),
        (&[b"\n\n"], &["", ""]),
        // A character in two pieces, bytes that are none, a colour, a carriage return, a tab.
        (&[b"\xc3", b"\xa9\n"], &["é"]),
        (&[b"a\xffb\n"], &["a\u{fffd}b"]),
        (&[b"\x1b[31mred\x1b[0m\r\n"], &["[31mred[0m"]),
        (&[b"a\tb\0c\x7f\n"], &["a\tbc"]),
        // Secrets that a line names, in pieces, whole and not.
        (&[b"API_TOK", b"EN=a", b"bc x\n"], &["API_TOKEN=*** x"]),
        (&[b"to https://me:pw@host/"], &["to https://***@host/"]),
        (&["\u{202e}evil\u{200b}\u{85}\n".as_bytes()], &["evil"]),
    ];
    for (pieces, expected) in cases {
        assert_eq!(tail_of(pieces), expected, "{pieces:?}");
    }
}

#[test]
fn r35_only_the_end_is_kept() {
    let many: Vec<String> = (0..1000).map(|number| format!("line {number}\n")).collect();
    let many = many.concat();
    let lines = tail_of(&[many.as_bytes()]);
    assert_eq!((lines.len(), lines[0].as_str()), (64, "line 936"));
    let long = "x".repeat(1000) + "\n";
    let lines = tail_of(&[long.repeat(64).as_bytes()]);
    assert_eq!(lines.len(), 16, "16 KiB");
    // One endless line, in bytes that grow when they are replaced.
    for byte in [b'x', 0xff] {
        let tail = Tail::default();
        (0..100).for_each(|_| tail.push(&[byte; 4096]));
        assert!(tail.0.lock().open.len() <= TAIL_BYTES);
        tail.push(b"\nend\n");
        let lines = tail.lines();
        assert!(lines.iter().map(String::len).sum::<usize>() <= TAIL_BYTES);
        assert_eq!(lines.last().unwrap(), "end");
    }
}

#[test]
fn the_end_of_the_stream_ends_the_line() {
    let tail = Tail::default();
    tail.push(b"last words");
    tail.end();
    tail.end();
    tail.push(b"next run\n");
    assert_eq!(tail.lines(), ["last words", "next run"]);
}

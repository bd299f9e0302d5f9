//! What the first bytes of a connection are: lines of an agent, or another protocol.
//!
//! A web page can have a browser send any body to any port. Such a request begins with an HTTP request
//! line; read as lines, its head would be passed over as garbage and its body obeyed.

/// Methods of HTTP, each with the blank behind it. A message begins with a brace, so that is enough to
/// tell, before the line has come whole.
const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"PATCH ",
    b"DELETE ",
    b"OPTIONS ",
    b"CONNECT ",
    b"TRACE ",
    b"PRI ",
];

/// How far the end of a request line with another method is looked for.
const LOOK: usize = 8 * 1024;

/// What a client of another protocol is answered. It is HTTP, which most of them understand.
pub(crate) const OTHER_PROTOCOL: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 117\r\n\
    Connection: close\r\n\
    \r\n\
    This is the A2E line protocol and not HTTP: one JSON object per line. \
    Nothing of what was sent here has been obeyed.\n";

/// The first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// Too few to tell; none of them is part of a whole line.
    Unknown,
    /// A line, good or bad.
    Line,
    /// This protocol.
    Other(&'static str),
}

/// Judges the first bytes of a connection; blank lines before them do not count.
pub(crate) fn judge(bytes: &[u8]) -> First {
    let bytes = bytes.trim_ascii_start();
    match bytes {
        [] | [0x16] => return First::Unknown,
        // A record of a handshake, in any version of TLS.
        [0x16, 0x03, ..] => return First::Other("TLS"),
        [first, ..] if !first.is_ascii_alphabetic() => return First::Line,
        _ if METHODS.iter().any(|method| bytes.starts_with(method)) => return First::Other("HTTP"),
        _ => {}
    }
    let head = bytes.get(..LOOK).unwrap_or(bytes);
    match memchr::memchr(b'\n', head) {
        Some(end) if is_request_line(head.get(..end).unwrap_or_default()) => First::Other("HTTP"),
        None if head.len() < LOOK => First::Unknown,
        _ => First::Line,
    }
}

/// Whether it is `method target HTTP/version`.
fn is_request_line(line: &[u8]) -> bool {
    let mut words = line.trim_ascii_end().split(|byte| *byte == b' ');
    let (_method, _target, version) = (words.next(), words.next(), words.next());
    version.is_some_and(|version| version.starts_with(b"HTTP/")) && words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_lines_from_other_protocols() {
        const HTTP: First = First::Other("HTTP");
        const TLS: First = First::Other("TLS");
        let long = [b"X".repeat(LOOK), b" / HTTP/1.1\n".to_vec()].concat();
        for (bytes, expected) in [
            (&b""[..], First::Unknown),
            (b"\r\n \t", First::Unknown),
            (b"{", First::Line),
            (b" \n{\"type\":\"ping\"}\n", First::Line),
            (b"GET", First::Unknown),
            (b"GET ", HTTP),
            (b"\r\nPOST /x", HTTP),
            (b"OPTIONS * HTTP/1.1\r\n", HTTP),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HTTP),
            (b"BREW /pot HTTP/1.0\r\n", HTTP),
            (b"get / HTTP/1.1\n", HTTP),
            (b"BREW /pot HTTP/1", First::Unknown),
            (b"hello\n", First::Line),
            (b"hello world and more HTTP/1.1\n", First::Line),
            (b"GETTING on\n", First::Line),
            (b"\x16", First::Unknown),
            (b"\x16\x03\x01\x02\x00", TLS),
            (b"\x16\x04\n", First::Line),
            (b"\x00\x01\n", First::Line),
            (b"\xff", First::Line),
            (&long, First::Line),
        ] {
            assert_eq!(judge(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let text = std::str::from_utf8(OTHER_PROTOCOL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}

//! Where a message ends, by the framing alone: no JSON is parsed and nothing is allocated.

/// How the messages of a protocol are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A message ends with a newline.
    Lines,
    /// `Content-Length: N`, an empty line, N bytes (the language server protocol).
    ContentLength,
    /// `$N`, then N bytes and CRLF (Redis).
    Resp,
    /// `MSG subject sid N`, then N bytes and CRLF (NATS); other lines are no replies.
    Nats,
    /// Frames of a WebSocket server, not masked.
    WebSocket,
}

/// Longest head of a message that is waited for.
const HEAD: usize = 1024;

/// Most bytes of a reply that are kept to look at it.
const KEPT: usize = 1024 * 1024;

/// Counts the replies in a stream of bytes and keeps one now and then, to be looked at.
#[derive(Debug)]
pub struct Counter {
    framing: Framing,
    head: Vec<u8>,
    /// Bytes of the body that are still to come.
    body: usize,
    is_reply: bool,
    kept: Vec<u8>,
    keep: Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Nothing,
    Next,
    This,
    Whole,
}

impl Counter {
    pub fn new(framing: Framing) -> Self {
        let (head, kept) = (Vec::with_capacity(HEAD), Vec::new());
        Self { framing, head, body: 0, is_reply: false, kept, keep: Keep::Nothing }
    }

    /// Asks for the next reply that begins from now on.
    pub fn keep_next(&mut self) {
        if self.keep == Keep::Nothing {
            self.kept.reserve(KEPT / 8);
            self.keep = Keep::Next;
        }
    }

    /// The reply that was asked for, once.
    pub fn take_kept(&mut self) -> Option<&[u8]> {
        if self.keep != Keep::Whole {
            return None;
        }
        self.keep = Keep::Nothing;
        Some(&self.kept)
    }

    /// Takes what was read; says how many replies end in it.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let (mut rest, mut ended) = (bytes, 0);
        while !rest.is_empty() {
            if self.framing == Framing::Lines && matches!(self.keep, Keep::Nothing | Keep::Whole) {
                return ended + memchr::memchr_iter(b'\n', rest).count();
            }
            let end = self.step(rest);
            let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
            if self.keep == Keep::This && self.kept.len() + part.len() <= KEPT {
                self.kept.extend_from_slice(part);
            }
            rest = after;
            if end.is_some() && self.is_reply {
                ended += 1;
                self.keep = match self.keep {
                    Keep::Next => Keep::This,
                    Keep::This => Keep::Whole,
                    other => other,
                };
                if self.keep == Keep::This {
                    self.kept.clear();
                }
            }
        }
        ended
    }

    /// Goes on to the end of the message that stands at the start of `bytes`; none if it is not there.
    fn step(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.framing == Framing::Lines {
            self.is_reply = true;
            return Some(memchr::memchr(b'\n', bytes)? + 1);
        }
        let mut at = 0;
        while self.body == 0 {
            let rest = bytes.get(at..).unwrap_or_default();
            let piece = match self.framing {
                Framing::WebSocket => rest.first().map(|_| 1),
                _ => memchr::memchr(b'\n', rest).map(|end| end + 1),
            };
            let taken = rest.get(..piece.unwrap_or(rest.len())).unwrap_or_default();
            let room = HEAD.saturating_sub(self.head.len());
            self.head.extend_from_slice(taken.get(..taken.len().min(room)).unwrap_or_default());
            at += taken.len();
            piece?;
            if let Some((is_reply, body)) = read_head(self.framing, &self.head) {
                self.head.clear();
                self.is_reply = is_reply;
                if body == 0 {
                    return Some(at);
                }
                self.body = body;
            }
        }
        let there = self.body.min(bytes.len() - at);
        self.body -= there;
        (self.body == 0).then_some(at + there)
    }
}

/// Whether a head belongs to a reply, and how many bytes follow it; none while it is not whole.
fn read_head(framing: Framing, head: &[u8]) -> Option<(bool, usize)> {
    match framing {
        Framing::Lines => Some((true, 0)),
        Framing::ContentLength => {
            head.ends_with(b"\r\n\r\n").then(|| (true, number_after(head, b"Content-Length: ")))
        }
        Framing::Resp => match head.first() {
            Some(b'$') => Some((true, number_after(head, b"$") + 2)),
            _ => Some((true, 0)),
        },
        Framing::Nats if head.starts_with(b"MSG ") => {
            let size = head.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
            Some((true, number_after(size, b"") + 2))
        }
        Framing::Nats => Some((false, 0)),
        Framing::WebSocket => {
            let (kind, rest) = head.split_first()?;
            let (length, rest) = rest.split_first()?;
            let is_reply = kind & 0x0f < 8;
            let wide = match length & 0x7f {
                126 => 2,
                127 => 8,
                short => return Some((is_reply, usize::from(short))),
            };
            let length = |value, byte: &u8| (value << 8) | usize::from(*byte);
            (rest.len() == wide).then(|| (is_reply, rest.iter().fold(0, length)))
        }
    }
}

/// The decimal number that follows `mark`; zero if there is none.
fn number_after(text: &[u8], mark: &[u8]) -> usize {
    let start = memchr::memmem::find(text, mark).map_or(text.len(), |at| at + mark.len());
    let digits = text.iter().skip(start).take_while(|byte| byte.is_ascii_digit());
    digits.fold(0_usize, |value, digit| {
        value.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the reads are, the same replies are counted and kept.
    #[test]
    fn counts_and_keeps_at_every_cut() {
        let long = "y".repeat(300);
        let cases: [(Framing, Vec<u8>, usize, Vec<u8>); 6] = [
            (Framing::Lines, b"one\ntwo\nthree\n".to_vec(), 3, b"two\n".to_vec()),
            (
                Framing::ContentLength,
                b"Content-Length: 2\r\n\r\n{}Content-Length: 3\r\nX: y\r\n\r\n[1]".to_vec(),
                2,
                b"Content-Length: 3\r\nX: y\r\n\r\n[1]".to_vec(),
            ),
            (Framing::Resp, b"$2\r\nab\r\n$0\r\n\r\n".to_vec(), 2, b"$0\r\n\r\n".to_vec()),
            (Framing::Resp, b"-ERR no\r\n$1\r\na\r\n".to_vec(), 2, b"$1\r\na\r\n".to_vec()),
            (
                Framing::Nats,
                b"MSG a 1 2\r\nhi\r\nPING\r\nMSG b 1 0\r\n\r\n".to_vec(),
                2,
                b"MSG b 1 0\r\n\r\n".to_vec(),
            ),
            (
                Framing::WebSocket,
                [b"\x81\x02{}\x89\x00\x81\x7e\x01\x2c".as_slice(), long.as_bytes()].concat(),
                2,
                [b"\x81\x7e\x01\x2c".as_slice(), long.as_bytes()].concat(),
            ),
        ];
        for (framing, bytes, replies, second) in cases {
            for cut in 0..bytes.len() {
                let mut counter = Counter::new(framing);
                counter.keep_next();
                let seen = counter.feed(&bytes[..cut]) + counter.feed(&bytes[cut..]);
                assert_eq!(seen, replies, "{framing:?} cut at {cut}");
                let kept = counter.take_kept().map(<[u8]>::to_vec).unwrap_or_default();
                // What comes between two replies is kept with the second.
                assert!(kept.ends_with(&second), "{framing:?} cut at {cut}: {kept:?}");
                assert_eq!(counter.take_kept(), None);
            }
        }
    }
}

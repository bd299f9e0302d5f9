//! Bytes in a JSON text: as they are where they are UTF-8, else as base64.

use super::result::fitting;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes as text if they are one, else as base64, cut to the budget; and how many were used.
/// A character that is cut off at the end of a part belongs to the next.
pub(super) fn encoded(
    bytes: Vec<u8>,
    budget: usize,
    is_part: bool,
) -> (String, &'static str, usize) {
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => Some(text),
        Err(error) if is_part && error.error_len().is_none() && error.valid_up_to() > 0 => {
            bytes.get(..error.valid_up_to()).and_then(|start| std::str::from_utf8(start).ok())
        }
        Err(_) => None,
    };
    if let Some(text) = text {
        let text = fitting(text, budget);
        return (text.to_owned(), "utf-8", text.len());
    }
    let fits = (budget / 4 * 3).max(3).min(bytes.len());
    (encode(bytes.get(..fits).unwrap_or_default()), "base64", fits)
}

/// The standard alphabet, with padding.
fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |place: usize| u32::from(chunk.get(place).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            if place > chunk.len() {
                out.push('=');
                continue;
            }
            let six = (word >> (18 - 6 * place)) & 63;
            let letter = usize::try_from(six).ok().and_then(|six| ALPHABET.get(six));
            out.push(char::from(letter.copied().unwrap_or(b'=')));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_are_written_as_the_standard_says() {
        for (bytes, expected) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foobar", "Zm9vYmFy"),
            (&[0xff, 0xfe, 0xfd, 0xfc], "//79/A=="),
        ] {
            assert_eq!(super::encode(bytes), expected);
        }
    }
}

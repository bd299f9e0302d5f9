//! Names of files as text, and back: no two look alike, and each can be opened by what was shown.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// How names are written, for the descriptions of tools that show them.
pub(in crate::tools) const ABOUT: &str = "In a name, a byte that is no UTF-8 is written as in `\\xff`, \
     and a backslash that could be read so as `\\x5c`; all file tools read paths in this way.";

/// Bytes of a name that is written as such a byte.
const LENGTH: usize = 4;

/// A name or path as it is shown.
pub(in crate::tools) fn shown(name: &OsStr) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.as_bytes().utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find('\\') {
            let (before, from) = rest.split_at(at);
            text.push_str(before);
            text.push_str(if byte(from.as_bytes()).is_some() { "\\x5c" } else { "\\" });
            rest = from.get(1..).unwrap_or_default();
        }
        text.push_str(rest);
        for byte in chunk.invalid() {
            // Writing to a text cannot fail.
            write!(text, "\\x{byte:02x}").unwrap_or_default();
        }
    }
    text
}

/// The name or path that a text means.
pub(in crate::tools) fn meant(text: &str) -> OsString {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let written = byte(rest);
        bytes.push(written.unwrap_or(*first));
        rest = if written.is_some() { rest.get(LENGTH..).unwrap_or_default() } else { after };
    }
    OsString::from_vec(bytes)
}

/// The byte that is written here: one that stands in no UTF-8 text alone, or a backslash. No other
/// is read, so that usual paths with backslashes mean themselves.
fn byte(text: &[u8]) -> Option<u8> {
    let [b'\\', b'x', high, low, ..] = text else { return None };
    let digit = |it: &u8| char::from(*it).to_digit(16);
    let byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    (byte >= 0x80 || byte == b'\\').then_some(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_read_back() {
        for (name, expected) in [
            (&b"plain"[..], "plain"),
            ("größe".as_bytes(), "größe"),
            (b"a\xff", "a\\xff"),
            (b"a\xfe", "a\\xfe"),
            (b"a\\xff", "a\\x5cxff"),
            (b"\\x5c", "\\x5cx5c"),
            (b"C:\\temp\\x41\\xyz", "C:\\temp\\x41\\xyz"),
            (b"\\\xff", "\\\\xff"),
            (b"cut \xc3", "cut \\xc3"),
            ("\u{fffd}".as_bytes(), "\u{fffd}"),
        ] {
            assert_eq!(shown(OsStr::from_bytes(name)), expected);
            assert_eq!(meant(expected).as_bytes(), name, "{expected}");
        }
        assert_eq!(meant("a\\xFF").as_bytes(), b"a\xff");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_back(
            bytes in proptest::collection::vec(
                proptest::prop_oneof![
                    proptest::sample::select(b"\\x5cfF8a/".to_vec()),
                    proptest::prelude::any::<u8>(),
                ],
                0..40,
            ),
        ) {
            assert_eq!(meant(&shown(OsStr::from_bytes(&bytes))).as_bytes(), bytes);
        }
    }
}

//! Runs of plain text in JSON strings, eight bytes at a time.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// How many bytes from `at` on are neither a quote, a backslash nor below 0x20.
#[inline]
pub(super) fn plain_run(bytes: &[u8], at: usize) -> usize {
    run(bytes, at, false)
}

/// As [`plain_run`], and ASCII.
#[inline]
pub(super) fn plain_ascii_run(bytes: &[u8], at: usize) -> usize {
    run(bytes, at, true)
}

#[inline]
fn run(bytes: &[u8], at: usize, ascii_only: bool) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let mut length = 0;
    let (words, _) = rest.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        let stops = stops_in(word) | if ascii_only { word & HIGHS } else { 0 };
        if stops != 0 {
            // The lowest marked byte is exact: borrows only spread upwards from a true hit.
            return length + stops.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let tail = rest.get(length..).unwrap_or_default();
    let stops = |byte: u8| matches!(byte, b'"' | b'\\' | 0..=0x1f) || (ascii_only && byte >= 0x80);
    length + tail.iter().take_while(|byte| !stops(**byte)).count()
}

/// Marks (with the high bit) bytes that are a quote, a backslash or below 0x20.
#[inline]
fn stops_in(word: u64) -> u64 {
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = word ^ (ONES * u64::from(b'"'));
    let backslash = word ^ (ONES * u64::from(b'\\'));
    let is_quote = quote.wrapping_sub(ONES) & !quote;
    let is_backslash = backslash.wrapping_sub(ONES) & !backslash;
    (below_space | is_quote | is_backslash) & HIGHS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_agree_with_a_byte_loop() {
        let all: Vec<u8> = (0..=255).collect();
        for stop in &all {
            for lead in 0..20 {
                let mut bytes = vec![b'x'; lead];
                bytes.extend([0xc3, 0xa9, *stop, b'"', b'y', b'z', 0x7f, b'q', b'q', b'q']);
                for ascii_only in [false, true] {
                    let plain = bytes.iter().take_while(|b| {
                        !(matches!(b, b'"' | b'\\' | 0..=0x1f) || ascii_only && **b >= 0x80)
                    });
                    assert_eq!(run(&bytes, 0, ascii_only), plain.count(), "{stop} after {lead}");
                }
            }
        }
    }
}

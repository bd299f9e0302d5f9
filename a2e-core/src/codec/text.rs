//! Runs of plain text in JSON strings, several bytes at a time.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Whether a text goes into a JSON string as it is: ASCII that can be printed, without quotes and
/// backslashes.
#[inline]
pub(crate) fn is_plain_ascii(text: &str) -> bool {
    let bytes = text.as_bytes();
    // One more makes DEL, the last of ASCII, look like what is beyond it.
    let stops = |word: u64| stops_in(word) | ((word | word.wrapping_add(ONES)) & HIGHS) != 0;
    // The last word overlaps the one before: that is cheaper than single bytes.
    if let Some(last) = bytes.last_chunk::<8>() {
        if bytes.len() > 64 {
            return bytes.iter().fold(0, |stops, byte| stops | is_unprintable(*byte)) == 0;
        }
        let (words, _) = bytes.as_chunks::<8>();
        let any = words.iter().any(|word| stops(u64::from_le_bytes(*word)));
        return !any && !stops(u64::from_le_bytes(*last));
    }
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let last = u64::from(u32::from_le_bytes(*last));
            !stops(u64::from(u32::from_le_bytes(*first)) | (last << 32))
        }
        _ => bytes.iter().all(|byte| is_unprintable(*byte) == 0),
    }
}

/// 1 for what [`is_plain_ascii`] finds.
#[inline]
fn is_unprintable(byte: u8) -> u8 {
    u8::from(byte.wrapping_sub(0x20) >= 0x5f) | u8::from(byte == b'"') | u8::from(byte == b'\\')
}

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

/// As [`plain_run`] where it ends within sixteen bytes, as most strings do.
#[inline]
pub(super) fn short_plain_run(bytes: &[u8], at: usize) -> Option<usize> {
    let [low, high] = bytes.get(at..)?.first_chunk::<16>()?.as_chunks::<8>().0 else { return None };
    let low = stops_in(u64::from_le_bytes(*low));
    if low != 0 {
        return Some(low.trailing_zeros() as usize / 8);
    }
    let high = stops_in(u64::from_le_bytes(*high));
    (high != 0).then(|| 8 + high.trailing_zeros() as usize / 8)
}

fn run(bytes: &[u8], at: usize, ascii_only: bool) -> usize {
    let bytes = bytes.get(at..).unwrap_or_default();
    if !ascii_only && bytes.len() > LONG {
        return long_run(bytes);
    }
    let mut length = 0;
    for word in bytes.as_chunks::<8>().0 {
        let word = u64::from_le_bytes(*word);
        let stops = stops_in(word) | if ascii_only { word & HIGHS } else { 0 };
        if stops != 0 {
            // The lowest marked byte is exact: borrows only spread upwards from a true hit.
            return length + stops.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    length + tail(bytes.get(length..).unwrap_or_default(), ascii_only)
}

/// Where more than this follows, a string may be long.
const LONG: usize = 256;

/// As [`plain_run`]: the end of the string at memory speed, then a look at what lies before it.
fn long_run(bytes: &[u8]) -> usize {
    let end = memchr::memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
    let run = bytes.get(..end).unwrap_or_default();
    // A loop of wide instructions, as it does not stop early.
    let lowest = run.iter().fold(u8::MAX, |lowest, byte| lowest.min(*byte));
    if lowest >= 0x20 { end } else { run.iter().take_while(|byte| **byte >= 0x20).count() }
}

/// As [`run`], for what is shorter than a word.
fn tail(bytes: &[u8], ascii_only: bool) -> usize {
    let stops = |byte: u8| matches!(byte, b'"' | b'\\' | 0..=0x1f) || (ascii_only && byte >= 0x80);
    bytes.iter().take_while(|byte| !stops(**byte)).count()
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
            for lead in (0..20).chain(250..290) {
                let mut bytes = vec![b'x'; lead];
                bytes.extend([0xc3, 0xa9, *stop, b'"', b'y', b'z', 0x7f, b'q', b'q', b'q']);
                for ascii_only in [false, true] {
                    let plain = bytes.iter().take_while(|b| {
                        !(matches!(b, b'"' | b'\\' | 0..=0x1f) || ascii_only && **b >= 0x80)
                    });
                    assert_eq!(run(&bytes, 0, ascii_only), plain.count(), "{stop} after {lead}");
                }
                let mut text = "x".repeat(lead);
                text.push(char::from(*stop));
                for after in 0..9 {
                    let is_plain = !matches!(*stop, b'"' | b'\\' | 0..=0x1f | 0x7f..);
                    assert_eq!(
                        is_plain_ascii(&text),
                        is_plain,
                        "{stop} after {lead}, {after} more"
                    );
                    text.push('y');
                }
            }
        }
    }
}

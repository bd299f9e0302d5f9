//! Runs of plain text in JSON strings, sixteen bytes at a time.

use wide::u8x16;

/// How many bytes one word of marks stands for.
pub(super) const BLOCK: usize = 64;

/// Whether a text goes into a JSON string as it is: ASCII that can be printed, without quotes and
/// backslashes.
#[allow(clippy::inline_always, reason = "of a literal, the compiler then knows the answer")]
#[inline(always)]
pub(crate) fn is_plain_ascii(bytes: &[u8]) -> bool {
    // The last part overlaps the one before: that is cheaper than single bytes.
    if let Some(last) = bytes.last_chunk::<16>() {
        let mut escaped = is_escaped(*last);
        for part in bytes.as_chunks::<16>().0 {
            escaped |= is_escaped(*part);
        }
        return !escaped.any();
    }
    let (first, last) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => (short(bytes), SPACES),
    };
    !is_escaped((u128::from(first) | u128::from(last) << 64).to_le_bytes()).any()
}

const SPACES: u64 = u64::from_ne_bytes([b' '; 8]);

/// Less than eight bytes as a word, spaces where there are none.
#[inline]
fn short(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
        }
        _ => bytes.iter().fold(SPACES, |word, byte| (word << 8) | u64::from(*byte)),
    }
}

/// Marks what [`is_plain_ascii`] finds.
#[inline]
fn is_escaped(part: [u8; 16]) -> u8x16 {
    let bytes = u8x16::new(part);
    // Also DEL: the same comparison finds it, and an escaped DEL does no harm.
    is_stop(part) | bytes.max(u8x16::splat(0x7f)).simd_eq(bytes)
}

/// Marks bytes that are a quote, a backslash or below 0x20.
#[inline]
fn is_stop(part: [u8; 16]) -> u8x16 {
    let bytes = u8x16::new(part);
    bytes.simd_eq(u8x16::splat(b'"'))
        | bytes.simd_eq(u8x16::splat(b'\\'))
        | bytes.min(u8x16::splat(0x1f)).simd_eq(bytes)
}

/// Whether a text is ASCII without control characters.
#[inline]
pub(super) fn is_ascii_line(bytes: &[u8]) -> bool {
    // The loop never stops early, so the compiler makes wide instructions of it.
    bytes.iter().fold(true, |is_plain, byte| is_plain & matches!(byte, 0x20..=0x7f))
}

/// A bit for each byte that is a quote, a backslash or below 0x20; the lowest is the first byte.
#[inline]
pub(super) fn stops(block: &[u8; BLOCK]) -> u64 {
    block
        .as_chunks::<16>()
        .0
        .iter()
        .rev()
        .fold(0, |stops, part| (stops << 16) | u64::from(is_stop(*part).to_bitmask()))
}

/// How many bytes from `at` on are neither a quote, a backslash nor below 0x20: the end of the string
/// at memory speed, then a look at what lies before it.
pub(super) fn long_plain_run(bytes: &[u8], at: usize) -> usize {
    let bytes = bytes.get(at..).unwrap_or_default();
    let end = memchr::memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
    let run = bytes.get(..end).unwrap_or_default();
    // The loop never stops early, so the compiler makes wide instructions of it.
    let lowest = run.iter().fold(u8::MAX, |lowest, byte| lowest.min(*byte));
    if lowest >= 0x20 { end } else { run.iter().take_while(|byte| **byte >= 0x20).count() }
}

/// As [`long_plain_run`], and ASCII.
pub(super) fn plain_ascii_run(bytes: &[u8], at: usize) -> usize {
    let bytes = bytes.get(at..).unwrap_or_default();
    let mut length = 0;
    for part in bytes.as_chunks::<16>().0 {
        let stops = (is_stop(*part) | u8x16::new(*part)).to_bitmask();
        if stops != 0 {
            return length + stops.trailing_zeros() as usize;
        }
        length += 16;
    }
    let is_plain = |byte: &u8| matches!(byte, 0x20..=0x7f) && !matches!(byte, b'"' | b'\\');
    length + bytes.iter().skip(length).take_while(|byte| is_plain(byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_marks_agree_with_a_byte_loop() {
        let all: Vec<u8> = (0..=255).collect();
        for stop in &all {
            for lead in (0..70).chain(250..290) {
                let mut bytes = vec![b'x'; lead];
                bytes.extend([0xc3, 0xa9, *stop, b'"', b'y', b'z', 0x7f, b'q', b'q', b'q']);
                let is_stop = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
                let plain = bytes.iter().take_while(|byte| !is_stop(byte)).count();
                assert_eq!(long_plain_run(&bytes, 0), plain, "{stop} after {lead}");
                let ascii = bytes.iter().take_while(|byte| !is_stop(byte) && byte.is_ascii());
                assert_eq!(plain_ascii_run(&bytes, 0), ascii.count(), "{stop} after {lead}");
                if let Some(block) = bytes.first_chunk::<BLOCK>() {
                    let marks = block
                        .iter()
                        .rev()
                        .fold(0, |marks: u64, byte| (marks << 1) | u64::from(is_stop(byte)));
                    assert_eq!(stops(block), marks, "{stop} after {lead}");
                }
                let mut text = "x".repeat(lead);
                text.push(char::from(*stop));
                for after in 0..9 {
                    let case = format!("{stop} after {lead}, {after} more");
                    let is_plain = !matches!(*stop, b'"' | b'\\' | 0..=0x1f | 0x7f..);
                    assert_eq!(is_plain_ascii(text.as_bytes()), is_plain, "{case}");
                    let is_line = matches!(*stop, 0x20..=0x7f);
                    assert_eq!(is_ascii_line(text.as_bytes()), is_line, "{case}");
                    text.push('y');
                }
            }
        }
    }
}

//! Numbers as text, several digits at a time; integers of any length are left to `itoa`.

/// Sixteen lower-case hex digits, all at once: each nibble in a byte of its own, then as a digit.
pub(crate) fn hex16(word: u64) -> [u8; 16] {
    const ONES: u128 = u128::from_ne_bytes([1; 16]);
    let mut spread = u128::from(word);
    for (shift, mask) in [
        (32, 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff),
        (16, 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f),
    ] {
        spread = (spread | (spread << shift)) & mask;
    }
    // 1 in each byte that is above nine.
    let is_letter = ((spread + ONES * 6) >> 4) & ONES;
    (spread + ONES * u128::from(b'0') + is_letter * u128::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// Eight lower-case hex digits.
#[cfg(any(test, feature = "host"))]
pub(crate) fn hex8(word: u32) -> [u8; 8] {
    hex16(u64::from(word)).last_chunk().copied().unwrap_or_default()
}

/// Eight decimal digits of a number below 10^8: halves, then pairs, then digits, each in a lane of one word.
fn decimal8(number: u64) -> [u8; 8] {
    const PAIR: u64 = 0x0000_007f_0000_007f;
    const DIGIT: u64 = 0x000f_000f_000f_000f;
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    // 10486 / 2^20 is 1 / 100 for what is below 10^4, and 103 / 2^10 is 1 / 10 for what is below 100.
    let high = ((halves * 10_486) >> 20) & PAIR;
    let pairs = high | ((halves - 100 * high) << 16);
    let tens = ((pairs * 103) >> 10) & DIGIT;
    let digits = tens | ((pairs - 10 * tens) << 8);
    (digits | u64::from_ne_bytes([b'0'; 8])).to_le_bytes()
}

/// Appends microseconds as seconds with six decimals.
pub(crate) fn write_seconds(out: &mut Vec<u8>, micros: u64) {
    const HALF: u64 = 100_000_000;
    let (high, low) = (micros / HALF, micros % HALF);
    // Of the years from 2001 to 2286, sixteen digits.
    if (HALF / 10..HALF).contains(&high) {
        let low = decimal8(low);
        let (seconds, fraction) = low.split_at(2);
        out.extend_from_slice(&decimal8(high));
        out.extend_from_slice(seconds);
        out.push(b'.');
        return out.extend_from_slice(fraction);
    }
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
    out.push(b'.');
    out.extend_from_slice(decimal8(fraction).split_at(2).1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_formatter() {
        assert_eq!(&hex16(0x0123_4567_89ab_cdef), b"0123456789abcdef");
        assert_eq!(&hex8(0x00c0_ffee), b"00c0ffee");
        let steps = (0..100_000_000).step_by(9_973).chain([9, 10, 99, 100, 9_999, 10_000]);
        for number in steps.chain(99_990_000..100_000_000) {
            assert_eq!(decimal8(number).as_slice(), format!("{number:08}").as_bytes());
        }
    }

    #[test]
    fn seconds_have_six_decimals() {
        for (micros, text) in [
            (0, "0.000000"),
            (1, "0.000001"),
            (1_000_001, "1.000001"),
            (999_999_999_999_999, "999999999.999999"),
            (1_000_000_000_000_000, "1000000000.000000"),
            (1_795_642_736_010_386, "1795642736.010386"),
            (9_999_999_999_999_999, "9999999999.999999"),
            (10_000_000_000_000_000, "10000000000.000000"),
            (u64::MAX, "18446744073709.551615"),
        ] {
            let mut out = Vec::new();
            write_seconds(&mut out, micros);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}

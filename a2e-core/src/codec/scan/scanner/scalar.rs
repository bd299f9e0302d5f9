//! Strings, numbers and literals.

use super::Scanner;
use crate::codec::scan::problem::{Problem, ScanError};
use crate::codec::text::{BLOCK, long_plain_run, stops};

/// A string that goes on for this many blocks may be long.
const FAR: usize = 4;

/// The last block of a line, padded with bytes that end every string.
fn padded(rest: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    if let Some(start) = block.get_mut(..rest.len()) {
        start.copy_from_slice(rest);
    }
    block
}

impl Scanner<'_> {
    /// Reads a string; true when it holds escapes.
    #[inline]
    pub(super) fn string(&mut self) -> Result<bool, ScanError> {
        self.at += 1;
        self.skip_plain();
        if self.here() == b'"' {
            self.at += 1;
            return Ok(false);
        }
        self.rest_of_string()
    }

    /// Reads a string on that has not ended at its first stop.
    #[inline(never)]
    fn rest_of_string(&mut self) -> Result<bool, ScanError> {
        let mut escaped = false;
        loop {
            match self.here() {
                b'"' => {
                    self.at += 1;
                    return Ok(escaped);
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                0..=0x1f => return Err(self.end_or(Problem::Control)),
                _ => {}
            }
            self.skip_plain();
        }
    }

    /// Goes on to the next byte that is a quote, a backslash or below 0x20, or to the end.
    #[allow(
        clippy::inline_always,
        reason = "ten instructions; what they lead to rarely is elsewhere"
    )]
    #[inline(always)]
    fn skip_plain(&mut self) {
        let block = self.at / BLOCK;
        if block != self.block {
            self.look_at(block);
        }
        let rest = self.stops >> (self.at % BLOCK);
        if rest == 0 {
            return self.skip_far();
        }
        self.at += rest.trailing_zeros() as usize;
    }

    /// As [`skip_plain`](Self::skip_plain), for one that is not in this block.
    #[inline(never)]
    fn skip_far(&mut self) {
        self.at = (self.block + 1) * BLOCK;
        for _ in 0..FAR {
            self.look_at(self.block + 1);
            if self.stops != 0 {
                self.at += self.stops.trailing_zeros() as usize;
                return;
            }
            self.at += BLOCK;
        }
        self.at += long_plain_run(self.bytes, self.at);
    }

    #[inline(never)]
    fn look_at(&mut self, block: usize) {
        self.block = block;
        let rest = self.bytes.get(block * BLOCK..).unwrap_or_default();
        self.stops = match rest.first_chunk() {
            Some(block) => stops(block),
            None => stops(&padded(rest)),
        };
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        self.at += 1;
        match self.here() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.at += 1;
                Ok(())
            }
            b'u' => {
                self.at += 1;
                match self.hex4()? {
                    0xd800..=0xdbff if self.bytes.get(self.at..self.at + 2) == Some(br"\u") => {
                        self.at += 2;
                        match self.hex4()? {
                            0xdc00..=0xdfff => Ok(()),
                            _ => Err(self.error(Problem::Escape)),
                        }
                    }
                    0xd800..=0xdfff => Err(self.error(Problem::Escape)),
                    _ => Ok(()),
                }
            }
            _ => Err(self.end_or(Problem::Escape)),
        }
    }

    fn hex4(&mut self) -> Result<u32, ScanError> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or(self.error(Problem::Escape))?;
        let mut unit = 0;
        for digit in digits {
            let value = char::from(*digit).to_digit(16).ok_or(self.error(Problem::Escape))?;
            unit = unit * 16 + value;
        }
        self.at += 4;
        Ok(unit)
    }

    pub(super) fn literal(&mut self, word: &[u8]) -> Result<(), ScanError> {
        if self.bytes.get(self.at..self.at + word.len()) == Some(word) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.unexpected())
    }

    /// Reads `-? int frac? exp?`.
    #[inline]
    pub(super) fn number(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        if self.here() == b'-' {
            self.at += 1;
        }
        match self.here() {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return Err(self.error(Problem::Number)),
        }
        if self.here() == b'.' {
            self.at += 1;
            self.some_digits()?;
        }
        let mut can_overflow = self.at - start > 300;
        if matches!(self.here(), b'e' | b'E') {
            can_overflow = true;
            self.at += 1;
            if matches!(self.here(), b'+' | b'-') {
                self.at += 1;
            }
            self.some_digits()?;
        }
        if can_overflow {
            let value = self.text.get(start..self.at).and_then(|text| text.parse::<f64>().ok());
            if !value.is_some_and(f64::is_finite) {
                return Err(self.error(Problem::Number));
            }
        }
        Ok(())
    }

    fn some_digits(&mut self) -> Result<(), ScanError> {
        let before = self.at;
        self.digits();
        if self.at == before { Err(self.error(Problem::Number)) } else { Ok(()) }
    }

    #[inline]
    fn digits(&mut self) {
        while self.here().is_ascii_digit() {
            self.at += 1;
        }
    }
}

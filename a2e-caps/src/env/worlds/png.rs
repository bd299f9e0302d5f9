//! Pictures of few colours as PNG files. They are not compressed: a picture of cells has some kilobytes, and a
//! library for it more code than all environments here.

use serde_json::{Value, json};

use crate::base64;

/// A picture of at most 16 colours.
pub(super) struct Picture {
    width: usize,
    height: usize,
    /// A colour for each point, row by row.
    points: Vec<u8>,
}

/// The colours of a picture, red, green and blue.
type Palette<'a> = &'a [[u8; 3]];

/// Points of one stored block of deflate.
const BLOCK: usize = 0xffff;

impl Picture {
    /// All of colour 0.
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { width, height, points: vec![0; width * height] }
    }

    /// A rectangle in one colour; what is outside is left out.
    pub(super) fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: u8) {
        for row in y..(y + height).min(self.height) {
            let start = row * self.width + x.min(self.width);
            let end = row * self.width + (x + width).min(self.width);
            if let Some(points) = self.points.get_mut(start..end) {
                points.fill(colour);
            }
        }
    }

    /// The colours as `rgb_array` has them: `[row][column][3]`.
    pub(super) fn rgb(&self, palette: Palette<'_>) -> Value {
        let colour = |point: &u8| palette.get(usize::from(*point)).copied().unwrap_or_default();
        let rows = self.points.chunks(self.width.max(1));
        json!(rows.map(|row| row.iter().map(colour).collect()).collect::<Vec<Vec<[u8; 3]>>>())
    }

    /// The file, as it stands in a reply.
    pub(super) fn shown(&self, palette: Palette<'_>) -> Value {
        json!({
            "mime": "image/png",
            "encoding": "base64",
            "data": base64::encode(&self.file(palette)),
            "width": self.width,
            "height": self.height,
        })
    }

    /// The file: four bits for each point, and a palette (PNG specification, 2003, sections 11 and 12).
    fn file(&self, palette: Palette<'_>) -> Vec<u8> {
        let side = |length: usize| u32::try_from(length).unwrap_or_default().to_be_bytes();
        let mut header = [side(self.width), side(self.height)].concat();
        header.extend([4, 3, 0, 0, 0]);
        let mut rows = Vec::with_capacity((self.width / 2 + 2) * self.height);
        for row in self.points.chunks(self.width.max(1)) {
            rows.push(0);
            rows.extend(row.chunks(2).map(|pair| match pair {
                [left, right] => (left << 4) | (right & 15),
                [left] => left << 4,
                _ => 0,
            }));
        }
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        chunk(&mut file, *b"IHDR", &header);
        chunk(&mut file, *b"PLTE", palette.as_flattened());
        chunk(&mut file, *b"IDAT", &stored(&rows));
        chunk(&mut file, *b"IEND", &[]);
        file
    }
}

fn chunk(file: &mut Vec<u8>, name: [u8; 4], data: &[u8]) {
    file.extend(u32::try_from(data.len()).unwrap_or_default().to_be_bytes());
    let body = [&name[..], data].concat();
    file.extend(&body);
    file.extend(crc32(&body).to_be_bytes());
}

/// A zlib stream of stored blocks (RFC 1950, RFC 1951).
fn stored(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let last = data.len().div_ceil(BLOCK).saturating_sub(1);
    for (number, block) in data.chunks(BLOCK).enumerate() {
        let length = u16::try_from(block.len()).unwrap_or_default();
        out.push(u8::from(number == last));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    let (low, high) = data.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    out.extend((high << 16 | low).to_be_bytes());
    out
}

/// The CRC of ISO 3309, bit by bit: a picture has some kilobytes.
fn crc32(data: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standards() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert!(stored(b"Wikipedia").ends_with(&0x11e6_0398_u32.to_be_bytes()));
    }

    #[test]
    fn a_long_picture_has_several_blocks() {
        let data = vec![7; BLOCK + 10];
        let out = stored(&data);
        assert_eq!(out.len(), 2 + 2 * 5 + data.len() + 4);
        assert_eq!(out[2], 0);
        assert_eq!(out[2 + 5 + BLOCK], 1, "the second is the last");
    }
}

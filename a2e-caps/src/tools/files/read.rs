//! `read_file`: a file or a part of it, by bytes or by lines; what is no text comes as base64.

use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};

use a2e_core::protocol::number::{integer, optional_integer};
use a2e_core::{Error, Result};
use cap_std::fs::{File, OpenOptions};
use serde::{Deserialize, Serialize};

use super::roots::Roots;
use super::stop_if_cancelled;
use crate::tools::base64::encoded;
use crate::tools::contract::{Content, ToolCall, ToolDefinition, ToolOutput, ToolParameter};
use crate::tools::result::text_len;

/// Bytes between two looks at whether the call still matters.
const STEP: usize = 256 * 1024;

#[derive(Deserialize)]
struct Arguments {
    path: String,
    #[serde(default, deserialize_with = "integer")]
    offset: u64,
    #[serde(default, deserialize_with = "optional_integer")]
    limit: Option<u64>,
    #[serde(default)]
    unit: Unit,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Unit {
    #[default]
    Bytes,
    Lines,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Bytes => "byte",
            Self::Lines => "line",
        }
    }
}

/// The result.
#[derive(Serialize)]
struct Part {
    path: String,
    content: String,
    encoding: &'static str,
    size: u64,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<u64>,
}

pub(super) fn definition(paths: &str) -> ToolDefinition {
    let about = format!(
        "Reads a file, or a part of it. UTF-8 text comes as it is, other content as base64. A long \
         file comes in parts: read on at `next_offset`. {paths}"
    );
    let required = ToolParameter::required;
    let optional = ToolParameter::optional;
    let tool = ToolDefinition::new("read_file", about)
        .tagged(&["files", "read"])
        .input(required("path", "string", "The file."))
        .input(optional("offset", "integer", "How much to skip, in `unit`s; 0 by default."))
        .input(optional(
            "limit",
            "integer",
            "Most to read, in `unit`s; as much as fits by default.",
        ))
        .input(
            optional("unit", "string", "What offset and limit count; bytes by default.")
                .one_of(&["bytes", "lines"]),
        )
        .output(required("path", "string", "The file."))
        .output(required("content", "string", "The text, or base64."))
        .output(required("encoding", "string", "How to read it.").one_of(&["utf-8", "base64"]))
        .output(required("size", "integer", "Bytes of the whole file."))
        .output(required("offset", "integer", "Where this part begins."))
        .output(optional("next_offset", "integer", "Where the next part begins, if there is one."))
        .output(optional("end", "integer", "Where the file ends, in `unit`s, once that was seen."));
    ToolDefinition { idempotent: true, ..tool }
}

/// `budget` bounds the content as it is written to the wire.
pub(super) fn run(roots: &Roots, call: &ToolCall, budget: usize) -> Result<ToolOutput> {
    let arguments: Arguments = call.decode()?;
    let place = roots.resolve(&arguments.path)?;
    let mut options = OpenOptions::new();
    let file = place.open(roots, "read", &arguments.path, options.read(true))?;
    let failed = |error: std::io::Error| roots.failed("read", &arguments.path, &error);
    let size = file.metadata().map_err(failed)?.len();
    let limit = arguments.limit.unwrap_or(u64::MAX);
    let part = match arguments.unit {
        Unit::Bytes => by_bytes(file, arguments.offset, limit, budget).map_err(failed)?,
        Unit::Lines => {
            let (offset, limit) = (arguments.offset, limit);
            by_lines(file, offset, limit, budget, call, &failed)?
        }
    };
    let (is_part, end) = (part.next.is_some(), part.end);
    let mut content = part.text;
    if arguments.offset == 0 && content.starts_with('\u{feff}') {
        // A byte order mark says how to read the file, and is no part of the first line.
        content.remove(0);
    }
    let part = Part {
        path: arguments.path,
        content,
        encoding: part.encoding,
        size,
        offset: arguments.offset,
        next_offset: part.next,
        end,
    };
    let is_whole = part.encoding == "base64" && part.offset == 0 && !is_part;
    let media = media_type(&part.content).filter(|_| is_whole);
    let mut output = ToolOutput::of(&part)?.truncated(is_part && arguments.limit.is_none());
    output.content.extend(media.and_then(|media| Content::in_field("content", media)));
    match end {
        Some(end) if end < arguments.offset => {
            let (offset, unit) = (arguments.offset, arguments.unit.name());
            let s = if end == 1 { "" } else { "s" };
            let text = format!("offset {offset} is beyond the end: the file has {end} {unit}{s}");
            Ok(output.with_summary(text))
        }
        _ => Ok(output),
    }
}

/// The media type of an image or a sound, by how its base64 begins: clients that can show it do.
fn media_type(base64: &str) -> Option<&'static str> {
    let starts = [
        ("iVBORw0KGgo", "image/png"),
        ("/9j/", "image/jpeg"),
        ("R0lGOD", "image/gif"),
        ("SUQz", "audio/mpeg"),
        ("T2dnUw", "audio/ogg"),
        ("ZkxhQw", "audio/flac"),
    ];
    let known = starts.iter().find(|(start, _)| base64.starts_with(start));
    // `RIFF`, four bytes of length, and `WEBP` or `WAVE`.
    let riff = base64.get(12..16).filter(|_| base64.starts_with("UklGR"));
    known.map(|(_, media)| *media).or(match riff {
        Some("RUJQ") => Some("image/webp"),
        Some("QVZF") => Some("audio/wav"),
        _ => None,
    })
}

/// What was read.
struct Taken {
    text: String,
    encoding: &'static str,
    /// Where to read on.
    next: Option<u64>,
    /// Where the file ends, if that was seen.
    end: Option<u64>,
}

fn by_bytes(mut file: File, offset: u64, limit: u64, budget: usize) -> std::io::Result<Taken> {
    let size = file.metadata()?.len();
    match file.seek(SeekFrom::Start(offset)) {
        // Farther than any file of this system reaches.
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            let text = String::new();
            return Ok(Taken { text, encoding: "utf-8", next: None, end: Some(size) });
        }
        sought => sought?,
    };
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX).min(budget);
    // One byte more shows whether there is more.
    let mut bytes = Vec::new();
    file.take(wanted as u64 + 1).read_to_end(&mut bytes)?;
    let has_more = bytes.len() > wanted;
    bytes.truncate(wanted);
    let whole = bytes.len();
    // Of a file that is being written, the end may be another by now.
    let end = if whole == 0 { size } else { offset.saturating_add(whole as u64) };
    let (text, encoding, used) = encoded(bytes, budget, has_more);
    let next = (has_more || used < whole).then(|| offset.saturating_add(used as u64));
    Ok(Taken { text, encoding, next, end: next.is_none().then_some(end) })
}

fn by_lines(
    file: File,
    offset: u64,
    limit: u64,
    budget: usize,
    call: &ToolCall,
    failed: &dyn Fn(std::io::Error) -> Error,
) -> Result<Taken> {
    let mut lines =
        Lines { reader: BufReader::with_capacity(64 * 1024, file), call, failed, read: 0 };
    for skipped in 0..offset {
        if !lines.skip()? {
            let text = String::new();
            return Ok(Taken { text, encoding: "utf-8", next: None, end: Some(skipped) });
        }
    }
    let (mut bytes, mut count) = (Vec::new(), 0_u64);
    // Bytes on the wire, while what was read is text.
    let mut on_wire = Some(0);
    let (mut is_cut, mut ends_in_line) = (false, false);
    while count < limit {
        let before = bytes.len();
        let (has_line, is_whole) = lines.take(&mut bytes, budget)?;
        if !has_line {
            break;
        }
        let line = std::str::from_utf8(bytes.get(before..).unwrap_or_default());
        on_wire = on_wire.zip(line.ok()).map(|(length, line)| length + text_len(line));
        let fits = is_whole && on_wire.unwrap_or(bytes.len().div_ceil(3) * 4) <= budget;
        if !fits && count > 0 {
            bytes.truncate(before);
            is_cut = true;
            break;
        }
        count += 1;
        if !fits {
            // A line that alone is too long is cut; the next part begins after it.
            if !is_whole {
                ends_in_line = lines.skip()?;
            }
            break;
        }
    }
    let here = offset.saturating_add(count);
    let has_more = is_cut || lines.has_more()?;
    let (text, encoding, _) = encoded(bytes, budget, ends_in_line);
    let (next, end) = if has_more { (Some(here), None) } else { (None, Some(here)) };
    Ok(Taken { text, encoding, next, end })
}

struct Lines<'a> {
    reader: BufReader<File>,
    call: &'a ToolCall,
    failed: &'a dyn Fn(std::io::Error) -> Error,
    /// Bytes since the last look at whether the call still matters.
    read: usize,
}

impl Lines<'_> {
    /// Reads past the end of the line; false at the end of the file.
    fn skip(&mut self) -> Result<bool> {
        let mut has_any = false;
        loop {
            let (used, is_end) = match self.chunk()? {
                [] => return Ok(has_any),
                chunk => match chunk.iter().position(|it| *it == b'\n') {
                    Some(at) => (at + 1, true),
                    None => (chunk.len(), false),
                },
            };
            has_any = true;
            self.reader.consume(used);
            if is_end {
                return Ok(true);
            }
        }
    }

    /// Appends the line, `max` bytes in all; whether there was one, and whether it is all of it.
    fn take(&mut self, out: &mut Vec<u8>, max: usize) -> Result<(bool, bool)> {
        let mut has_any = false;
        loop {
            let room = max.saturating_sub(out.len());
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                return Ok((has_any, true));
            }
            let end = chunk.iter().position(|it| *it == b'\n').map(|at| at + 1);
            let used = end.unwrap_or(chunk.len());
            has_any = true;
            if used > room {
                out.extend_from_slice(chunk.get(..room).unwrap_or_default());
                return Ok((true, false));
            }
            out.extend_from_slice(chunk.get(..used).unwrap_or_default());
            self.reader.consume(used);
            if end.is_some() {
                return Ok((true, true));
            }
        }
    }

    fn has_more(&mut self) -> Result<bool> {
        Ok(!self.chunk()?.is_empty())
    }

    fn chunk(&mut self) -> Result<&[u8]> {
        let chunk = self.reader.fill_buf().map_err(self.failed)?;
        self.read += chunk.len();
        if self.read > STEP {
            self.read = 0;
            stop_if_cancelled(self.call)?;
        }
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::{encoded, media_type};

    #[test]
    fn media_are_known_by_their_first_bytes() {
        let cases: [(&[u8], Option<&str>); 7] = [
            (b"\x89PNG\r\n\x1a\n\0", Some("image/png")),
            (b"\xff\xd8\xff\xe0", Some("image/jpeg")),
            (b"GIF89a\xff", Some("image/gif")),
            (b"RIFF\x01\x02\x03\x04WEBPVP8 \xff", Some("image/webp")),
            (b"RIFF\x01\x02\x03\x04WAVEfmt \xff", Some("audio/wav")),
            (b"RIFF\x01\x02\x03\x04AVI \xff", None),
            (b"\xff\xfe\xfd", None),
        ];
        for (bytes, expected) in cases {
            let (text, encoding, _) = encoded(bytes.to_vec(), 1000, false);
            let found = media_type(&text).filter(|_| encoding == "base64");
            assert!(found == expected || encoding == "utf-8", "{bytes:?} {found:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parts_of_any_content_join_to_the_whole(
            content in "[a-z\u{1}é🦀]{0,300}",
            step in 1_usize..40,
            budget in 24_usize..200,
        ) {
            let bytes = content.as_bytes();
            let (mut joined, mut at) = (Vec::new(), 0);
            while at < bytes.len() {
                let end = bytes.len().min(at + step);
                let part = bytes[at..end].to_vec();
                let (text, encoding, used) = encoded(part, budget, end < bytes.len());
                assert!(used > 0, "a part moves on");
                if encoding == "utf-8" {
                    joined.extend_from_slice(text.as_bytes());
                } else {
                    joined.extend_from_slice(&bytes[at..at + used]);
                }
                at += used;
            }
            assert_eq!(joined, bytes);
        }
    }
}

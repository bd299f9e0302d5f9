//! The files of a skill for MCP clients: below `skill://<name>/`, read in its folder and nowhere else.

use std::io::Read;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use nix::libc::{O_NOCTTY, O_NONBLOCK};
use sha2::{Digest, Sha256};

use super::catalog::Skill;
use crate::mcp::contract::{ResourceContents, Skill as Offered, SkillFile};

/// Begins the URI of a file.
const SCHEME: &str = "skill://";

/// The file that is the skill; of the reference's skills it is spelled otherwise on the disk.
const MAIN: &str = "SKILL.md";

/// How far below a skill its files lie, how many they are, and how long all together: clients load no larger
/// skills.
const MOST_DEPTH: usize = 6;
const MOST_FILES: usize = 512;
const MOST_BYTES: u64 = 16 << 20;

/// The URI of a skill.
pub(super) fn uri(name: &str) -> String {
    of(name, MAIN)
}

fn of(name: &str, path: &str) -> String {
    format!("{SCHEME}{}/{}", encoded(name).replace('/', "%2F"), encoded(path))
}

/// The name and the path behind a URI; `None` when it is none of a skill's files.
pub(super) fn named(uri: &str) -> Option<(String, String)> {
    let (name, path) = uri.strip_prefix(SCHEME)?.split_once('/')?;
    let (name, path) = (decoded(name)?, decoded(path)?);
    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.');
    (!name.is_empty() && path.split('/').all(is_plain)).then_some((name, path))
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            other => {
                out.push('%');
                out.extend(digits(other).map(|it| it.to_ascii_uppercase()));
            }
        }
    }
    out
}

/// The two hex digits of a byte.
fn digits(byte: u8) -> impl Iterator<Item = char> {
    let halves = [byte >> 4, byte & 15].into_iter();
    halves.filter_map(|half| char::from_digit(u32::from(half), 16))
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |it: u8| char::from(it).to_digit(16);
        let plain = match byte {
            b'%' => u8::try_from(digit(rest.next()?)? * 16 + digit(rest.next()?)?).ok()?,
            other => other,
        };
        bytes.push(plain);
    }
    String::from_utf8(bytes).ok()
}

impl Skill {
    fn folder(&self) -> Option<Dir> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        Dir::open_ambient_dir(folder, ambient_authority()).ok()
    }

    /// The name on the disk of a path in the skill.
    fn on_disk<'a>(&'a self, path: &'a str) -> &'a str {
        let own = self.file.file_name().and_then(std::ffi::OsStr::to_str);
        if path == MAIN { own.unwrap_or(path) } else { path }
    }

    /// What stands in a file; `None` when there is none that may be read.
    pub(super) fn contents(&self, uri: &str, path: &str) -> Option<ResourceContents> {
        let bytes = bytes(&self.folder()?, self.on_disk(path))?;
        let is_markdown =
            Path::new(path).extension().is_some_and(|it| it.eq_ignore_ascii_case("md"));
        let kind = if is_markdown { "text/markdown" } else { "text/plain" };
        Some(match String::from_utf8(bytes) {
            Ok(text) => ResourceContents::text(uri, kind, text),
            Err(error) => ResourceContents::blob(uri, "application/octet-stream", error.as_bytes()),
        })
    }

    /// The skill with its files; without them, where they are too many or too long, or `left` bytes are not
    /// enough to look at them.
    pub(super) fn offered(&self, left: &mut u64) -> Offered {
        let name = &self.manifest.name;
        let mut frontmatter = self.manifest.fields.clone();
        frontmatter.insert("name".to_owned(), name.as_str().into());
        frontmatter.insert("description".to_owned(), self.manifest.description.as_str().into());
        Offered { uri: uri(name), frontmatter, resources: self.files(left) }
    }

    fn files(&self, left: &mut u64) -> Option<Vec<SkillFile>> {
        let folder = self.folder()?;
        let mut paths = Vec::new();
        walk(&folder, "", 0, &mut paths)?;
        paths.sort();
        let mut total = 0;
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let bytes = bytes(&folder, &path)?;
            let size = u64::try_from(bytes.len()).ok()?;
            total += size;
            if total > MOST_BYTES || size > *left {
                return None;
            }
            *left -= size;
            let is_main = self.on_disk(MAIN) == path;
            let path = if is_main { MAIN } else { path.as_str() };
            let digest = Sha256::digest(&bytes);
            let digest: String = digest.iter().copied().flat_map(digits).collect();
            let uri = of(&self.manifest.name, path);
            files.push(SkillFile { uri, digest: format!("sha256:{digest}"), size });
        }
        Some(files)
    }
}

/// The paths of the files of a folder that are not hidden; `None` when they are too many.
fn walk(folder: &Dir, before: &str, depth: usize, paths: &mut Vec<String>) -> Option<()> {
    for entry in folder.entries().ok()?.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Ok(kind) = entry.file_type() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let path = format!("{before}{name}");
        if kind.is_dir() && depth < MOST_DEPTH {
            walk(&entry.open_dir().ok()?, &format!("{path}/"), depth + 1, paths)?;
        } else if kind.is_file() {
            if paths.len() == MOST_FILES {
                return None;
            }
            paths.push(path);
        }
    }
    Some(())
}

/// The bytes of a regular file; links out of the folder are not followed.
fn bytes(folder: &Dir, path: &str) -> Option<Vec<u8>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(O_NONBLOCK | O_NOCTTY);
    if !folder.metadata(path).ok()?.is_file() {
        return None;
    }
    let file = folder.open_with(path, &options).ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > MOST_BYTES {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_name_a_file_of_a_skill_or_nothing() {
        for (uri, expected) in [
            ("skill://a/SKILL.md", Some(("a", "SKILL.md"))),
            ("skill://a%20b/x%20y/z", Some(("a b", "x y/z"))),
            ("skill://a", None),
            ("skill://a/", None),
            ("skill:///x", None),
            ("skill://a/../b", None),
            ("skill://a/%2e%2e/b", None),
            ("skill://a/.git/config", None),
            ("skill://a//x", None),
            ("skill://a/%zz", None),
            ("file://a/x", None),
        ] {
            let found = named(uri);
            let found = found.as_ref().map(|(name, path)| (name.as_str(), path.as_str()));
            assert_eq!(found, expected, "{uri}");
        }
        assert_eq!(of("ä b", "c/d e.md"), "skill://%C3%A4%20b/c/d%20e.md");
        assert_eq!(named(&of("a/b", "c")), Some(("a/b".to_owned(), "c".to_owned())));
    }
}

//! `list_dir`: what is in a folder and, if asked, in the folders below it.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use a2e_core::Result;
use a2e_core::protocol::number::integer;
use cap_std::fs::{Dir, DirEntry, FileType, Metadata, MetadataExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::names;
use super::roots::Roots;
use super::stop_if_cancelled;
use crate::tools::contract::{ToolCall, ToolDefinition, ToolOutput, ToolParameter};
use crate::tools::result::wire_len;

/// Folders below folders that one call may go down.
const MAX_DEPTH: u32 = 16;

/// Entries of one call.
const MAX_ENTRIES: usize = 10_000;

/// Names between two looks at whether the call still matters.
const STEP: usize = 256;

/// Bytes of an entry on the wire beside its name, at most.
const ENTRY_BYTES: usize = 96;

#[derive(Deserialize)]
struct Arguments {
    #[serde(default = "here")]
    path: String,
    #[serde(default = "one", deserialize_with = "integer")]
    depth: u32,
    #[serde(default = "thousand", deserialize_with = "integer")]
    limit: usize,
}

fn here() -> String {
    ".".to_owned()
}

fn one() -> u32 {
    1
}

fn thousand() -> usize {
    1000
}

#[derive(Serialize)]
struct Entry {
    /// With the folders between, where `depth` is above 1.
    name: String,
    kind: &'static str,
    /// `None` where the host may not look.
    size: Option<u64>,
    /// Seconds since the Unix epoch.
    modified: Option<i64>,
}

pub(super) fn definition(paths: &str) -> ToolDefinition {
    let about = format!(
        "Lists a folder, sorted by name. Links are shown, not followed. {} {paths}",
        names::ABOUT
    );
    let required = ToolParameter::required;
    let optional = ToolParameter::optional;
    let tool = ToolDefinition::new("list_dir", about)
        .tagged(&["files", "read"])
        .input(optional("path", "string", "The folder; the topmost by default."))
        .input(optional("depth", "integer", "How many levels, 1 (default) to 16."))
        .input(optional("limit", "integer", "Most entries; 1000 by default, 10000 at most."))
        .output(required("path", "string", "The folder."))
        .output(required(
            "entries",
            "array",
            "Objects of `name`, `kind` (file, dir, symlink, other), `size` in bytes and `modified` \
             in seconds since 1970; the last two are null where this host may not look.",
        ))
        .output(required("skipped", "integer", "Folders and entries that could not be read."))
        .output(required("truncated", "boolean", "Whether some are left out."));
    ToolDefinition { idempotent: true, ..tool }
}

/// `budget` bounds the entries as they are written to the wire.
pub(super) fn run(roots: &Roots, call: &ToolCall, budget: usize) -> Result<ToolOutput> {
    let Arguments { path, depth, limit } = call.decode()?;
    let mut walk = Walk {
        call,
        entries: Vec::new(),
        left: limit.clamp(1, MAX_ENTRIES),
        budget,
        depth: depth.clamp(1, MAX_DEPTH),
        is_truncated: false,
        skipped: 0,
    };
    let failed = |error: std::io::Error| roots.failed("list", &path, &error);
    if let Some(folders) = roots.as_folder(&path) {
        for (name, dir) in folders {
            let metadata = dir.dir_metadata().map_err(failed)?;
            if walk.push(name.to_owned(), metadata.file_type(), Some(&metadata)) && walk.depth > 1 {
                walk.folder(dir, &format!("{name}/"), 2)?;
            }
        }
    } else {
        let place = roots.resolve(&path)?;
        let folder = place.dir.open_dir(&place.path).map_err(failed)?;
        // Entries that cannot be read are left out; a folder that cannot be read is an error.
        drop(folder.entries().map_err(failed)?);
        walk.folder(&folder, "", 1)?;
    }
    let (entries, is_truncated) = (walk.entries, walk.is_truncated);
    let data = json!({
        "path": path,
        "entries": entries,
        "skipped": walk.skipped,
        "truncated": is_truncated,
    });
    Ok(ToolOutput::of(&data)?.truncated(is_truncated))
}

struct Walk<'a> {
    call: &'a ToolCall,
    entries: Vec<Entry>,
    /// Entries that may still come.
    left: usize,
    /// Bytes that may still come.
    budget: usize,
    depth: u32,
    is_truncated: bool,
    /// What could not be read.
    skipped: usize,
}

impl Walk<'_> {
    fn folder(&mut self, dir: &Dir, prefix: &str, level: u32) -> Result<()> {
        for (name, entry) in self.sorted(dir)? {
            if self.left == 0 {
                self.is_truncated = true;
                break;
            }
            let metadata = match entry.metadata() {
                // It is gone by now.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => metadata.ok(),
            };
            let Ok(kind) = entry.file_type() else {
                self.skipped += 1;
                continue;
            };
            let name = format!("{prefix}{name}");
            if !self.push(name.clone(), kind, metadata.as_ref()) {
                break;
            }
            if !kind.is_dir() || level >= self.depth {
                continue;
            }
            match entry.open_dir() {
                Ok(below) => self.folder(&below, &format!("{name}/"), level + 1)?,
                Err(_) => self.skipped += 1,
            }
        }
        Ok(())
    }

    /// The first entries by name, as many as may still come: a folder of millions needs no memory
    /// for them.
    fn sorted(&mut self, dir: &Dir) -> Result<BTreeMap<String, DirEntry>> {
        let mut first = BTreeMap::new();
        let Ok(entries) = dir.entries() else {
            self.skipped += 1;
            return Ok(first);
        };
        for (place, entry) in entries.enumerate() {
            if place % STEP == 0 {
                stop_if_cancelled(self.call)?;
            }
            let Ok(entry) = entry else {
                self.skipped += 1;
                continue;
            };
            first.insert(names::shown(&entry.file_name()), entry);
            if first.len() > self.left {
                first.pop_last();
                self.is_truncated = true;
            }
        }
        Ok(first)
    }

    /// Adds an entry; false when there is no room.
    fn push(&mut self, name: String, kind: FileType, metadata: Option<&Metadata>) -> bool {
        let needed = 2 * wire_len(&name) + ENTRY_BYTES;
        if self.left == 0 || needed > self.budget {
            (self.is_truncated, self.left) = (true, 0);
            return false;
        }
        self.left -= 1;
        self.budget -= needed;
        let kind = match () {
            () if kind.is_file() => "file",
            () if kind.is_dir() => "dir",
            () if kind.is_symlink() => "symlink",
            () => "other",
        };
        let (size, modified) = (metadata.map(Metadata::len), metadata.map(Metadata::mtime));
        self.entries.push(Entry { name, kind, size, modified });
        true
    }
}

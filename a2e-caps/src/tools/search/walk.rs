//! The walk: folders by their handles, names in order, links never followed, everything counted.

use std::io::{self, ErrorKind};
use std::path::Component;

use a2e_core::Result;
use cap_std::fs::{Dir, DirEntry, FileType};

use super::Cut;
use super::ignores::Ignores;
use crate::tools::contract::ToolCall;
use crate::tools::files::roots::Roots;
use crate::tools::files::stop_if_cancelled;

/// Files and folders that one call may look at.
const MAX_VISITED: usize = 200_000;

/// Folders below folders.
const MAX_DEPTH: usize = 64;

/// Names between two looks at whether the call still matters.
const STEP: usize = 256;

/// The files that a search visits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) hidden: bool,
    pub(super) ignored: bool,
}

/// A file or folder on the way.
pub(super) struct Found<'a> {
    /// As a call of `read_file` would name it.
    pub(super) path: &'a str,
    /// From where the search began.
    pub(super) below: &'a str,
    pub(super) is_dir: bool,
    pub(super) kind: FileType,
    /// The folder that it stands in.
    pub(super) dir: &'a Dir,
    pub(super) entry: &'a DirEntry,
}

/// Whether a search goes on.
pub(super) type Next = Result<Option<Cut>>;

/// The result of a walk.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) visited: usize,
    pub(super) skipped: usize,
    pub(super) cut: Option<Cut>,
}

/// Shows every file and folder below `path` to `visit`, in the order of their names.
///
/// # Errors
/// When `path` is no folder, the call has ended, or `visit` fails.
pub(super) fn walk(
    roots: &Roots,
    call: &ToolCall,
    path: &str,
    wanted: Wanted,
    visit: &mut dyn FnMut(&Found<'_>) -> Next,
) -> Result<Seen> {
    let (seen, ignores) = (Seen::default(), Ignores::default());
    let mut walk = Walk { call, wanted, visit, seen, ignores, shown: 0, start: 0 };
    let failed = |error: io::Error| roots.failed("search", path, &error);
    if let Some(folders) = roots.as_folder(path) {
        for (name, dir) in folders {
            walk.shown = name.len() + 1;
            let goes_on = walk.folder(dir, &format!("{name}/"), 1)?;
            if !goes_on {
                break;
            }
        }
        return Ok(walk.seen);
    }
    let place = roots.resolve(path)?;
    // Without links and `..`, so that the rules of every folder above are known.
    let real = place.dir.canonicalize(&place.path).map_err(failed)?;
    let mut parts = Vec::new();
    for part in real.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::CurDir => {}
            _ => return Err(failed(ErrorKind::PermissionDenied.into())),
        }
    }
    let mut prefix = roots.prefix(place.dir);
    walk.shown = prefix.len();
    let mut dir = place.dir.try_clone().map_err(failed)?;
    for part in &parts {
        walk.enter(&dir, &prefix);
        dir = dir.open_dir(part).map_err(failed)?;
        prefix.push_str(part);
        prefix.push('/');
    }
    walk.start = prefix.len();
    drop(dir.entries().map_err(failed)?);
    walk.folder(&dir, &prefix, 1)?;
    Ok(walk.seen)
}

struct Walk<'a> {
    call: &'a ToolCall,
    wanted: Wanted,
    visit: &'a mut dyn FnMut(&Found<'_>) -> Next,
    seen: Seen,
    ignores: Ignores,
    /// Bytes of a path that name the root, where there are several.
    shown: usize,
    /// Bytes of a path before what the search began with.
    start: usize,
}

impl Walk<'_> {
    fn enter(&mut self, dir: &Dir, prefix: &str) {
        if !self.wanted.ignored {
            let path = prefix.get(self.shown..).unwrap_or_default().trim_end_matches('/');
            self.ignores.enter(dir, path);
        }
    }

    fn leave(&mut self) {
        if !self.wanted.ignored {
            self.ignores.leave();
        }
    }

    /// Walks a folder whose path, with a slash behind it, is `prefix`; false when the search is over.
    fn folder(&mut self, dir: &Dir, prefix: &str, level: usize) -> Result<bool> {
        if level > MAX_DEPTH {
            self.seen.cut = self.seen.cut.or(Some(Cut::Depth));
            return Ok(true);
        }
        let names = self.names(dir)?;
        self.enter(dir, prefix);
        let mut goes_on = true;
        for (name, entry) in names {
            if !self.entry(dir, &format!("{prefix}{name}"), &entry, level)? {
                goes_on = false;
                break;
            }
        }
        self.leave();
        if goes_on && self.seen.visited >= MAX_VISITED {
            self.seen.cut = Some(Cut::Visited);
        }
        Ok(goes_on && self.seen.visited < MAX_VISITED)
    }

    fn entry(&mut self, dir: &Dir, path: &str, entry: &DirEntry, level: usize) -> Result<bool> {
        // It may be gone by now.
        let Ok(kind) = entry.file_type() else {
            self.seen.skipped += 1;
            return Ok(true);
        };
        let is_dir = kind.is_dir();
        let from_root = path.get(self.shown..).unwrap_or(path);
        if !self.wanted.ignored && self.ignores.has(from_root, is_dir) {
            return Ok(true);
        }
        let below = path.get(self.start..).unwrap_or(path);
        let found = Found { path, below, is_dir, kind, dir, entry };
        if let Some(cut) = (self.visit)(&found)? {
            self.seen.cut = Some(cut);
            return Ok(false);
        }
        if !is_dir {
            return Ok(true);
        }
        let Ok(folder) = entry.open_dir() else {
            self.seen.skipped += 1;
            return Ok(true);
        };
        self.folder(&folder, &format!("{path}/"), level + 1)
    }

    /// The names of a folder in order, as many as may still be visited.
    fn names(&mut self, dir: &Dir) -> Result<Vec<(String, DirEntry)>> {
        stop_if_cancelled(self.call)?;
        let Ok(entries) = dir.entries() else {
            self.seen.skipped += 1;
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for (place, entry) in entries.enumerate() {
            if place % STEP == STEP - 1 {
                stop_if_cancelled(self.call)?;
            }
            let Ok(entry) = entry else {
                self.seen.skipped += 1;
                continue;
            };
            // A name that is no text could not be given to another tool.
            let Ok(name) = entry.file_name().into_string() else {
                self.seen.skipped += 1;
                continue;
            };
            if !self.wanted.hidden && name.starts_with('.') {
                continue;
            }
            // What git keeps for itself is of no use, unless everything is wanted.
            if name == ".git" && !self.wanted.ignored {
                continue;
            }
            if self.seen.visited >= MAX_VISITED {
                self.seen.cut = Some(Cut::Visited);
                break;
            }
            self.seen.visited += 1;
            names.push((name, entry));
        }
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(names)
    }
}

//! The walk: folders by their handles, names in order, links never followed, everything counted.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::Component;

use a2e_core::Result;
use cap_std::fs::{Dir, DirEntry, FileType};

use super::Cut;
use super::ignores::Ignores;
use super::patterns::Pattern;
use super::unseen::{Unseen, Why};
use crate::tools::contract::ToolCall;
use crate::tools::files::roots::{Place, Roots, irregular_kind};
use crate::tools::files::{names, stop_if_cancelled};

/// Files and folders that one call may look at.
const MAX_VISITED: usize = 200_000;

/// Folders below folders.
const MAX_DEPTH: usize = 64;

/// Names between two looks at whether the call still matters.
const STEP: usize = 256;

/// The files that a search visits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) hidden: bool,
    pub(super) ignored: bool,
    /// Hidden names that it means are visited in any case.
    pub(super) pattern: Option<&'a Pattern>,
}

impl Wanted<'_> {
    fn has(&self, name: &str) -> bool {
        let is_meant = || self.pattern.is_some_and(|pattern| pattern.means_hidden(name));
        // What git keeps for itself is of no use, unless everything is wanted.
        let is_open = self.hidden && (name != ".git" || self.ignored);
        !name.starts_with('.') || is_open || is_meant()
    }
}

/// A file or folder on the way.
pub(super) struct Found<'a> {
    /// As a call of `read_file` would name it.
    pub(super) path: &'a str,
    /// From where the search began.
    pub(super) below: &'a str,
    pub(super) is_dir: bool,
    pub(super) kind: FileType,
    /// The folder that it stands in, and its name there.
    pub(super) dir: &'a Dir,
    pub(super) name: &'a OsStr,
    /// The call names this very file.
    pub(super) is_named: bool,
    root: &'a Dir,
    from_root: &'a str,
}

impl Found<'_> {
    /// Whether `read_file` would open it: a regular file, or a link to one within the root.
    pub(super) fn is_file(&self) -> bool {
        let leads_to_file = || {
            let metadata = self.root.metadata(names::meant(self.from_root));
            metadata.is_ok_and(|it| it.is_file())
        };
        self.kind.is_file() || self.kind.is_symlink() && leads_to_file()
    }
}

/// Whether a search goes on.
pub(super) type Next = Result<Option<Cut>>;

/// The result of a walk.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) visited: usize,
    pub(super) skipped: usize,
    /// Passed over as hidden or ignored.
    pub(super) left_out: usize,
    pub(super) unseen: Unseen,
    pub(super) cut: Option<Cut>,
}

impl Seen {
    /// With the bytes on the wire for the names of what was not seen.
    pub(super) fn new(room: usize) -> Self {
        Self { visited: 0, skipped: 0, left_out: 0, unseen: Unseen::new(room), cut: None }
    }

    /// Something could not be read.
    pub(super) fn skip(&mut self, path: &str) {
        self.skipped += 1;
        self.unseen.note(path, Why::Unreadable, None);
    }
}

/// Shows every file and folder below `path` to `visit`, in the order of their names; the file alone
/// where it is one.
///
/// # Errors
/// When `path` is neither, the call has ended, or `visit` fails.
pub(super) fn walk(
    roots: &Roots,
    call: &ToolCall,
    path: &str,
    wanted: Wanted<'_>,
    seen: Seen,
    visit: &mut dyn FnMut(&Found<'_>, &mut Seen) -> Next,
) -> Result<Seen> {
    let ignores = Ignores::default();
    let mut walk = Walk { call, wanted, visit, seen, ignores, root: None, shown: 0, start: 0 };
    if let Some(folders) = roots.as_folder(path) {
        for (name, dir) in folders {
            (walk.root, walk.shown) = (Some(dir), name.len() + 1);
            let metadata = dir.dir_metadata();
            let metadata = metadata.map_err(|error| roots.failed("search", name, &error))?;
            walk.seen.visited += 1;
            let goes_on = walk.show(dir, name, OsStr::new("."), metadata.file_type(), false)?
                && walk.folder(dir, &format!("{name}/"), 1)?;
            if !goes_on {
                break;
            }
        }
        return Ok(walk.seen);
    }
    let place = roots.resolve(path)?;
    walk.place(roots, path, &place)?;
    Ok(walk.seen)
}

struct Walk<'a> {
    call: &'a ToolCall,
    wanted: Wanted<'a>,
    visit: &'a mut dyn FnMut(&Found<'_>, &mut Seen) -> Next,
    seen: Seen,
    ignores: Ignores,
    /// The root that it is in.
    root: Option<&'a Dir>,
    /// Bytes of a path that name the root, where there are several.
    shown: usize,
    /// Bytes of a path before what the search began with.
    start: usize,
}

impl<'a> Walk<'a> {
    /// Walks what a call names.
    fn place(&mut self, roots: &Roots, path: &str, place: &Place<'a>) -> Result<()> {
        let failed = |error: io::Error| roots.failed("search", path, &error);
        // Without links and `..`, so that the rules of every folder above are known.
        let real = place.dir.canonicalize(&place.path).map_err(failed)?;
        let metadata = place.dir.metadata(&real).map_err(failed)?;
        if let Some(kind) = irregular_kind(metadata.file_type()) {
            return Err(roots.irregular(path, kind));
        }
        if metadata.is_file() && place.names_folder {
            return Err(failed(ErrorKind::NotADirectory.into()));
        }
        let mut parts = Vec::new();
        for part in real.components() {
            match part {
                Component::Normal(part) => parts.push(part),
                Component::CurDir => {}
                _ => return Err(failed(ErrorKind::PermissionDenied.into())),
            }
        }
        let file = if metadata.is_file() { parts.pop() } else { None };
        let mut prefix = roots.prefix(place.dir);
        (self.root, self.shown) = (Some(place.dir), prefix.len());
        let mut dir = place.dir.try_clone().map_err(failed)?;
        for part in &parts {
            self.enter(&dir, &prefix);
            dir = dir.open_dir(part).map_err(failed)?;
            prefix.push_str(&names::shown(part));
            prefix.push('/');
        }
        self.start = prefix.len();
        if let Some(name) = file {
            self.seen.visited += 1;
            let path = format!("{prefix}{}", names::shown(name));
            self.show(&dir, &path, name, metadata.file_type(), true)?;
            return Ok(());
        }
        drop(dir.entries().map_err(failed)?);
        self.folder(&dir, &prefix, 1).map(|_| ())
    }

    /// Shows an entry to the search; false when the search is over.
    fn show(
        &mut self,
        dir: &Dir,
        path: &str,
        name: &OsStr,
        kind: FileType,
        is_named: bool,
    ) -> Result<bool> {
        let from_root = path.get(self.shown..).unwrap_or(path);
        let below = path.get(self.start..).unwrap_or(path);
        let (is_dir, root) = (kind.is_dir(), self.root.unwrap_or(dir));
        let found = Found { path, below, is_dir, kind, dir, name, is_named, root, from_root };
        if let Some(cut) = (self.visit)(&found, &mut self.seen)? {
            self.seen.cut = Some(cut);
            return Ok(false);
        }
        Ok(true)
    }

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
            self.seen.unseen.note(prefix, Why::Depth, None);
            return Ok(true);
        }
        let names = self.names(dir, prefix)?;
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
            self.seen.skip(path);
            return Ok(true);
        };
        let is_dir = kind.is_dir();
        let from_root = path.get(self.shown..).unwrap_or(path);
        if !self.wanted.ignored && self.ignores.has(from_root, is_dir) {
            self.seen.left_out += 1;
            return Ok(true);
        }
        if !self.show(dir, path, &entry.file_name(), kind, false)? {
            return Ok(false);
        }
        if !is_dir {
            return Ok(true);
        }
        let Ok(folder) = entry.open_dir() else {
            self.seen.skip(&format!("{path}/"));
            return Ok(true);
        };
        self.folder(&folder, &format!("{path}/"), level + 1)
    }

    /// The names of a folder in order, as many as may still be visited.
    fn names(&mut self, dir: &Dir, prefix: &str) -> Result<Vec<(String, DirEntry)>> {
        stop_if_cancelled(self.call)?;
        let Ok(entries) = dir.entries() else {
            self.seen.skip(prefix);
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for (place, entry) in entries.enumerate() {
            if place % STEP == STEP - 1 {
                stop_if_cancelled(self.call)?;
            }
            let Ok(entry) = entry else {
                self.seen.skip(prefix);
                continue;
            };
            let name = names::shown(&entry.file_name());
            if !self.wanted.has(&name) {
                self.seen.left_out += 1;
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
        // A folder that changes meanwhile may give a name twice.
        names.dedup_by(|a, b| a.0 == b.0);
        Ok(names)
    }
}

//! `write_file`: writes a whole file so that readers see the old or the new content, never a part.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use a2e_core::Result;
use cap_std::fs::{Dir, OpenOptions};
use nix::libc::{ENOSYS, EOPNOTSUPP, EPERM};
use serde::Deserialize;
use serde_json::json;

use super::roots::{Roots, irregular_kind};
use super::stop_if_cancelled;
use crate::tools::contract::{ToolCall, ToolDefinition, ToolOutput, ToolParameter};

#[derive(Deserialize)]
struct Arguments {
    path: String,
    content: String,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    parents: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Create,
    Overwrite,
    Append,
}

pub(super) fn definition(paths: &str) -> ToolDefinition {
    let about = format!("Writes a text file; a reader sees the old content or the new. {paths}");
    let required = ToolParameter::required;
    let optional = ToolParameter::optional;
    let modes = "`create` (default) wants no file there, `overwrite` replaces one, `append` adds to \
                 its end; the last two make it if it is not there.";
    ToolDefinition::new("write_file", about)
        .tagged(&["files", "write"])
        .input(required("path", "string", "The file."))
        .input(required("content", "string", "The text."))
        .input(optional("mode", "string", modes).one_of(&["create", "overwrite", "append"]))
        .input(optional("parents", "boolean", "Also makes the folders above it; false by default."))
        .output(required("path", "string", "The file."))
        .output(required("bytes", "integer", "How many bytes were written."))
}

pub(super) fn run(roots: &Roots, call: &ToolCall) -> Result<ToolOutput> {
    let arguments: Arguments = call.decode()?;
    let Arguments { path, content, mode, parents } = &arguments;
    let failed = |error: io::Error| roots.failed("write", path, &error);
    let place = roots.resolve(path)?;
    let Some((above, name)) = place.split() else {
        return Err(failed(ErrorKind::IsADirectory.into()));
    };
    if *parents {
        place.dir.create_dir_all(&above).map_err(failed)?;
    }
    let folder = place.dir.open_dir(&above).map_err(failed)?;
    // A link is refused rather than followed or replaced.
    match folder.symlink_metadata(&name) {
        Ok(it) => match irregular_kind(it.file_type()) {
            Some(kind) => return Err(roots.irregular(path, kind)),
            None if it.is_dir() => return Err(failed(ErrorKind::IsADirectory.into())),
            None if *mode == Mode::Create => return Err(failed(ErrorKind::AlreadyExists.into())),
            None => {}
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    if *mode == Mode::Append {
        let mut options = OpenOptions::new();
        let place = super::roots::Place { dir: &folder, path: PathBuf::from(&name) };
        let options = options.append(true).create(true);
        let mut file = place.open(roots, "write", path, options)?;
        stop_if_cancelled(call)?;
        file.write_all(content.as_bytes()).map_err(failed)?;
    } else {
        let new = Temporary::write(&folder, &name, content.as_bytes()).map_err(failed)?;
        stop_if_cancelled(call)?;
        match mode {
            Mode::Create => new.create(&name),
            _ => new.replace(&name),
        }
        .map_err(failed)?;
    }
    ToolOutput::of(&json!({ "path": path, "bytes": content.len() }))
}

/// A file that is written beside its place. Gone when dropped before it got there.
struct Temporary<'d> {
    folder: &'d Dir,
    name: Option<PathBuf>,
}

impl<'d> Temporary<'d> {
    /// Writes it to the disk, with the permissions of the file that it may replace.
    fn write(folder: &'d Dir, target: &OsStr, content: &[u8]) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let (mut file, made) = loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = PathBuf::from(format!(".a2e-{}-{number}.tmp", std::process::id()));
            match folder.open_with(&name, &options) {
                // Left by an earlier process of the same id.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(file) => break (file, Self { folder, name: Some(name) }),
            }
        };
        file.write_all(content)?;
        if let Ok(old) = folder.symlink_metadata(target)
            && old.is_file()
        {
            file.set_permissions(old.permissions())?;
        }
        file.sync_all()?;
        Ok(made)
    }

    /// Puts it where nothing is.
    fn create(self, target: &OsStr) -> io::Result<()> {
        let Some(name) = &self.name else { return Ok(()) };
        // Unlike a rename, a link fails where something is. The temporary name goes with `self`.
        let linked = self.folder.hard_link(name, self.folder, Path::new(target));
        let Err(error) = &linked else { return Ok(()) };
        if !matches!(error.raw_os_error(), Some(EPERM | EOPNOTSUPP | ENOSYS)) {
            return linked;
        }
        // A file system without links: the name is claimed by an empty file first.
        self.folder.open_with(target, OpenOptions::new().write(true).create_new(true))?;
        self.replace(target)
    }

    /// Puts it in the place of what is there.
    fn replace(mut self, target: &OsStr) -> io::Result<()> {
        let Some(name) = self.name.take() else { return Ok(()) };
        let moved = self.folder.rename(&name, self.folder, Path::new(target));
        if moved.is_err() {
            self.name = Some(name);
        }
        moved
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name
            && let Err(error) = self.folder.remove_file(name)
        {
            tracing::warn!(name = %name.display(), %error, "temporary file left");
        }
    }
}

//! The file that a call changes: where it stands, and whether it may be changed.

use std::ffi::OsString;
use std::io::{self, ErrorKind};

use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use cap_std::fs::{Dir, File, Metadata, MetadataExt, OpenOptions};

use super::attributes;
use super::roots::{Place, Roots, irregular_kind};

/// How often a file that is replaced meanwhile is looked at again.
const TRIES: u32 = 16;

/// The place of a file to change. Links in it are refused rather than followed or replaced.
pub(super) struct Target<'a> {
    roots: &'a Roots,
    /// What the call does, for its errors: `edit`, `write`.
    what: &'static str,
    /// As the call names it.
    path: &'a str,
    pub(super) folder: Dir,
    pub(super) name: OsString,
}

/// How a file is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A new version takes its place.
    Replace,
    /// It gets longer.
    Append,
}

/// A file that is there and may be changed.
pub(super) struct Old {
    pub(super) file: File,
    pub(super) metadata: Metadata,
}

impl<'a> Target<'a> {
    /// Finds the folder of `path`, and makes it if `parents`.
    pub(super) fn find(
        roots: &'a Roots,
        what: &'static str,
        path: &'a str,
        parents: bool,
    ) -> Result<Self> {
        let failed = |error: io::Error| roots.failed(what, path, &error);
        let place = roots.resolve(path)?;
        if place.names_folder && place.path.file_name().is_some() {
            let text =
                format!("cannot {what} `{path}`: a path with a slash at its end is a folder's");
            return Err(roots.with_facts(Error::new(ErrorCode::ToolError, text), path));
        }
        let Some((above, name)) = place.split() else {
            return Err(failed(ErrorKind::IsADirectory.into()));
        };
        if parents {
            place.dir.create_dir_all(&above).map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => failed(ErrorKind::NotADirectory.into()),
                _ => failed(error),
            })?;
        }
        let folder = place.dir.open_dir(&above).map_err(failed)?;
        Ok(Self { roots, what, path, folder, name })
    }

    /// The error of this call for what the operating system said.
    pub(super) fn failed(&self, error: io::Error) -> Error {
        self.roots.failed(self.what, self.path, &error)
    }

    /// Others changed the file while the call was at work.
    pub(super) fn changed_meanwhile(&self) -> Error {
        let path = self.path;
        let text =
            format!("`{path}` was changed by others meanwhile; nothing was written, try again");
        let error = Error::new(ErrorCode::ToolError, text).with_retryable(true);
        error.with_detail("path", path)
    }

    /// A change would lose something of the file.
    pub(super) fn refused(&self, why: &str) -> Error {
        let text = format!("cannot {} `{}`: {why}; nothing was written", self.what, self.path);
        self.roots.with_facts(Error::new(ErrorCode::ToolDenied, text), self.path)
    }

    /// Whether something is there; a link, a folder or a device is an error.
    pub(super) fn is_there(&self) -> Result<bool> {
        self.looked_at().map(|it| it.is_some())
    }

    fn looked_at(&self) -> Result<Option<Metadata>> {
        match self.folder.symlink_metadata(&self.name) {
            Ok(it) => match irregular_kind(it.file_type()) {
                Some(kind) => Err(self.roots.irregular(self.path, kind)),
                None if it.is_dir() => Err(self.failed(ErrorKind::IsADirectory.into())),
                None => Ok(Some(it)),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Opens what was looked at; another file may stand there by then.
    fn opened(&self, options: &mut OpenOptions) -> Result<Option<Old>> {
        for _ in 0..TRIES {
            let Some(looked_at) = self.looked_at()? else { return Ok(None) };
            if looked_at.mode() & 0o222 == 0 {
                // The superuser could write it: the mark is meant for everybody.
                let mode = looked_at.mode() & 0o7777;
                return Err(self.refused(&format!("it is marked as read-only (mode {mode:04o})")));
            }
            let place = Place { dir: &self.folder, path: (&self.name).into(), names_folder: false };
            let file = place.open(self.roots, self.what, self.path, options)?;
            let metadata = file.metadata().map_err(|error| self.failed(error))?;
            if (metadata.dev(), metadata.ino()) == (looked_at.dev(), looked_at.ino()) {
                return Ok(Some(Old { file, metadata }));
            }
        }
        Err(self.changed_meanwhile())
    }

    /// Opens the file with `options`, of which one is to write: what may not be written is not
    /// replaced either. `None` where nothing is.
    ///
    /// # Errors
    /// What the system says; `tool_denied` where the change could not keep what the file is.
    pub(super) fn open(&self, options: &mut OpenOptions, change: Change) -> Result<Option<Old>> {
        let Some(Old { file, metadata }) = self.opened(options)? else { return Ok(None) };
        if metadata.mode() & 0o6000 != 0 || attributes::has_capabilities(&file) {
            // Its next user would run what the call wrote with the rights of another.
            return Err(self.refused("it runs with the rights of its owner or group (set-user-id)"));
        }
        if change == Change::Replace && metadata.nlink() > 1 {
            let text = format!(
                "it has {} names (hard links), and only this one would get the new content",
                metadata.nlink()
            );
            return Err(self.refused(&text));
        }
        Ok(Some(Old { file, metadata }))
    }
}

impl Old {
    /// Gives a new version all that the old one has beside its content.
    ///
    /// # Errors
    /// `tool_denied` that names what cannot be kept.
    pub(super) fn dress(&self, new: &File, target: &Target<'_>) -> Result<()> {
        attributes::keep(&self.file, &self.metadata, new).map_err(|why| target.refused(&why))
    }
}

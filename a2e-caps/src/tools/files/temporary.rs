//! A new version of a file, made beside it and put in its place whole.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use cap_std::fs::{Dir, Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use nix::libc::{ENOSYS, EOPNOTSUPP, EPERM};

/// Makes two edits of one file follow each other; held for a look at the file and a rename.
static REPLACING: Mutex<()> = Mutex::new(());

/// A file that is written beside its place. Gone when dropped before it got there.
pub(super) struct Temporary<'d> {
    folder: &'d Dir,
    name: Option<PathBuf>,
}

impl<'d> Temporary<'d> {
    /// Writes it to the disk, with the permissions of the file that it may replace.
    pub(super) fn write(folder: &'d Dir, target: &OsStr, content: &[u8]) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let old = folder.symlink_metadata(target).ok().filter(Metadata::is_file);
        if old.is_some() {
            // No other user may read it before it has the permissions of the old file.
            options.mode(0o600);
        }
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
        if let Some(old) = old {
            file.set_permissions(old.permissions())?;
        }
        file.sync_all()?;
        Ok(made)
    }

    /// Puts it where nothing is.
    pub(super) fn create(self, target: &OsStr) -> io::Result<()> {
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

    /// Puts it in the place of a file that is still as it was seen; false when it is not.
    pub(super) fn replace_seen(self, target: &OsStr, seen: &Metadata) -> io::Result<bool> {
        let _guard = REPLACING.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.folder.symlink_metadata(target)?;
        if version(&now) != version(seen) {
            return Ok(false);
        }
        self.moved(target).map(|()| true)
    }

    /// Puts it in the place of what is there.
    pub(super) fn replace(self, target: &OsStr) -> io::Result<()> {
        let _guard = REPLACING.lock().unwrap_or_else(PoisonError::into_inner);
        self.moved(target)
    }

    fn moved(mut self, target: &OsStr) -> io::Result<()> {
        let Some(name) = self.name.take() else { return Ok(()) };
        let moved = self.folder.rename(&name, self.folder, Path::new(target));
        if moved.is_err() {
            self.name = Some(name);
        }
        moved
    }
}

/// What is another when a file was written or replaced.
fn version(it: &Metadata) -> (u64, u64, u64, i64, i64) {
    (it.dev(), it.ino(), it.size(), it.mtime(), it.mtime_nsec())
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

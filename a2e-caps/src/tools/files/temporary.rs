//! A new version of a file, made beside it and put in its place whole.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use a2e_core::Result;
use cap_std::fs::{Dir, File, Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use nix::libc::{ENOSYS, EOPNOTSUPP, EPERM};

use super::target::{Change, Target};

/// Makes two changes of one file follow each other; held for a look at the file and a rename.
static REPLACING: Mutex<()> = Mutex::new(());

/// A file that is written beside its place. Gone when dropped before it got there.
pub(super) struct Temporary<'t> {
    target: &'t Target<'t>,
    beside: Beside<'t>,
    file: File,
}

/// Removes the file of this name when it is dropped.
struct Beside<'t> {
    folder: &'t Dir,
    name: Option<PathBuf>,
}

impl<'t> Temporary<'t> {
    /// Writes it to the disk. Only the host may read what is to replace another file, until it has
    /// the permissions of that one.
    pub(super) fn write(target: &'t Target<'t>, content: &[u8], replaces: bool) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = &target.folder;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        if replaces {
            options.mode(0o600);
        }
        let (mut file, beside) = loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = PathBuf::from(format!(".a2e-{}-{number}.tmp", std::process::id()));
            match folder.open_with(&name, &options) {
                // Left by an earlier process of the same id.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if replaces => {
                    let why = format!("its folder takes no new version of it: {error}");
                    return Err(target.refused(&why));
                }
                Err(error) => return Err(target.failed(error)),
                Ok(file) => break (file, Beside { folder, name: Some(name) }),
            }
        };
        let written = file.write_all(content).and_then(|()| file.sync_all());
        written.map_err(|error| target.failed(error))?;
        Ok(Self { target, beside, file })
    }

    /// Puts it where nothing is.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn create(self) -> Result<()> {
        let target = self.target;
        self.created().map_err(|error| target.failed(error))
    }

    fn created(self) -> io::Result<()> {
        let Some(name) = &self.beside.name else { return Ok(()) };
        let (folder, target) = (&self.target.folder, Path::new(&self.target.name));
        // Unlike a rename, a link fails where something is. The temporary name goes with `self`.
        let linked = folder.hard_link(name, folder, target);
        let Err(error) = &linked else { return Ok(()) };
        if !matches!(error.raw_os_error(), Some(EPERM | EOPNOTSUPP | ENOSYS)) {
            return linked;
        }
        // A file system without links: the name is claimed by an empty file first.
        folder.open_with(target, OpenOptions::new().write(true).create_new(true))?;
        self.beside.moved(target)
    }

    /// Puts it in the place of what is there, with all that the old file has beside its content;
    /// of a file that was `seen` only while it is still that one.
    ///
    /// # Errors
    /// What the system says, `tool_denied` where something cannot be kept, and a retryable error
    /// when the file was changed by others.
    pub(super) fn replace(self, seen: Option<&Metadata>) -> Result<()> {
        let target = self.target;
        let _guard = REPLACING.lock().unwrap_or_else(PoisonError::into_inner);
        match target.open(OpenOptions::new().write(true).read(seen.is_some()), Change::Replace)? {
            Some(old) if seen.is_none_or(|seen| version(seen) == version(&old.metadata)) => {
                old.dress(&self.file, target)?;
            }
            None if seen.is_none() => {}
            _ => return Err(target.changed_meanwhile()),
        }
        self.beside.moved(Path::new(&target.name)).map_err(|error| target.failed(error))
    }
}

impl Beside<'_> {
    fn moved(mut self, target: &Path) -> io::Result<()> {
        let Some(name) = self.name.take() else { return Ok(()) };
        let moved = self.folder.rename(&name, self.folder, target);
        if moved.is_err() {
            self.name = Some(name);
        }
        moved
    }
}

/// What is another when a file was written, replaced or dressed otherwise.
fn version(it: &Metadata) -> (u64, u64, u64, [i64; 4]) {
    let times = [it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec()];
    (it.dev(), it.ino(), it.size(), times)
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name
            && let Err(error) = self.folder.remove_file(name)
        {
            tracing::warn!(name = %name.display(), %error, "temporary file left");
        }
    }
}

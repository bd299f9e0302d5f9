//! The file behind the audit: whole lines only, rotation without a loss.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::open::PathLock;
use super::{AuditConfig, AuditMode};

/// `path.index`, the name of a rotated file.
pub(super) fn rotated(path: &Path, index: u32) -> PathBuf {
    with_suffix(path, &index.to_string())
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// How far a write came.
#[derive(Debug)]
pub(super) struct Progress {
    /// Bytes of the batch that need not be written again.
    pub(super) done: usize,
    /// Why it stopped before the end; none when the file is full and has to be [turned](AuditFile::turn).
    pub(super) error: Option<io::Error>,
}

/// Room that is left for the seal that ends a file.
const SEAL_ROOM: u64 = 256;

/// An audit file that this process alone writes.
#[derive(Debug)]
pub(super) struct AuditFile {
    file: Arc<File>,
    path: PathBuf,
    /// Bytes in the file; only we write it.
    size: u64,
    /// Rotate before passing this size. Raised after a failed rotation, so that it is not tried at each write.
    limit: u64,
    max_bytes: u64,
    backups: u32,
    /// How many rotations went well, and how many did not.
    rotations: (u64, u64),
    /// The last write ended inside a line and could not be taken back.
    is_mid_line: bool,
    /// Whether another process holds the configured path.
    is_beside: bool,
    /// Whether rotated files, and the names of files, must be on the disk.
    is_synced: bool,
    /// The last file that rotation removed, until the thread of the audit closes it.
    removed: Option<File>,
    /// `<path>.lock`, held until the end. A file of its own, because `path` is renamed by rotation.
    _lock: Option<PathLock>,
}

impl AuditFile {
    pub(super) fn new(file: File, path: PathBuf, size: u64, config: &AuditConfig) -> Self {
        let rotates = config.max_bytes > 0 && config.backup_count > 0;
        let max_bytes = if rotates { config.max_bytes.saturating_sub(SEAL_ROOM) } else { u64::MAX };
        Self {
            file: Arc::new(file),
            path,
            size,
            limit: max_bytes,
            max_bytes,
            backups: config.backup_count,
            rotations: (0, 0),
            is_mid_line: false,
            is_beside: false,
            is_synced: config.mode == AuditMode::Sync,
            removed: None,
            _lock: None,
        }
    }

    /// With the lock that makes the path its own.
    pub(super) fn holding(self, lock: PathLock) -> Self {
        Self { _lock: Some(lock), ..self }
    }

    /// As one that writes beside a path that another process holds.
    pub(super) fn beside(self) -> Self {
        Self { is_beside: true, ..self }
    }

    pub(super) fn is_beside(&self) -> bool {
        self.is_beside
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What has to be forced to the disk for all that was written.
    pub(super) fn handle(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Forces the name of the file to the disk.
    pub(super) fn sync_folder(&self) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// A removed file, whose blocks are given back when it is dropped: not where requests wait.
    pub(super) fn take_removed(&mut self) -> Option<File> {
        self.removed.take()
    }

    /// How many rotations went well, and how many did not.
    pub(super) fn rotations(&self) -> (u64, u64) {
        self.rotations
    }

    /// Writes lines until one does not fit.
    ///
    /// After an error the file ends with a whole line: the written part of a broken one is cut off
    /// again. Where even that fails (a device), the next write goes on inside that line.
    pub(super) fn write(&mut self, lines: &[u8]) -> Progress {
        let (done, error) = self.write_whole(self.fitting(lines));
        Progress { done, error }
    }

    /// Writes one line, for which [`SEAL_ROOM`] was kept.
    pub(super) fn write_seal(&mut self, line: &[u8]) -> io::Result<()> {
        let (_, error) = self.write_whole(line);
        error.map_or(Ok(()), Err)
    }

    /// Makes room for at least `wanted` bytes: by rotation, or where that fails in the same file.
    pub(super) fn turn(&mut self, wanted: usize) {
        if let Err(error) = self.rotate() {
            // Better a file that is too large than a record that is lost.
            let more = self.max_bytes.max(wanted as u64);
            self.limit = self.size.saturating_add(more);
            self.rotations.1 += 1;
            tracing::warn!(path = %self.path.display(), %error, "audit file cannot be rotated");
        }
    }

    /// The whole lines at the start of `lines` that the file takes before it must be rotated.
    fn fitting<'a>(&self, lines: &'a [u8]) -> &'a [u8] {
        let first = memchr::memchr(b'\n', lines).map_or(lines.len(), |newline| newline + 1);
        let room = usize::try_from(self.limit.saturating_sub(self.size)).unwrap_or(usize::MAX);
        let end = match lines.get(..room) {
            _ if self.is_mid_line => first,
            None => lines.len(),
            Some(head) => memchr::memrchr(b'\n', head).map_or(0, |newline| newline + 1),
        };
        let end = if end == 0 && self.size == 0 { first } else { end };
        lines.get(..end).unwrap_or(lines)
    }

    /// Writes these whole lines; says how many bytes are done with, and why not all.
    fn write_whole(&mut self, lines: &[u8]) -> (usize, Option<io::Error>) {
        let mut done = 0;
        let error = loop {
            let rest = lines.get(done..).unwrap_or_default();
            if rest.is_empty() {
                break None;
            }
            match (&*self.file).write(rest) {
                Ok(0) => break Some(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(written) => done += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
        };
        let whole = memchr::memrchr(b'\n', lines.get(..done).unwrap_or_default());
        let whole = whole.map_or(0, |newline| newline + 1);
        let torn = done - whole;
        if torn == 0 {
            self.is_mid_line &= done == 0;
        } else if (self.is_mid_line && whole == 0) || self.cut(torn as u64).is_err() {
            self.is_mid_line = true;
        } else {
            self.is_mid_line = false;
            done = whole;
        }
        self.size += done as u64;
        (done, error)
    }

    /// Takes the last bytes back. By the length the file has now: an operator may have emptied it.
    fn cut(&self, bytes: u64) -> io::Result<()> {
        let there = self.file.metadata()?.len();
        self.file.set_len(there.saturating_sub(bytes))
    }

    /// Puts the file aside as `.1` and begins a new one.
    ///
    /// The new file is opened before anything moves, so a failure leaves us with the old one. Older
    /// files move up only as far as the first free number: a rotation that was interrupted costs nothing but
    /// the oldest file, whose time had come.
    fn rotate(&mut self) -> io::Result<()> {
        let next = with_suffix(&self.path, "rotating");
        if next.exists() {
            fs::remove_file(&next)?;
        }
        let file = append_options().create_new(true).open(&next)?;
        if self.is_synced {
            // A later `fdatasync` covers the new file only.
            self.file.sync_data()?;
        }
        let is_taken = |index: &u32| rotated(&self.path, *index).exists();
        let last = (1..self.backups).take_while(is_taken).count();
        let last = u32::try_from(last).unwrap_or(0);
        let oldest = rotated(&self.path, last.saturating_add(1));
        if oldest.exists() {
            // While it is open only its name goes, and to give its blocks back takes 3 ms.
            self.removed = OpenOptions::new()
                .read(true)
                .custom_flags(nix::libc::O_NONBLOCK)
                .open(&oldest)
                .ok();
            // Not left to the rename: ext4 then writes the whole file that takes the name to the disk
            // first, for 15 to 25 ms, and all answers wait meanwhile.
            fs::remove_file(oldest)?;
        }
        for index in (1..=last).rev() {
            fs::rename(rotated(&self.path, index), rotated(&self.path, index + 1))?;
        }
        let aside = rotated(&self.path, 1);
        fs::rename(&self.path, &aside)?;
        if let Err(error) = fs::rename(&next, &self.path) {
            fs::rename(&aside, &self.path)?;
            return Err(error);
        }
        self.file = Arc::new(file);
        self.size = 0;
        self.limit = self.max_bytes;
        self.rotations.0 += 1;
        if self.is_synced
            && let Err(error) = self.sync_folder()
        {
            // The records are safe under one of the names.
            tracing::warn!(path = %self.path.display(), %error, "names of audit files are not synced");
        }
        Ok(())
    }

    /// Whether the path no longer names our file: an operator moved or removed it. Also looks how long
    /// our file is, in case it was emptied.
    pub(super) fn is_moved(&mut self) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        self.size = if ours.is_file() { ours.len() } else { 0 };
        match fs::metadata(&self.path) {
            Ok(there) => Ok((there.dev(), there.ino()) != (ours.dev(), ours.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Goes on in the file that the path names now.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let file = append_options().create(true).open(&self.path)?;
        if self.is_synced {
            self.file.sync_data()?;
            self.sync_folder()?;
        }
        self.file = Arc::new(file);
        self.size = self.file.metadata()?.len();
        self.is_mid_line = false;
        tracing::warn!(path = %self.path.display(), "audit file was moved away; a new one is begun");
        Ok(())
    }
}

/// Append only; for the owner's eyes, because ids of sessions and agents stand in it.
pub(super) fn append_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600);
    options
}

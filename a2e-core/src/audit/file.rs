//! The file behind the audit: who may write it, whole lines only, rotation without a loss.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::AuditConfig;
use super::scan::Scan;

/// How much of an existing file is read at start to find the last `seq`, holes and a torn tail.
const TAIL: u64 = 16 * 1024 * 1024;

/// How many names beside a taken path are tried, before the log gives up.
const MAX_BESIDE: u32 = 1000;

/// `path.index`, the name of a rotated file.
pub(super) fn rotated(path: &Path, index: u32) -> PathBuf {
    with_suffix(path, &index.to_string())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// What was found when the file was opened.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The first `seq` to give.
    pub(super) next_seq: u64,
    /// What was wrong, for people.
    pub(super) problems: Vec<String>,
}

/// How far a write came.
#[derive(Debug)]
pub(super) struct Progress {
    /// Bytes of the batch that need not be written again.
    pub(super) done: usize,
    /// Why it stopped before the end.
    pub(super) error: Option<io::Error>,
}

/// An audit file that this process alone writes.
#[derive(Debug)]
pub(super) struct AuditFile {
    file: File,
    path: PathBuf,
    /// Bytes in the file; only we write it.
    size: u64,
    /// Rotate before passing this size. Raised after a failed rotation, so that it is not tried at each write.
    limit: u64,
    max_bytes: u64,
    backups: u32,
    rotations: u64,
    /// The last write ended inside a line and could not be taken back.
    is_mid_line: bool,
    /// Whether another process holds the configured path.
    is_beside: bool,
    /// `<path>.lock`, held until the end. A file of its own, because `path` is renamed by rotation.
    _lock: Option<File>,
}

impl AuditFile {
    /// Opens the configured path, or, when a live host holds it, one beside it.
    pub(super) fn open(config: &AuditConfig) -> io::Result<(Self, Found)> {
        let path = &config.path;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent)?;
        }
        match fs::metadata(path) {
            Ok(there) if there.file_type().is_char_device() => return Self::open_device(path),
            Ok(there) if !there.is_file() => {
                return Err(io::Error::other("is neither a file nor a character device"));
            }
            _ => {}
        }
        match take_lock(path)? {
            Some(lock) => Self::open_own(config, lock),
            None => Self::open_beside(config),
        }
    }

    fn new(file: File, path: PathBuf, size: u64, config: &AuditConfig) -> Self {
        let rotates = config.max_bytes > 0 && config.backup_count > 0;
        let max_bytes = if rotates { config.max_bytes } else { u64::MAX };
        Self {
            file,
            path,
            size,
            limit: max_bytes,
            max_bytes,
            backups: config.backup_count,
            rotations: 0,
            is_mid_line: false,
            is_beside: false,
            _lock: None,
        }
    }

    /// A device such as `/dev/null`: no lock, no rotation, nothing to read back.
    fn open_device(path: &Path) -> io::Result<(Self, Found)> {
        let file = OpenOptions::new().append(true).open(path)?;
        let config = AuditConfig { max_bytes: 0, ..AuditConfig::new(path) };
        let found = Found { next_seq: 1, problems: Vec::new() };
        Ok((Self::new(file, path.to_owned(), 0, &config), found))
    }

    fn open_own(config: &AuditConfig, lock: File) -> io::Result<(Self, Found)> {
        let path = &config.path;
        let mut scan = Scan::default();
        let mut unread = None;
        if let Err(error) = scan.add(&rotated(path, 1), TAIL)
            && error.kind() != io::ErrorKind::NotFound
        {
            unread = Some(format!("{}: {error}", rotated(path, 1).display()));
        }
        match scan.add(path, TAIL) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
        let mut found = Found { next_seq: scan.next_seq(), problems: problems_in(&scan) };
        found.problems.extend(unread);
        let file = append_options().create(true).open(path)?;
        if let Some(torn) = scan.torn_tail.filter(|torn| torn.path == *path) {
            let cut = file.metadata()?.len().saturating_sub(torn.offset);
            file.set_len(torn.offset)?;
            found.problems.push(format!("{}: cut a torn line of {cut} bytes", path.display()));
        }
        let size = file.metadata()?.len();
        Ok((Self { _lock: Some(lock), ..Self::new(file, path.clone(), size, config) }, found))
    }

    /// A new file `<path>.<pid>`. It is created, never continued, so it needs no lock; a name that
    /// is there already, or that rotation could give to another file, gets a further number.
    fn open_beside(config: &AuditConfig) -> io::Result<(Self, Found)> {
        let pid = std::process::id();
        let plain = Some(rotated(&config.path, pid)).filter(|_| pid > config.backup_count);
        let numbered =
            (2..MAX_BESIDE).map(|number| with_suffix(&config.path, &format!("{pid}-{number}")));
        for path in plain.into_iter().chain(numbered) {
            match append_options().create_new(true).open(&path) {
                Ok(file) => {
                    let found = Found { next_seq: 1, problems: Vec::new() };
                    return Ok((
                        Self { is_beside: true, ..Self::new(file, path, 0, config) },
                        found,
                    ));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("another host holds it, and every name beside it is taken"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_beside(&self) -> bool {
        self.is_beside
    }

    pub(super) fn rotations(&self) -> u64 {
        self.rotations
    }

    /// Writes lines, rotating between them where the file would pass its limit.
    ///
    /// After an error the file ends with a whole line: what was written of a broken one is cut
    /// off again. Where even that fails (a device), the next write goes on inside that line.
    pub(super) fn write(&mut self, lines: &[u8]) -> Progress {
        let mut done = 0;
        while let Some(rest) = lines.get(done..).filter(|rest| !rest.is_empty()) {
            let fitting = self.fitting(rest);
            if fitting.is_empty() {
                if let Err(error) = self.rotate() {
                    // Better a file that is too large than a record that is lost.
                    let more = self.max_bytes.max(rest.len() as u64);
                    self.limit = self.size.saturating_add(more);
                    tracing::warn!(path = %self.path.display(), %error, "audit file cannot be rotated");
                }
                continue;
            }
            let (written, error) = self.write_whole(fitting);
            done += written;
            if error.is_some() {
                return Progress { done, error };
            }
        }
        Progress { done, error: None }
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
            match self.file.write(rest) {
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
    /// files move up only as far as the first free number: a rotation that was interrupted costs nothing.
    fn rotate(&mut self) -> io::Result<()> {
        let next = with_suffix(&self.path, "new");
        let file = append_options().create(true).truncate(false).open(&next)?;
        let is_taken = |index: &u32| rotated(&self.path, *index).exists();
        let last = (1..self.backups).take_while(is_taken).count();
        for index in (1..=u32::try_from(last).unwrap_or(0)).rev() {
            fs::rename(rotated(&self.path, index), rotated(&self.path, index + 1))?;
        }
        let aside = rotated(&self.path, 1);
        fs::rename(&self.path, &aside)?;
        if let Err(error) = fs::rename(&next, &self.path) {
            fs::rename(&aside, &self.path)?;
            return Err(error);
        }
        self.file = file;
        self.size = 0;
        self.limit = self.max_bytes;
        self.rotations += 1;
        Ok(())
    }

    /// Opens the path again if it no longer names our file: an operator moved or removed it.
    pub(super) fn follow(&mut self) -> io::Result<()> {
        let ours = self.file.metadata()?;
        self.size = if ours.is_file() { ours.len() } else { 0 };
        match fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.file = append_options().create(true).open(&self.path)?;
        self.size = self.file.metadata()?.len();
        self.is_mid_line = false;
        tracing::warn!(path = %self.path.display(), "audit file was moved away; a new one is begun");
        Ok(())
    }
}

/// Append only; for the owner's eyes, because ids of sessions and agents stand in it.
fn append_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600);
    options
}

/// The lock of this path; none when a live host holds it, or where the file system has no locks.
fn take_lock(path: &Path) -> io::Result<Option<File>> {
    let lock = append_options().create(true).open(with_suffix(path, "lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            tracing::warn!(path = %path.display(), %error, "audit file cannot be locked");
            Ok(None)
        }
    }
}

fn problems_in(scan: &Scan) -> Vec<String> {
    let holes = scan.holes.iter().map(|hole| {
        format!("{}: seq {} is followed by {}", hole.path.display(), hole.after, hole.next)
    });
    let lines = scan.bad_lines.iter().map(|line| {
        format!("{}: the line at byte {} {}", line.path.display(), line.offset, line.problem)
    });
    holes.chain(lines).collect()
}

//! Which file an audit log gets: the configured one, or one beside it; and what stands there already.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::AuditConfig;
use super::file::{AuditFile, append_options, rotated, with_suffix};
use super::scan::Scan;

/// How much of an existing file is read at start to find the last `seq`, holes and a torn tail.
const TAIL: u64 = 16 * 1024 * 1024;

/// How many names beside a taken path are tried, before the log gives up.
const MAX_BESIDE: u32 = 1000;

/// What was found when the file was opened.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The first `seq` to give.
    pub(super) next_seq: u64,
    /// What was wrong, for people.
    pub(super) problems: Vec<String>,
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
        match PathLock::take(path)? {
            Some(lock) => Self::open_own(config, lock),
            None => Self::open_beside(config),
        }
    }

    /// A device such as `/dev/null`: no lock, no rotation, nothing to read back.
    fn open_device(path: &Path) -> io::Result<(Self, Found)> {
        let file = OpenOptions::new().append(true).open(path)?;
        let config = AuditConfig { max_bytes: 0, ..AuditConfig::new(path) };
        let found = Found { next_seq: 1, problems: Vec::new() };
        Ok((Self::new(file, path.to_owned(), 0, &config), found))
    }

    fn open_own(config: &AuditConfig, lock: PathLock) -> io::Result<(Self, Found)> {
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
        Ok((Self::new(file, path.clone(), size, config).holding(lock), found))
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
                    return Ok((Self::new(file, path, 0, config).beside(), found));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("another host holds it, and every name beside it is taken"))
    }
}

/// The lock of a path, until dropped.
#[derive(Debug)]
pub(super) struct PathLock(File);

impl PathLock {
    /// None when a live host holds it, or where the file system has no locks.
    fn take(path: &Path) -> io::Result<Option<Self>> {
        let lock = append_options().create(true).open(with_suffix(path, "lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self(lock))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                tracing::warn!(path = %path.display(), %error, "audit file cannot be locked");
                Ok(None)
            }
        }
    }
}

impl Drop for PathLock {
    /// Closing is not enough: a child that another thread is just starting has the file open, too,
    /// until its program begins.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "audit file cannot be unlocked");
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

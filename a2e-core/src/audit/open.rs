//! Opens the file of an audit log, the configured one or one beside it, and reads its existing records.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::AuditConfig;
use super::file::{AuditFile, append_options, rotated, with_suffix};
use super::scan::Scan;
use super::seal::{self, Block, Digest};

/// How much of an existing file is read at start to find the last `seq`, holes and a torn tail.
const TAIL: u64 = 16 * 1024 * 1024;

/// How many names beside a taken path are tried, before the log gives up.
const MAX_BESIDE: u32 = 1000;

/// The state of the existing files when the log was opened.
#[derive(Debug)]
pub(super) struct Existing {
    /// The first `seq` to give.
    pub(super) next_seq: u64,
    /// The lines behind the last seal; none where nothing is sealed.
    pub(super) block: Option<Block>,
    /// Their problems, for people.
    pub(super) problems: Vec<String>,
}

impl AuditFile {
    /// Opens the configured path, or, when a live host holds it, one beside it.
    pub(super) fn open(config: &AuditConfig) -> io::Result<(Self, Existing)> {
        let path = &config.path;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty())
            && !parent.is_dir()
        {
            // Made in silence, a slip in the path would hide the records.
            let text = format!("the folder {} is missing", parent.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
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
    fn open_device(path: &Path) -> io::Result<(Self, Existing)> {
        let file = OpenOptions::new().append(true).open(path)?;
        let config = AuditConfig { max_bytes: 0, ..AuditConfig::new(path) };
        let found = Existing { next_seq: 1, block: None, problems: Vec::new() };
        Ok((Self::new(file, path.to_owned(), 0, &config), found))
    }

    fn open_own(config: &AuditConfig, lock: PathLock) -> io::Result<(Self, Existing)> {
        let path = &config.path;
        let mut scan = Scan::default();
        let mut unread = None;
        for index in (1..=back_to_a_seal(path, config.backup_count)).rev() {
            let older = rotated(path, index);
            if let Err(error) = scan.add(&older, TAIL)
                && error.kind() != io::ErrorKind::NotFound
            {
                unread = Some(format!("{}: {error}", older.display()));
            }
        }
        match scan.add(path, TAIL) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
        let block = Some(scan.block());
        let mut found = Existing { next_seq: scan.next_seq(), block, problems: problems_in(&scan) };
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
    fn open_beside(config: &AuditConfig) -> io::Result<(Self, Existing)> {
        let pid = std::process::id();
        let plain = Some(rotated(&config.path, pid)).filter(|_| pid > config.backup_count);
        let numbered =
            (2..MAX_BESIDE).map(|number| with_suffix(&config.path, &format!("{pid}-{number}")));
        for path in plain.into_iter().chain(numbered) {
            match append_options().create_new(true).open(&path) {
                Ok(file) => {
                    let block = Some(Block::after(Digest::NONE));
                    let found = Existing { next_seq: 1, block, problems: Vec::new() };
                    return Ok((Self::new(file, path, 0, config).beside(), found));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("another host holds it, and every name beside it is taken"))
    }
}

/// How many rotated files reach back to the last seal: the lines behind it are sealed next. At least
/// one, for its last `seq`; together at most [`TAIL`] bytes, without a seal in them.
fn back_to_a_seal(path: &Path, backups: u32) -> u32 {
    let mut bytes = 0;
    let mut count = 0;
    let mut file = path.to_owned();
    while count < backups.max(1) {
        let (length, has_seal) = look_for_seal(&file).unwrap_or((0, false));
        bytes += length;
        if has_seal || bytes >= TAIL {
            break;
        }
        count += 1;
        // One may be missing, where a rotation was interrupted.
        file = rotated(path, count);
    }
    count.max(1)
}

/// How long the file is, and whether a line in the last [`TAIL`] bytes of it begins like a seal.
fn look_for_seal(path: &Path) -> io::Result<(u64, bool)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    // From the end in steps: the last seal is near.
    let mut end = length;
    let mut step = Vec::new();
    while end > length.saturating_sub(TAIL) {
        let start = end.saturating_sub(SEEK_STEP);
        file.seek(SeekFrom::Start(start))?;
        step.clear();
        // A little over, for what begins in this step and ends in the one behind it.
        let size = end - start + seal::PREFIX.len() as u64;
        (&mut file).take(size).read_to_end(&mut step)?;
        let is_there = memchr::memmem::find_iter(&step, seal::PREFIX).any(|place| {
            let before = place.checked_sub(1).and_then(|before| step.get(before));
            before.map_or(start == 0, |byte| *byte == b'\n')
        });
        if is_there {
            return Ok((length, true));
        }
        // One less, so that the newline before a line is looked at with it.
        end = if start == 0 { 0 } else { start + 1 };
    }
    Ok((length, false))
}

/// How much is read at once in search of the last seal.
const SEEK_STEP: u64 = 256 * 1024;

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

//! The log that the dispatcher appends to.

use super::file::AuditFile;
use super::queue::Queue;
use super::{AuditConfig, AuditMode, AuditRecord, AuditStatus};
use crate::{Error, Result};

/// Where the host's audit records go. Shared by reference; all calls are safe from any thread.
///
/// What cannot be written stays in memory, up to 1 MiB; beyond that records are dropped and
/// counted. Writing is tried again, at most every 100 ms, when the next record comes; the dropped
/// ones are then named by a line `{"gap":{"first":…,"last":…,"lost":…,"reason":"…"},…}` in their
/// place. A line that was written in part is cut off again, so the file always ends with a whole one.
///
/// The file is followed: once a second the log looks whether its path was moved or removed, and
/// then begins a new file there.
///
/// The host must ignore or handle `SIGXFSZ` if a file size limit may be set for it: the system's
/// default for that signal is to end the process, before we learn of the failed write.
#[derive(Debug)]
pub struct AuditLog {
    queue: Option<Queue>,
}

impl AuditLog {
    /// A log that records nothing.
    pub fn off() -> Self {
        Self { queue: None }
    }

    /// Opens the audit file, creating it and its parent folders.
    ///
    /// If another live host holds the path, the log goes to `<path>.<pid>` and says so. A torn last
    /// line is cut; holes in `seq` and bad lines of the existing files are reported.
    ///
    /// # Errors
    /// When the file cannot be opened or read, or the mode is not served yet.
    pub fn open(config: AuditConfig) -> Result<Self> {
        match config.mode {
            AuditMode::Off => return Ok(Self::off()),
            AuditMode::Write => {}
            AuditMode::Buffered | AuditMode::Sync => {
                return Err(Error::runtime(format!(
                    "audit mode `{}` is not served yet; use `write` or `off`",
                    config.mode.as_str()
                )));
            }
        }
        let path = config.path.display();
        let (file, found) = AuditFile::open(&config)
            .map_err(|error| Error::runtime(format!("audit file {path}: {error}")))?;
        if file.is_beside() {
            let beside = file.path().display();
            tracing::warn!(%path, %beside, "another host holds the audit file; writing beside it");
        }
        for problem in &found.problems {
            tracing::warn!("audit: {problem}");
        }
        Ok(Self { queue: Some(Queue::new(&config, file, found.next_seq, found.problems)?) })
    }

    /// Adds a record to what waits to be written. Cheap; never fails, never waits for the file
    /// unless the buffer is full.
    pub fn append(&self, record: &AuditRecord<'_>) {
        if let Some(queue) = &self.queue {
            queue.append(record);
        }
    }

    /// Returns when every record appended before the call is in the kernel, in one write, or when
    /// that failed; cheap when nothing waits.
    ///
    /// False means that a record is not in the file and no gap record names it yet. The caller
    /// goes on either way, unless it was told to refuse unaudited work.
    pub fn commit(&self) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.commit(false))
    }

    /// Like [`AuditLog::commit`], and tries even if the last write failed a moment ago: for the
    /// end of a host, and for a timer of a host that is idle.
    pub fn commit_now(&self) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.commit(true))
    }

    /// How the audit stands. Does not wait for a write that is under way.
    pub fn status(&self) -> AuditStatus {
        self.queue.as_ref().map_or_else(
            || AuditStatus {
                mode: AuditMode::Off,
                path: None,
                is_beside: false,
                written: 0,
                pending: 0,
                lost: 0,
                failing: None,
                rotations: 0,
                failed_rotations: 0,
                found: Vec::new(),
            },
            Queue::status,
        )
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        if !self.commit_now() {
            tracing::error!(status = ?self.status(), "audit ends with records that are not written");
        }
    }
}

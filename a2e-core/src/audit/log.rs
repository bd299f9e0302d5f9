//! The audit log, as the host uses it.

use std::sync::Arc;

use super::file::AuditFile;
use super::queue::Queue;
use super::worker::Worker;
use super::{AuditConfig, AuditMode, AuditRecord, AuditStatus, OnError};
use crate::{Error, Result};

/// Where the host's audit records go. Shared by reference; all calls are safe from any thread.
///
/// Records that cannot be written stay in memory, up to about 1 MiB of lines; beyond that they are
/// dropped and counted. Writing is tried again every 100 ms; the dropped
/// ones are then named by a line `{"gap":{"first":…,"last":…,"lost":…,"reason":"…"},…}` in their
/// place. A line that was written in part is cut off again, so the file always ends with a whole one.
///
/// The file is followed: with each seal the log looks whether its path was moved or removed, and
/// then begins a new file there; the moved file ends with its seal.
///
/// The host must ignore or handle `SIGXFSZ` if a file size limit may be set for it: the system's
/// default for that signal is to end the process, before we learn of the failed write.
#[derive(Debug)]
pub struct AuditLog {
    queue: Option<Arc<Queue>>,
    worker: Option<Worker>,
}

/// The result of [`AuditLog::begin_commit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// As safe as the mode has it; false when that failed.
    Done(bool),
    /// On its way to the disk; ask [`AuditLog::until_durable`] for this `seq`.
    Later(u64),
}

impl AuditLog {
    /// A log that records nothing.
    pub fn off() -> Self {
        Self { queue: None, worker: None }
    }

    /// Opens the audit file, creating it and its parent folders, and starts the log's thread.
    ///
    /// If another live host holds the path, the log goes to `<path>.<pid>` and says so. A torn last
    /// line is cut; holes in `seq` and bad lines of the existing files are reported.
    ///
    /// # Errors
    /// When the file cannot be opened or read, or the thread cannot be started.
    pub fn open(config: AuditConfig) -> Result<Self> {
        if config.mode == AuditMode::Off {
            return Ok(Self::off());
        }
        let path = config.path.display();
        let failed = |error| Error::runtime(format!("audit file {path}: {error}"));
        let (file, found) = AuditFile::open(&config).map_err(failed)?;
        if config.mode == AuditMode::Sync {
            // Where that is not possible, as on a device, the start fails and not each request.
            file.handle().sync_data().and_then(|()| file.sync_folder()).map_err(failed)?;
        }
        if file.is_beside() {
            let beside = file.path().display();
            tracing::warn!(%path, %beside, "another host holds the audit file; writing beside it");
        }
        for problem in &found.problems {
            tracing::warn!("audit: {problem}");
        }
        let queue = Arc::new(Queue::new(&config, file, found)?);
        let worker = Worker::start(&queue)?;
        Ok(Self { queue: Some(queue), worker: Some(worker) })
    }

    /// Adds a record to those that wait to be written. Cheap; never fails. True when the buffer is half full
    /// and a commit is due.
    ///
    /// The caller may hold locks. When it was told that a commit is due, it lets go of them and then calls
    /// [`write_due`](Self::write_due) or a commit. Only where the buffer fills up all the same does `append`
    /// itself write the file; in mode `buffered` it counts the record as lost.
    ///
    /// ```
    /// # use a2e_core::audit::{AuditLog, AuditRecord};
    /// # use std::sync::Mutex;
    /// fn end(outbox: &Mutex<Vec<u8>>, log: &AuditLog, record: &AuditRecord<'_>, answer: &[u8]) {
    ///     let mut lines = outbox.lock().unwrap();
    ///     let is_due = log.append(record);
    ///     lines.extend_from_slice(answer);
    ///     drop(lines);
    ///     if is_due {
    ///         log.write_due();
    ///     }
    /// }
    /// ```
    pub fn append(&self, record: &AuditRecord<'_>) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.append(record))
    }

    /// Whether a thread that may wait for the disk should call [`write_due`](Self::write_due) before it
    /// adds more.
    pub(crate) fn is_due(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.is_due())
    }

    /// Makes room in the buffer: writes the waiting records to the file, in every mode and without
    /// `fdatasync`. False when that failed. May wait for the disk, so the caller holds no lock.
    pub fn write_due(&self) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.commit(false))
    }

    /// Returns when every record appended before the call is as safe as the mode has it, or when
    /// that failed; cheap when nothing waits. Calls at the same time share their writes. In mode `sync` it waits for the disk, together with
    /// other commits; in mode `buffered` for nothing.
    ///
    /// False means that a record is not there and no gap record names it yet. The caller
    /// goes on either way, unless it was told to refuse unaudited work.
    pub fn commit(&self) -> bool {
        match (&self.queue, self.begin_commit()) {
            (Some(queue), Commit::Later(_)) => queue.sync(false),
            (_, Commit::Done(is_safe)) => is_safe,
            (None, Commit::Later(_)) => true,
        }
    }

    /// As [`AuditLog::commit`], but never waits for the disk.
    pub(crate) fn begin_commit(&self) -> Commit {
        let Some(queue) = &self.queue else { return Commit::Done(true) };
        match queue.mode {
            AuditMode::Off => Commit::Done(true),
            AuditMode::Write => Commit::Done(queue.commit(false)),
            AuditMode::Buffered => {
                if queue.settled() < queue.appended() {
                    queue.bell.ring_for_flush(queue.is_filling());
                }
                Commit::Done(!queue.is_failing())
            }
            AuditMode::Sync => {
                let last = queue.appended();
                if queue.durable.reached() >= last {
                    return Commit::Done(true);
                }
                queue.bell.ring();
                Commit::Later(last)
            }
        }
    }

    /// Waits, without a thread, until this `seq` is on the disk. False when that failed, or took 30 s.
    pub(crate) async fn until_durable(&self, seq: u64) -> bool {
        match &self.queue {
            Some(queue) => queue.until_durable(seq).await,
            None => true,
        }
    }

    /// Writes, syncs (in mode `sync`) and seals everything now, even if the last write failed a
    /// moment ago: for the end of a host. Waits for the disk.
    pub fn commit_now(&self) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.finish())
    }

    /// Whether a request whose record cannot be kept is to be refused.
    pub(crate) fn refuses(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.on_error == OnError::Refuse)
    }

    /// Whether requests are to be refused now, before they do anything: the last write or sync failed.
    pub(crate) fn refuses_now(&self) -> bool {
        let is_failing = |queue: &Arc<Queue>| queue.is_failing() || queue.durable.is_failing();
        self.refuses() && self.queue.as_ref().is_some_and(is_failing)
    }

    /// How the audit stands. Does not wait for a write that is under way.
    pub fn status(&self) -> AuditStatus {
        let status = |queue: &Arc<Queue>| queue.status();
        self.queue.as_ref().map_or_else(AuditStatus::off, status)
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        drop(self.worker.take());
        if !self.commit_now() {
            tracing::error!(status = ?self.status(), "audit ends with records that are not written");
        }
    }
}

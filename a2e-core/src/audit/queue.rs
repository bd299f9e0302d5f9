//! The records between `append` and the file: a buffer in front, and one writer behind it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::file::AuditFile;
use super::open::Existing;
use super::record::{AuditRecord, Gap, MAX_LINE, pack};
use super::seal::Sealer;
use super::sync::Durable;
use super::worker::Bell;
use super::writer::FileWriter;
use super::{AuditConfig, AuditMode, AuditStatus, OnError, SessionIdSource};
use crate::protocol::SessionId;
use crate::sync::Mutex;
use crate::{Result, Time};

/// Bytes of packed records in the front, which make two to three times as many in the file. Beyond it, by one
/// record at most, records are dropped and named by a gap record. As much again may be on its way to the file.
const MAX_BUFFER: usize = 384 * 1024;

/// From this many on a commit is due, see [`Queue::append`]. The other half of the buffer is for the records
/// that come before the callers have let go of their locks.
const DUE: usize = MAX_BUFFER / 2;

/// Mode `buffered`: from this many on the flush does not wait for its time, so that no commit gets due.
const FILLING: usize = MAX_BUFFER / 4;

/// After a failed write, how long no other is tried.
pub(super) const RETRY_US: u64 = 100_000;

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) mode: AuditMode,
    pub(super) on_error: OnError,
    opened: OpenedLog,
    session_ids: SessionIds,
    /// Guards the records not yet taken by the writer. Held for one record or one swap, never over I/O.
    pub(super) front: Mutex<QueueHead>,
    /// Guards the file. Its holder writes everything that waits.
    pub(super) writer: Mutex<FileWriter>,
    /// The lines that are written and not sealed; none on a device.
    pub(super) sealer: Option<Sealer>,
    /// The lines that are on the disk, in mode `sync`.
    pub(super) durable: Durable,
    /// Wakes the thread of the audit.
    pub(super) bell: Bell,
    pub(super) position: Position,
    pub(super) failure: Failure,
    pub(super) counts: Counts,
}

/// The file as it was opened, for the status.
#[derive(Debug)]
struct OpenedLog {
    path: PathBuf,
    is_beside: bool,
    problems: Vec<String>,
    /// The first `seq` that this log gives.
    first: u64,
}

#[derive(Debug)]
struct SessionIds {
    source: SessionIdSource,
    /// The id of records without a session.
    own: String,
}

/// How far the records have come.
#[derive(Debug)]
pub(super) struct Position {
    /// Bytes of packed records in the front.
    pub(super) waiting: AtomicUsize,
    /// The last `seq` given.
    appended: AtomicU64,
    /// Every `seq` up to this one is in the file, or named by a gap record there.
    pub(super) settled: AtomicU64,
    /// The latest time that a record brought, on the monotonic scale.
    pub(super) now_us: AtomicU64,
}

/// The failure of the last write, while it lasts.
#[derive(Debug, Default)]
pub(super) struct Failure {
    pub(super) is_lasting: AtomicBool,
    /// No write before this time.
    pub(super) retry_us: AtomicU64,
    /// Guards the text of the failure.
    pub(super) text: Mutex<Option<String>>,
}

/// Counters for the status.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Records that are in the file.
    pub(super) written: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) seals: AtomicU64,
    pub(super) rotations: AtomicU64,
    pub(super) failed_rotations: AtomicU64,
}

/// The records that wait for the writer.
#[derive(Debug)]
pub(super) struct QueueHead {
    pub(super) packed: Vec<u8>,
    /// The records that were dropped after them.
    pub(super) gap: Option<Gap>,
}

impl Queue {
    pub(super) fn new(config: &AuditConfig, file: AuditFile, existing: Existing) -> Result<Self> {
        let last = existing.next_seq.saturating_sub(1);
        Ok(Self {
            mode: config.mode,
            on_error: config.on_error(),
            opened: OpenedLog {
                path: file.path().to_owned(),
                is_beside: file.is_beside(),
                problems: existing.problems,
                first: existing.next_seq,
            },
            session_ids: SessionIds {
                source: config.session_id_source.clone(),
                own: random_uuid()?,
            },
            front: Mutex::new(QueueHead { packed: Vec::with_capacity(2 * MAX_LINE), gap: None }),
            writer: Mutex::new(FileWriter::new(file, last)),
            sealer: existing.block.map(Sealer::new),
            durable: Durable::new(last),
            bell: Bell::default(),
            position: Position {
                waiting: AtomicUsize::new(0),
                appended: AtomicU64::new(last),
                settled: AtomicU64::new(last),
                now_us: AtomicU64::new(0),
            },
            failure: Failure::default(),
            counts: Counts::default(),
        })
    }

    /// Adds a record; true when a commit is due. It writes only where the buffer is full all the same.
    pub(super) fn append(&self, record: &AuditRecord<'_>) -> bool {
        let mut front = self.front.lock();
        // Mode `buffered` promises no record: a disk that stalls holds up nobody there.
        while front.is_full() && !self.must_wait() && self.mode != AuditMode::Buffered {
            drop(front);
            let is_written = self.commit(false);
            front = self.front.lock();
            if !is_written {
                break;
            }
        }
        // Only under the lock of the front, so that `seq` follows the order of the lines.
        let seq = self.position.appended.load(Ordering::Relaxed).saturating_add(1);
        self.position.appended.store(seq, Ordering::Release);
        let now_us = record.ended.mono_us().max(self.now_us());
        self.position.now_us.store(now_us, Ordering::Relaxed);
        if front.is_full() {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            front.lose(seq, record.ended);
        } else {
            pack(&mut front.packed, record, self.session_ids.of(record));
            self.position.waiting.store(front.packed.len(), Ordering::Relaxed);
        }
        front.packed.len() >= DUE && !self.must_wait()
    }

    /// Whether a thread that may wait for the disk should write before it adds more.
    pub(super) fn is_due(&self) -> bool {
        self.position.waiting.load(Ordering::Relaxed) >= DUE && !self.must_wait()
    }

    /// The id that stands in records without a session.
    pub(super) fn own_id(&self) -> &str {
        &self.session_ids.own
    }

    /// The last `seq` given.
    pub(super) fn appended(&self) -> u64 {
        self.position.appended.load(Ordering::Acquire)
    }

    /// The last `seq` that is in the file.
    pub(super) fn settled(&self) -> u64 {
        self.position.settled.load(Ordering::Acquire)
    }

    pub(super) fn now_us(&self) -> u64 {
        self.position.now_us.load(Ordering::Relaxed)
    }

    /// Whether mode `buffered` should flush at once.
    pub(super) fn is_filling(&self) -> bool {
        self.position.waiting.load(Ordering::Relaxed) >= FILLING
    }

    /// Whether the last write failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failure.is_lasting.load(Ordering::Acquire)
    }

    /// Whether a write failed a moment ago.
    pub(super) fn must_wait(&self) -> bool {
        self.is_failing() && self.now_us() < self.failure.retry_us.load(Ordering::Relaxed)
    }

    pub(super) fn status(&self) -> AuditStatus {
        let Self { opened, counts, .. } = self;
        let written = counts.written.load(Ordering::Relaxed);
        let lost = counts.lost.load(Ordering::Relaxed);
        let given = self.appended().saturating_add(1) - opened.first;
        AuditStatus {
            mode: self.mode,
            on_error: self.on_error,
            path: Some(opened.path.clone()),
            is_beside: opened.is_beside,
            written,
            pending: given.saturating_sub(written).saturating_sub(lost),
            lost,
            unsynced: self.durable.unsynced(),
            seals: counts.seals.load(Ordering::Relaxed),
            failing: self.failure.text.lock().clone().or_else(|| self.durable.failure()),
            rotations: counts.rotations.load(Ordering::Relaxed),
            failed_rotations: counts.failed_rotations.load(Ordering::Relaxed),
            found: opened.problems.clone(),
        }
    }
}

impl SessionIds {
    fn of<'a>(&'a self, record: &AuditRecord<'a>) -> &'a str {
        match &self.source {
            SessionIdSource::HostId(host) => host,
            SessionIdSource::Uuid if record.session_id.is_empty() => &self.own,
            SessionIdSource::Uuid => record.session_id,
        }
    }
}

impl QueueHead {
    fn is_full(&self) -> bool {
        self.gap.is_some() || self.packed.len() >= MAX_BUFFER
    }

    fn lose(&mut self, seq: u64, ended: Time) {
        let first = self.gap.map_or(seq, |gap| gap.first);
        self.gap = Some(Gap { first, last: seq, ended });
    }
}

/// A random UUID, version 4, with dashes.
fn random_uuid() -> Result<String> {
    let mut hex = SessionId::random()?.to_string();
    hex.replace_range(12..13, "4");
    hex.replace_range(16..17, "a");
    for dash in [20, 16, 12, 8] {
        hex.insert(dash, '-');
    }
    Ok(hex)
}

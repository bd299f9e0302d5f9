//! The records between `append` and the file: a shared buffer, and one writer at a time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::file::AuditFile;
use super::place::Found;
use super::record::{
    AuditRecord, Forms, Gap, MAX_LINE, MAX_PACKED, Unpacked, pack, push_gap, push_record,
};
use super::scan::verify_line;
use super::seal::{Block, Sealer};
use super::sync::Durable;
use super::worker::Bell;
use super::{AuditConfig, AuditMode, AuditStatus, OnError, SessionIdSource};
use crate::protocol::SessionId;
use crate::{Result, Time};

/// Bytes of packed records that wait in memory, which make two to three times as many in the file; beyond
/// it records are dropped and named by a gap record. As much again may be on its way to the file.
const MAX_BUFFER: usize = 384 * 1024;

/// Mode `buffered`: at a quarter of that the timer is not waited for, so that no request meets a full buffer.
const FILLING: usize = MAX_BUFFER / 4;

/// Bytes of lines that are made and written at once.
const BATCH: usize = 128 * 1024;

/// After a failed write, how long no other is tried.
pub(super) const RETRY_US: u64 = 100_000;

/// How often we look whether the path still names our file.
const FOLLOW_US: u64 = 1_000_000;

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) mode: AuditMode,
    pub(super) on_error: OnError,
    path: PathBuf,
    is_beside: bool,
    session: SessionIdSource,
    /// Stands for the session where a record has none.
    own_id: String,
    found: Vec<String>,
    /// Guards the records not yet taken by a writer. Held for one record or one swap, never over I/O.
    front: Mutex<Front>,
    /// Guards the file; whoever holds it writes everything that waits.
    writer: Mutex<Writer>,
    /// What is written and not sealed; none on a device.
    pub(super) sealer: Option<Sealer>,
    /// What is on the disk, in mode `sync`.
    pub(super) durable: Durable,
    /// Wakes the thread of the audit.
    pub(super) bell: Bell,
    /// Bytes of packed records in the front.
    waiting: AtomicUsize,
    /// The last `seq` given.
    appended: AtomicU64,
    /// Every `seq` up to this one is in the file, or named by a gap record there.
    settled: AtomicU64,
    /// Records that are in the file.
    written: AtomicU64,
    lost: AtomicU64,
    seals: AtomicU64,
    rotations: AtomicU64,
    failed_rotations: AtomicU64,
    /// The first `seq` that this log gives.
    first: u64,
    /// Guards the text of the last failure, while it lasts.
    failure: Mutex<Option<String>>,
    /// The last time any record brought, on the monotonic scale.
    now_us: AtomicU64,
    is_failing: AtomicBool,
    /// While failing: no write before this time.
    retry_us: AtomicU64,
}

#[derive(Debug)]
struct Front {
    packed: Vec<u8>,
    /// Those that were dropped after them.
    gap: Option<Gap>,
}

#[derive(Debug)]
struct Writer {
    file: AuditFile,
    /// What was taken from the front.
    packed: Vec<u8>,
    gap: Option<Gap>,
    /// How much of the packed records has been made into lines.
    unpacked: usize,
    forms: Forms,
    /// Lines that are not yet all in the file.
    batch: Vec<u8>,
    /// How much of the batch is.
    done: usize,
    /// How much of that the sealer knows of.
    noted: usize,
    records: u64,
    /// The first `seq` that the batch stands for.
    first: u64,
    /// The last one.
    last: u64,
    followed_us: u64,
}

impl Queue {
    pub(super) fn new(config: &AuditConfig, file: AuditFile, found: Found) -> Result<Self> {
        let last = found.next_seq.saturating_sub(1);
        let buffer = || Vec::with_capacity(4 * MAX_LINE);
        Ok(Self {
            mode: config.mode,
            on_error: config.on_error(),
            path: file.path().to_owned(),
            is_beside: file.is_beside(),
            session: config.session_id_source.clone(),
            own_id: random_uuid()?,
            found: found.problems,
            front: Mutex::new(Front { packed: buffer(), gap: None }),
            writer: Mutex::new(Writer {
                file,
                packed: buffer(),
                gap: None,
                unpacked: 0,
                forms: Forms::default(),
                batch: buffer(),
                done: 0,
                noted: 0,
                records: 0,
                first: found.next_seq,
                last,
                followed_us: 0,
            }),
            sealer: found.block.map(Sealer::new),
            durable: Durable::new(last),
            bell: Bell::default(),
            waiting: AtomicUsize::new(0),
            appended: AtomicU64::new(last),
            settled: AtomicU64::new(last),
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            seals: AtomicU64::new(0),
            rotations: AtomicU64::new(0),
            failed_rotations: AtomicU64::new(0),
            first: found.next_seq,
            failure: Mutex::new(None),
            now_us: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
            retry_us: AtomicU64::new(0),
        })
    }

    pub(super) fn append(&self, record: &AuditRecord<'_>) {
        let mut front = lock(&self.front);
        while front.is_full() && !self.must_wait() {
            drop(front);
            let is_written = self.commit(false);
            front = lock(&self.front);
            if !is_written {
                break;
            }
        }
        // Only under the lock of the front, so that `seq` follows the order of the lines.
        let seq = self.appended.load(Ordering::Relaxed).saturating_add(1);
        self.appended.store(seq, Ordering::Release);
        let now_us = record.ended.mono_us().max(self.now_us.load(Ordering::Relaxed));
        self.now_us.store(now_us, Ordering::Relaxed);
        if front.is_full() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            front.lose(seq, record.ended);
        } else {
            pack(&mut front.packed, record, self.session_of(record));
            self.waiting.store(front.packed.len(), Ordering::Relaxed);
        }
    }

    fn session_of<'a>(&'a self, record: &AuditRecord<'a>) -> &'a str {
        match &self.session {
            SessionIdSource::HostId(host) => host,
            SessionIdSource::Uuid if record.session_id.is_empty() => &self.own_id,
            SessionIdSource::Uuid => record.session_id,
        }
    }

    /// The last `seq` given.
    pub(super) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }

    /// The last `seq` that is in the file.
    pub(super) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    /// Whether so much waits in memory that mode `buffered` should write it at once.
    pub(super) fn is_filling(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= FILLING
    }

    /// Whether the last write failed.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Acquire)
    }

    /// Whether a write failed a moment ago.
    fn must_wait(&self) -> bool {
        self.is_failing()
            && self.now_us.load(Ordering::Relaxed) < self.retry_us.load(Ordering::Relaxed)
    }

    /// Writes what was appended before the call; when told that it is the last chance or a retry,
    /// also if a write failed a moment ago.
    pub(super) fn commit(&self, is_last: bool) -> bool {
        let target = self.appended();
        if self.settled() >= target {
            return true;
        }
        if !is_last && self.must_wait() {
            return false;
        }
        let mut writer = lock(&self.writer);
        // Ends: a batch that was taken here reaches past `target`.
        while self.settled() < target {
            if !is_last && self.must_wait() {
                return false;
            }
            if writer.batch.is_empty() {
                self.take(&mut writer);
            }
            if !self.write(&mut writer) {
                return false;
            }
        }
        true
    }

    /// Makes lines of the records that wait, as many as are written at once.
    fn take(&self, writer: &mut Writer) {
        if writer.unpacked == writer.packed.len() && writer.gap.is_none() {
            writer.packed.clear();
            writer.unpacked = 0;
            let mut front = lock(&self.front);
            std::mem::swap(&mut front.packed, &mut writer.packed);
            writer.gap = front.gap.take();
            self.waiting.store(0, Ordering::Relaxed);
        }
        writer.first = writer.last.saturating_add(1);
        let mut rest = writer.packed.get(writer.unpacked..).unwrap_or_default();
        while writer.batch.len() < BATCH
            && let Some(record) = Unpacked::take(&mut rest)
        {
            // Every record from the last on has its number; what was dropped came after all of them.
            writer.last = writer.last.saturating_add(1);
            push_record(&mut writer.batch, &record, writer.last, &mut writer.forms);
            writer.records += 1;
        }
        writer.unpacked = writer.packed.len() - rest.len();
        if rest.is_empty()
            && let Some(gap) = writer.gap.take()
        {
            let failure = lock(&self.failure);
            let reason = failure.as_deref().unwrap_or("buffer full");
            push_gap(&mut writer.batch, &gap, &self.own_id, reason);
            writer.last = gap.last;
        }
    }

    fn write(&self, writer: &mut Writer) -> bool {
        let now_us = self.now_us.load(Ordering::Relaxed);
        if now_us >= writer.followed_us.saturating_add(FOLLOW_US) {
            writer.followed_us = now_us;
            self.follow(writer);
        }
        self.seal_full_block(writer);
        while let Some(rest) = writer.batch.get(writer.done..).filter(|rest| !rest.is_empty()) {
            let progress = writer.file.write(rest);
            let wanted = rest.len();
            writer.done += progress.done;
            if let Some(error) = progress.error {
                self.failed(writer, &error);
                return false;
            }
            if writer.done < writer.batch.len() {
                // A file ends with its seal, so that each can be checked without the one before it.
                self.push_seal(writer);
                writer.file.turn(wanted);
                self.note_rotations(writer);
            }
        }
        self.written.fetch_add(writer.records, Ordering::Relaxed);
        self.settled.store(writer.last, Ordering::Release);
        self.note(writer);
        writer.batch.clear();
        writer.done = 0;
        writer.noted = 0;
        writer.records = 0;
        self.succeeded(writer);
        true
    }

    /// Tells the sealer of the lines that are in the file now.
    fn note(&self, writer: &mut Writer) {
        let Some(sealer) = &self.sealer else { return };
        let lines = writer.batch.get(writer.noted..writer.done).unwrap_or_default();
        if lines.is_empty() {
            return;
        }
        let last = if writer.done == writer.batch.len() { writer.last } else { last_seq(lines) };
        if sealer.note(lines, writer.first, last) {
            self.bell.ring();
        }
        writer.first = last.saturating_add(1);
        writer.noted = writer.done;
    }

    /// Goes on at the path if our file was moved away from it; what was moved ends with its seal.
    fn follow(&self, writer: &mut Writer) {
        let followed = writer.file.is_moved().and_then(|is_moved| {
            if is_moved {
                self.push_seal(writer);
                writer.file.reopen()?;
            }
            Ok(())
        });
        if let Err(error) = followed {
            tracing::warn!(%error, "audit file cannot be looked up");
        }
    }

    /// Ends the file with a seal, as far as that goes: what is not sealed here is sealed in the next one.
    fn push_seal(&self, writer: &mut Writer) {
        self.note(writer);
        if let Some(sealer) = &self.sealer
            && let Err(error) = self.try_seal(writer, sealer, sealer.block())
        {
            tracing::warn!(%error, "audit file ends without a seal");
        }
    }

    /// Seals what is in the file before more is written, if it is enough and nobody hashes it just now.
    fn seal_full_block(&self, writer: &mut Writer) {
        if let Some(sealer) = &self.sealer
            && sealer.is_full()
            && writer.done == 0
            && let Some(block) = sealer.free_block()
            && let Err(error) = self.try_seal(writer, sealer, block)
        {
            // The lines will meet the same error, and tell it.
            tracing::debug!(%error, "a block waits for its seal");
        }
    }

    fn try_seal(
        &self,
        writer: &mut Writer,
        sealer: &Sealer,
        mut block: MutexGuard<'_, Block>,
    ) -> std::io::Result<()> {
        let Some(seal) = block.seal() else { return Ok(()) };
        let mut line = Vec::with_capacity(256);
        seal.push_to(&mut line);
        writer.file.write_seal(&line)?;
        sealer.sealed(&mut block, &seal);
        self.seals.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn note_rotations(&self, writer: &Writer) {
        let (rotations, failed) = writer.file.rotations();
        self.rotations.store(rotations, Ordering::Relaxed);
        self.failed_rotations.store(failed, Ordering::Relaxed);
    }

    fn failed(&self, writer: &Writer, error: &std::io::Error) {
        let now_us = self.now_us.load(Ordering::Relaxed);
        self.retry_us.store(now_us.saturating_add(RETRY_US), Ordering::Relaxed);
        *lock(&self.failure) = Some(error.to_string());
        if !self.is_failing.swap(true, Ordering::Release) {
            let path = writer.file.path().display();
            tracing::error!(%path, %error, "audit file cannot be written; records wait in memory");
            self.bell.ring();
        }
    }

    fn succeeded(&self, writer: &Writer) {
        // A gap that opened meanwhile still wants the reason; it is taken with the next batch.
        if self.is_failing.load(Ordering::Relaxed)
            && writer.gap.is_none()
            && lock(&self.front).gap.is_none()
        {
            *lock(&self.failure) = None;
            self.is_failing.store(false, Ordering::Release);
            let lost = self.lost.load(Ordering::Relaxed);
            tracing::warn!(path = %writer.file.path().display(), lost, "audit file is written again");
        }
    }

    /// Writes a seal behind all that is in the file, and looks whether its path still names it. True
    /// when nothing is left to be sealed.
    pub(super) fn seal(&self, sealer: &Sealer) -> bool {
        // The long part of the work, while others write.
        drop(sealer.block());
        let mut writer = lock(&self.writer);
        if !writer.batch.is_empty() {
            // It failed half-way, and so would this.
            return false;
        }
        if let Err(error) = self.try_seal(&mut writer, sealer, sealer.block()) {
            self.failed(&writer, &error);
            return false;
        }
        self.succeeded(&writer);
        self.follow(&mut writer);
        let removed = writer.file.take_removed();
        drop(writer);
        drop(removed);
        true
    }

    /// What to force to the disk so that all that is settled now stays, and the last `seq` of it.
    pub(super) fn handle(&self) -> (std::sync::Arc<std::fs::File>, u64) {
        let writer = lock(&self.writer);
        (writer.file.handle(), self.settled())
    }

    pub(super) fn status(&self) -> AuditStatus {
        let written = self.written.load(Ordering::Relaxed);
        let lost = self.lost.load(Ordering::Relaxed);
        let given = self.appended.load(Ordering::Relaxed).saturating_add(1) - self.first;
        AuditStatus {
            mode: self.mode,
            on_error: self.on_error,
            path: Some(self.path.clone()),
            is_beside: self.is_beside,
            written,
            pending: given.saturating_sub(written).saturating_sub(lost),
            lost,
            unsynced: self.durable.unsynced(),
            seals: self.seals.load(Ordering::Relaxed),
            failing: lock(&self.failure).clone().or_else(|| self.durable.failure()),
            rotations: self.rotations.load(Ordering::Relaxed),
            failed_rotations: self.failed_rotations.load(Ordering::Relaxed),
            found: self.found.clone(),
        }
    }
}

/// The `seq` of the last of these lines, which are ours.
fn last_seq(lines: &[u8]) -> u64 {
    let body = lines.strip_suffix(b"\n").unwrap_or(lines);
    let start = memchr::memrchr(b'\n', body).map_or(0, |newline| newline + 1);
    verify_line(body.get(start..).unwrap_or_default()).map_or(0, |line| line.last)
}

impl Front {
    fn is_full(&self) -> bool {
        self.gap.is_some() || self.packed.len() + MAX_PACKED > MAX_BUFFER
    }

    fn lose(&mut self, seq: u64, ended: Time) {
        let first = self.gap.map_or(seq, |gap| gap.first);
        self.gap = Some(Gap { first, last: seq, ended });
    }
}

/// What the lock guards is changed in steps that leave it usable, so a panic elsewhere ends nothing.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

//! The writer: takes records from the front, makes lines of them, and writes, seals and rotates the file.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use super::file::AuditFile;
use super::queue::{Queue, RETRY_US};
use super::record::{Gap, MAX_LINE, Unpacked, push_gap, push_record};
use super::scan::verify_line;
use super::seal::{Block, Sealer};

/// Bytes of lines that are made and written at once.
const BATCH: usize = 128 * 1024;

/// How often the writer checks whether the path still names its file.
const FOLLOW_US: u64 = 1_000_000;

#[derive(Debug)]
pub(super) struct FileWriter {
    file: AuditFile,
    taken: Taken,
    batch: Gathered,
    followed_us: u64,
}

/// The records that were taken from the front.
#[derive(Debug)]
struct Taken {
    packed: Vec<u8>,
    /// How much of them has been made into lines.
    unpacked: usize,
    /// The `seq` of the last of them.
    last: u64,
    /// The records that were dropped after them.
    gap: Option<Gap>,
}

/// Lines that are not yet all in the file.
#[derive(Debug)]
struct Gathered {
    lines: Vec<u8>,
    /// Bytes of them that are in the file.
    done: usize,
    /// Bytes of these that the sealer knows of.
    noted: usize,
    records: u64,
    /// The first `seq` that the batch stands for.
    first: u64,
    /// The last one.
    last: u64,
}

impl FileWriter {
    /// Goes on in this file after the record `last`.
    pub(super) fn new(file: AuditFile, last: u64) -> Self {
        let buffer = || Vec::with_capacity(2 * MAX_LINE);
        let first = last.saturating_add(1);
        Self {
            file,
            taken: Taken { packed: buffer(), unpacked: 0, last, gap: None },
            batch: Gathered { lines: buffer(), done: 0, noted: 0, records: 0, first, last },
            followed_us: 0,
        }
    }
}

impl Queue {
    /// Writes what was appended before the call. `is_last`, for retries and for the end: also if a write
    /// failed a moment ago.
    ///
    /// This is the group commit: a call that finds another one writing waits for it, and mostly finds then
    /// that its own records went along, as each call writes everything that waits.
    pub(super) fn commit(&self, is_last: bool) -> bool {
        let target = self.appended();
        if self.settled() >= target {
            return true;
        }
        if !is_last && self.must_wait() {
            return false;
        }
        let mut writer = self.writer.lock();
        // Ends, since each batch settles at least one `seq`, see `take`.
        while self.settled() < target {
            if !is_last && self.must_wait() {
                return false;
            }
            if writer.batch.lines.is_empty() {
                self.take(&mut writer);
            }
            if !self.write(&mut writer) {
                return false;
            }
        }
        true
    }

    /// Makes lines of the records that wait, as many as are written at once. `batch.last` always advances
    /// while a record waits.
    fn take(&self, writer: &mut FileWriter) {
        let FileWriter { taken, batch, .. } = writer;
        if taken.unpacked == taken.packed.len() && taken.gap.is_none() {
            taken.packed.clear();
            taken.unpacked = 0;
            let mut front = self.front.lock();
            std::mem::swap(&mut front.packed, &mut taken.packed);
            taken.gap = front.gap.take();
            taken.last = taken.gap.map_or(self.appended(), |gap| gap.first.saturating_sub(1));
            self.position.waiting.store(0, Ordering::Relaxed);
        }
        batch.first = batch.last.saturating_add(1);
        let mut rest = taken.packed.get(taken.unpacked..).unwrap_or_default();
        while batch.lines.len() < BATCH
            && let Some(record) = Unpacked::take(&mut rest)
        {
            // Every record from the last on has its number; dropped ones came after all of them.
            batch.last = batch.last.saturating_add(1);
            push_record(&mut batch.lines, &record, batch.last);
            batch.records += 1;
        }
        if batch.records == 0 && !rest.is_empty() {
            // A defect of ours. Their place in `seq` stays empty, so a scan of the file shows them.
            let lost = taken.last.saturating_sub(batch.last);
            tracing::error!(lost, "audit records cannot be read back from memory");
            self.counts.lost.fetch_add(lost, Ordering::Relaxed);
            batch.last = taken.last;
            rest = &[];
        }
        taken.unpacked = taken.packed.len() - rest.len();
        if rest.is_empty()
            && let Some(gap) = taken.gap.take()
        {
            let failure = self.failure.text.lock();
            let reason = failure.as_deref().unwrap_or("buffer full");
            push_gap(&mut batch.lines, &gap, self.own_id(), reason);
            batch.last = gap.last;
        }
    }

    fn write(&self, writer: &mut FileWriter) -> bool {
        let now_us = self.now_us();
        if now_us >= writer.followed_us.saturating_add(FOLLOW_US) {
            writer.followed_us = now_us;
            self.follow(writer);
        }
        self.seal_full_block(writer);
        while let Some(rest) = writer.batch.rest() {
            let progress = writer.file.write(rest);
            let wanted = rest.len();
            writer.batch.done += progress.done;
            if let Some(error) = progress.error {
                self.failed(writer, &error);
                return false;
            }
            if writer.batch.rest().is_some() {
                // A file ends with its seal, so that each can be checked without the one before it.
                self.push_seal(writer);
                writer.file.turn(wanted);
                self.note_rotations(writer);
            }
        }
        self.counts.written.fetch_add(writer.batch.records, Ordering::Relaxed);
        self.position.settled.store(writer.batch.last, Ordering::Release);
        self.note(&mut writer.batch);
        writer.batch.clear();
        self.succeeded(writer);
        true
    }

    /// Tells the sealer of the lines that are in the file now.
    fn note(&self, batch: &mut Gathered) {
        let Some(sealer) = &self.sealer else { return };
        let lines = batch.lines.get(batch.noted..batch.done).unwrap_or_default();
        if lines.is_empty() {
            return;
        }
        let last = if batch.done == batch.lines.len() { batch.last } else { last_seq(lines) };
        if sealer.note(lines, batch.first, last) {
            self.bell.ring();
        }
        batch.first = last.saturating_add(1);
        batch.noted = batch.done;
    }

    /// Goes on at the path if our file was moved away from it. The moved file ends with its seal.
    fn follow(&self, writer: &mut FileWriter) {
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

    /// Ends the file with a seal. Lines that cannot be sealed here are sealed in the next file.
    fn push_seal(&self, writer: &mut FileWriter) {
        self.note(&mut writer.batch);
        if let Some(sealer) = &self.sealer
            && let Err(error) = self.try_seal(writer, sealer, sealer.block())
        {
            tracing::warn!(%error, "audit file ends without a seal");
        }
    }

    /// Seals a full block before more is written, unless another thread hashes it just now.
    fn seal_full_block(&self, writer: &mut FileWriter) {
        if let Some(sealer) = &self.sealer
            && sealer.is_full()
            && writer.batch.done == 0
            && let Some(block) = sealer.free_block()
            && let Err(error) = self.try_seal(writer, sealer, block)
        {
            // The lines will meet the same error, and report it.
            tracing::debug!(%error, "a block waits for its seal");
        }
    }

    fn try_seal(
        &self,
        writer: &mut FileWriter,
        sealer: &Sealer,
        mut block: MutexGuard<'_, Block>,
    ) -> std::io::Result<()> {
        let Some(seal) = block.seal() else { return Ok(()) };
        let mut line = Vec::with_capacity(256);
        seal.push_to(&mut line);
        writer.file.write_seal(&line)?;
        sealer.sealed(&mut block, &seal);
        self.counts.seals.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn note_rotations(&self, writer: &FileWriter) {
        let (rotations, failed) = writer.file.rotations();
        self.counts.rotations.store(rotations, Ordering::Relaxed);
        self.counts.failed_rotations.store(failed, Ordering::Relaxed);
    }

    fn failed(&self, writer: &FileWriter, error: &std::io::Error) {
        let retry_us = self.now_us().saturating_add(RETRY_US);
        self.failure.retry_us.store(retry_us, Ordering::Relaxed);
        *self.failure.text.lock() = Some(error.to_string());
        if !self.failure.is_lasting.swap(true, Ordering::Release) {
            let path = writer.file.path().display();
            tracing::error!(%path, %error, "audit file cannot be written; records wait in memory");
            self.bell.ring();
        }
    }

    fn succeeded(&self, writer: &FileWriter) {
        // A gap that opened meanwhile still needs the reason; the next batch takes it.
        if self.is_failing() && writer.taken.gap.is_none() && self.front.lock().gap.is_none() {
            *self.failure.text.lock() = None;
            self.failure.is_lasting.store(false, Ordering::Release);
            let lost = self.counts.lost.load(Ordering::Relaxed);
            tracing::warn!(path = %writer.file.path().display(), lost, "audit file is written again");
        }
    }

    /// Writes a seal behind all lines of the file, and checks whether the path still names it. True when
    /// nothing is left to be sealed.
    pub(super) fn seal(&self, sealer: &Sealer) -> bool {
        // The long part of the work, while others write.
        drop(sealer.block());
        let mut writer = self.writer.lock();
        if !writer.batch.lines.is_empty() {
            // A write failed half-way, and so would the seal.
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

    /// The file to force to the disk so that all settled lines stay, and the last `seq` of these.
    pub(super) fn handle(&self) -> (std::sync::Arc<std::fs::File>, u64) {
        let writer = self.writer.lock();
        (writer.file.handle(), self.settled())
    }
}

impl Gathered {
    /// The lines that are not in the file; none when all are.
    fn rest(&self) -> Option<&[u8]> {
        self.lines.get(self.done..).filter(|rest| !rest.is_empty())
    }

    fn clear(&mut self) {
        self.lines.clear();
        self.done = 0;
        self.noted = 0;
        self.records = 0;
    }
}

/// The `seq` of the last of these lines, which are ours.
fn last_seq(lines: &[u8]) -> u64 {
    let body = lines.strip_suffix(b"\n").unwrap_or(lines);
    let start = memchr::memrchr(b'\n', body).map_or(0, |newline| newline + 1);
    verify_line(body.get(start..).unwrap_or_default()).map_or(0, |line| line.last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{AuditConfig, AuditRecord, scan};
    use crate::{Clock, SystemClock};

    #[test]
    fn records_that_do_not_read_back_are_counted_and_hold_up_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let config = AuditConfig::new(&path);
        let (file, existing) = AuditFile::open(&config).unwrap();
        let queue = Queue::new(&config, file, existing).unwrap();
        let record = AuditRecord::at(SystemClock::new().now());
        queue.append(&record);
        let whole = queue.front.lock().packed.len();
        for _ in 0..2 {
            queue.append(&record);
        }
        // The second record is cut, and the third with it.
        queue.front.lock().packed.truncate(whole + 7);
        assert!(queue.commit(false), "it ends");
        queue.append(&record);
        assert!(queue.commit(false));
        let status = queue.status();
        assert_eq!((status.written, status.lost, status.pending), (2, 2, 0));
        let found = scan(&path).unwrap();
        assert_eq!((found.records, found.last_seq), (2, Some(4)));
        assert_eq!((found.holes[0].after, found.holes[0].next), (1, 4), "they show in the file");
    }
}

//! Mode `sync`: the records on the disk, and commits that share one `fdatasync`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::queue::Queue;
use crate::sync::Mutex;

/// A reply waits for the disk at most this long; after it the record counts as one that was not kept.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How far the disk has come.
#[derive(Debug)]
pub(super) struct Durable {
    state: watch::Sender<Reached>,
    /// Held during a sync. A commit that waits for it mostly finds that its own records were synced, too.
    turn: Mutex<()>,
    is_failing: AtomicBool,
    /// Guards the text of the last failure, while it lasts.
    failure: Mutex<Option<String>>,
    unsynced: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Reached {
    /// Every `seq` up to this one is on the disk.
    durable: u64,
    /// The first and last `seq` whose sync failed. Several failures are kept as one stretch: a waiter that
    /// wakes very late then gets a false no, never a false yes.
    failed: Option<(u64, u64)>,
}

impl Reached {
    /// The answer to a waiter for this `seq`; none while it is open.
    fn verdict(&self, seq: u64) -> Option<bool> {
        if self.failed.is_some_and(|(first, last)| (first..=last).contains(&seq)) {
            return Some(false);
        }
        (self.durable >= seq).then_some(true)
    }

    fn fail(&mut self, last: u64) {
        let next = self.durable.saturating_add(1);
        let (first, before) = self.failed.unwrap_or((next, 0));
        self.failed = Some((first.min(next), last.max(before)));
    }
}

impl Durable {
    pub(super) fn new(last: u64) -> Self {
        Self {
            state: watch::Sender::new(Reached { durable: last, failed: None }),
            turn: Mutex::default(),
            is_failing: AtomicBool::new(false),
            failure: Mutex::default(),
            unsynced: AtomicU64::new(0),
        }
    }

    /// The last `seq` that is on the disk.
    pub(super) fn reached(&self) -> u64 {
        self.state.borrow().durable
    }

    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Acquire)
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// Records whose `fdatasync` failed: they are in the file and may not survive a power cut.
    pub(super) fn unsynced(&self) -> u64 {
        self.unsynced.load(Ordering::Relaxed)
    }
}

impl Queue {
    /// Writes all records appended before the call and forces them to the disk. As for `is_last`, see
    /// [`Queue::commit`].
    pub(super) fn sync(&self, is_last: bool) -> bool {
        let target = self.appended();
        if self.durable.reached() >= target {
            return true;
        }
        let _turn = self.durable.turn.lock();
        if self.durable.reached() >= target {
            return true;
        }
        // All records appended by now share this sync.
        let all = self.appended();
        if !self.commit(is_last) {
            self.durable.state.send_modify(|it| it.fail(all));
            return false;
        }
        let (file, settled) = self.handle();
        match file.sync_data() {
            Ok(()) => self.synced(settled),
            Err(error) => self.not_synced(settled, &error),
        }
        self.durable.reached() >= target
    }

    fn synced(&self, settled: u64) {
        let it = &self.durable;
        if it.is_failing.swap(false, Ordering::AcqRel) {
            *it.failure.lock() = None;
            tracing::warn!(unsynced = it.unsynced(), "audit file is synced again");
        }
        it.state.send_modify(|it| it.durable = it.durable.max(settled));
    }

    /// The system reports a failed `fdatasync` once and then takes the pages for clean: a later one
    /// that works says nothing about them. So they are counted for good, and their waiters get a no.
    fn not_synced(&self, settled: u64, error: &std::io::Error) {
        let it = &self.durable;
        *it.failure.lock() = Some(format!("fdatasync: {error}"));
        if !it.is_failing.swap(true, Ordering::AcqRel) {
            tracing::error!(%error, "audit file cannot be synced; its last records may not survive a power cut");
            self.bell.ring();
        }
        let Reached { durable, failed } = *it.state.borrow();
        let before = failed.map_or(durable, |(_, last)| last.max(durable));
        it.unsynced.fetch_add(settled.saturating_sub(before), Ordering::Relaxed);
        it.state.send_modify(|it| it.fail(settled));
    }

    /// Waits until this `seq` is on the disk; false when that failed or takes too long.
    pub(super) async fn until_durable(&self, seq: u64) -> bool {
        let mut state = self.durable.state.subscribe();
        let reached = state.wait_for(|it| it.verdict(seq).is_some());
        match tokio::time::timeout(LONGEST_WAIT, reached).await {
            Ok(Ok(it)) => it.verdict(seq) == Some(true),
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

//! What a test and the plugins of its host share: a switch to wait at, and a journal.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

/// A handler hangs no longer than this, so that a failed test ends, too.
const PATIENCE: Duration = Duration::from_secs(20);

/// The plugins' side.
pub(crate) struct Probe {
    key: String,
    state: Mutex<State>,
    changed: Condvar,
    woken: Notify,
}

#[derive(Default)]
struct State {
    is_open: bool,
    entered: usize,
    journal: Vec<String>,
}

/// Plugins know their probe by its key; the table holds what lives.
static PROBES: Mutex<BTreeMap<String, Weak<Probe>>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Probe {
    /// The probe of this key, while its test lives.
    pub(crate) fn of(key: &str) -> Option<Arc<Self>> {
        PROBES.lock().unwrap_or_else(PoisonError::into_inner).get(key).and_then(Weak::upgrade)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks the thread until the test opens the switch.
    pub(crate) fn hang(&self) {
        let mut state = self.lock();
        state.entered += 1;
        self.woken.notify_waiters();
        let waited = self.changed.wait_timeout_while(state, PATIENCE, |it| !it.is_open);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until the test opens the switch.
    pub(crate) async fn wait(&self) {
        self.lock().entered += 1;
        self.woken.notify_waiters();
        self.until(|it| it.is_open).await;
    }

    /// Writes into the journal.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.lock().journal.push(text.into());
        self.woken.notify_waiters();
    }

    /// Whether the journal holds this text.
    pub(crate) fn holds(&self, text: &str) -> bool {
        self.lock().journal.iter().any(|it| it == text)
    }

    async fn until(&self, done: impl Fn(&State) -> bool) {
        loop {
            let woken = self.woken.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            if done(&self.lock()) {
                return;
            }
            woken.await;
        }
    }
}

/// The test's side. Opens when dropped, so that nothing hangs after a test.
pub(crate) struct Switch(Arc<Probe>);

impl Switch {
    pub(crate) fn new() -> Self {
        let key = format!("probe-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (changed, woken) = (Condvar::new(), Notify::new());
        let probe = Arc::new(Probe { key: key.clone(), state: Mutex::default(), changed, woken });
        let mut probes = PROBES.lock().unwrap_or_else(PoisonError::into_inner);
        probes.insert(key, Arc::downgrade(&probe));
        Self(probe)
    }

    /// What plugins are told.
    pub(crate) fn key(&self) -> &str {
        &self.0.key
    }

    /// Lets every handler go that waits, now and later.
    pub(crate) fn open(&self) {
        self.0.lock().is_open = true;
        self.0.changed.notify_all();
        self.0.woken.notify_waiters();
    }

    /// Waits until this many handlers have come to the switch.
    pub(crate) async fn entered(&self, count: usize) {
        let come = self.0.until(|it| it.entered >= count);
        let in_time = tokio::time::timeout(PATIENCE, come).await.is_ok();
        assert!(in_time, "{} of {count} handlers came", self.0.lock().entered);
    }

    /// Writes into the journal, for plugins to read.
    pub(crate) fn note(&self, text: &str) {
        self.0.note(text);
    }

    /// How many handlers have come to the switch.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().entered
    }

    /// Waits until the journal holds a text that contains `part`.
    pub(crate) async fn noted(&self, part: &str) {
        let come = self.0.until(|it| it.journal.iter().any(|text| text.contains(part)));
        let in_time = tokio::time::timeout(PATIENCE, come).await.is_ok();
        assert!(in_time, "`{part}` is not in {:?}", self.journal());
    }

    /// What plugins wrote, in order.
    pub(crate) fn journal(&self) -> Vec<String> {
        self.0.lock().journal.clone()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.open();
        let mut probes = PROBES.lock().unwrap_or_else(PoisonError::into_inner);
        probes.remove(&self.0.key);
    }
}

//! The body of a response of the fake front: collects what a session sends, as slowly as it is told to.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use a2e_core::transport::{ByteSink, Gone, Readiness};
use serde_json::Value;
use tokio::sync::Notify;

use crate::support::PATIENCE;

#[derive(Debug)]
pub(super) struct Collector {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    /// Bytes that it still takes.
    room: usize,
    is_closed: bool,
    is_broken: bool,
}

/// The whole lines of some bytes.
pub(super) fn messages(bytes: &[u8]) -> Vec<Value> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = bytes[..whole].split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| serde_json::from_slice(line).expect("a JSON line")).collect()
}

impl Collector {
    /// One that takes everything.
    pub(super) fn open() -> Arc<Self> {
        Self::with_room(usize::MAX)
    }

    /// One that takes this many bytes, and then none until [`widen`](Self::widen).
    pub(super) fn with_room(room: usize) -> Arc<Self> {
        let state = Mutex::new(State { room, ..State::default() });
        Arc::new(Self { state, changed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_waiters();
    }

    /// Takes everything from now on.
    pub(super) fn widen(&self) {
        self.change(|it| it.room = usize::MAX);
    }

    /// The peer is gone: every write fails from now on.
    pub(super) fn break_down(&self) {
        self.change(|it| it.is_broken = true);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// The whole lines that came so far.
    pub(super) fn messages(&self) -> Vec<Value> {
        messages(&self.lock().bytes)
    }

    /// Waits until this number of whole lines has come.
    pub(super) async fn took(&self, count: usize) -> Vec<Value> {
        self.until(|| self.messages().len() >= count, "lines").await;
        self.messages()
    }

    /// Waits until no more fits.
    pub(super) async fn filled(&self) {
        self.until(|| self.lock().room == 0, "a full reader").await;
    }

    pub(super) async fn closed(&self) {
        self.until(|| self.is_closed(), "the end").await;
    }

    async fn until(&self, done: impl Fn() -> bool, what: &str) {
        let waited = tokio::time::timeout(PATIENCE, self.wait(done)).await;
        assert!(waited.is_ok(), "{what} came not in time: {:?}", self.messages());
    }

    async fn wait(&self, done: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if done() {
                return;
            }
            changed.await;
        }
    }
}

impl ByteSink for Collector {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.lock();
        if state.is_broken || state.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(state.room);
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.bytes.extend_from_slice(&bytes[..taken]);
        if state.room != usize::MAX {
            state.room -= taken;
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(taken)
    }

    fn ready(&self) -> Readiness<'_> {
        Box::pin(async move {
            self.wait(|| {
                let state = self.lock();
                state.room > 0 || state.is_broken || state.is_closed
            })
            .await;
            if self.lock().is_broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
        })
    }

    fn peer_is_gone(&self) -> Gone<'_> {
        let state = self.lock();
        let is_gone = state.is_broken || state.is_closed;
        Box::pin(std::future::ready(is_gone))
    }

    fn close(&self) {
        self.change(|it| it.is_closed = true);
    }
}

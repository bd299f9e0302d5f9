//! A bounded queue of messages with one taker: events of a call, pushes of a stream.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use crate::message::Received;
use crate::options::Bound;

#[derive(Debug)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    taker: AtomicWaker,
    bound: Bound,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Received>,
    bytes: usize,
    dropped: u64,
    is_closed: bool,
}

impl State {
    fn has_room(&self, length: usize, bound: Bound) -> bool {
        self.queue.is_empty()
            || (self.queue.len() < bound.messages && self.bytes + length <= bound.bytes)
    }

    fn put(&mut self, message: Received) {
        self.bytes += message.len();
        self.queue.push_back(message);
    }

    fn take(&mut self) -> Option<Received> {
        let message = self.queue.pop_front()?;
        self.bytes -= message.len();
        Some(message)
    }

    /// Drops every event that may be dropped, to make room for one that may not.
    fn shed(&mut self) -> u64 {
        let before = self.queue.len();
        self.queue.retain(|message| !message.is_droppable());
        self.bytes = self.queue.iter().map(Received::len).sum();
        (before - self.queue.len()) as u64
    }
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It waits to be taken; `dropped` others made room for it.
    Taken { dropped: u64 },
    /// It was dropped itself.
    Dropped,
    /// There is no room, and neither it nor what waits may be dropped.
    Full { held: usize },
}

impl Mailbox {
    pub(crate) fn new(bound: Bound) -> Self {
        Self { state: Mutex::default(), taker: AtomicWaker::new(), bound }
    }

    /// Guards the queue; held for a push or pop.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an event. In a full queue progress, log and status give way, other kinds never do.
    pub(crate) fn put_event(&self, message: Received) -> Put {
        let mut state = self.lock();
        let mut dropped = 0;
        if !state.has_room(message.len(), self.bound) {
            if message.is_droppable() {
                state.dropped += 1;
                return Put::Dropped;
            }
            dropped = state.shed();
            state.dropped += dropped;
            if !state.has_room(message.len(), self.bound) {
                return Put::Full { held: state.queue.len() };
            }
        }
        state.put(message);
        drop(state);
        self.taker.wake();
        Put::Taken { dropped }
    }

    /// Queues a message; in a full queue the oldest give way. Returns how many did.
    pub(crate) fn put_newest(&self, message: Received) -> u64 {
        let mut state = self.lock();
        let mut dropped = 0;
        if state.is_closed {
            return 0;
        }
        while !state.has_room(message.len(), self.bound) {
            state.take();
            dropped += 1;
        }
        state.dropped += dropped;
        state.put(message);
        drop(state);
        self.taker.wake();
        dropped
    }

    /// No more will come; what waits can still be taken.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.taker.wake();
    }

    /// How many messages were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// The next message; `None` after the last one of a closed mailbox.
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Received>> {
        // Registered before looking, so that a message put in between wakes.
        self.taker.register(context.waker());
        let mut state = self.lock();
        match state.take() {
            Some(message) => Poll::Ready(Some(message)),
            None if state.is_closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    pub(crate) async fn next(&self) -> Option<Received> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }
}

//! Pushes, taken by a thread.

use std::time::Duration;

use super::thread::Thread;
use crate::error::ClientError;
use crate::message::Received;
use crate::push::PushStream;

/// The messages of one type that come unasked, in order; bounded, see [`PushStream`].
#[derive(Debug)]
pub struct Pushes {
    // Dropped before its thread.
    inner: PushStream,
    thread: Thread,
}

impl Pushes {
    pub(super) fn new(inner: PushStream, thread: Thread) -> Self {
        Self { inner, thread }
    }

    /// Waits for the next message; `None` when the connection has ended and all were taken.
    ///
    /// # Errors
    /// Only [`ClientError::WouldDeadlock`].
    #[allow(clippy::should_implement_trait, reason = "it may fail, and `?` should end the loop")]
    pub fn next(&mut self) -> Result<Option<Received>, ClientError> {
        self.thread.wait(self.inner.next())
    }

    /// As [`next`](Self::next), `limit` at most; `None` also when no message came.
    ///
    /// # Errors
    /// As `next`.
    pub fn next_within(&mut self, limit: Duration) -> Result<Option<Received>, ClientError> {
        let Self { inner, thread } = self;
        thread.wait(async { tokio::time::timeout(limit, inner.next()).await.ok().flatten() })
    }

    /// How many were dropped because they were not taken in time.
    pub fn dropped(&self) -> u64 {
        self.inner.dropped()
    }
}

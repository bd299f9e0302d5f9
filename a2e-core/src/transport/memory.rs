//! A connection inside one process: two bounded pipes, for embedding and for tests.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
#[cfg(feature = "host")]
use std::sync::PoisonError;
use std::sync::{Arc, Condvar};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};

use super::{ByteSink, Connection, Gone, Peer, Readiness};
use crate::sync::{Mutex, MutexGuard};

/// Bytes that one direction holds before its writer has to wait, as a kernel's socket would.
pub const CAPACITY: usize = 256 * 1024;

/// Two connected ends; what one writes, the other reads.
pub fn memory_pair() -> (Connection, Connection) {
    let (left, right) = (Pipe::new(), Pipe::new());
    let end = |reads: &Arc<Pipe>, writes: &Arc<Pipe>| Connection {
        source: Box::new(PipeReader(Arc::clone(reads))),
        sink: Arc::new(PipeWriter(Arc::clone(writes))),
        peer: Peer::named("memory"),
    };
    (end(&left, &right), end(&right, &left))
}

/// One direction: bounded bytes, a reader that polls, a writer that polls or blocks.
#[derive(Debug)]
pub(super) struct Pipe {
    /// Guards the bytes; held for a copy, never across a wait.
    state: Mutex<PipeState>,
    /// Wakes a thread that blocks on either end.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct PipeState {
    bytes: VecDeque<u8>,
    is_closed: bool,
    reader: Option<Waker>,
    /// One waiter per direction: a connection has one writer at a time.
    writer: Option<Waker>,
}

impl Pipe {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: Condvar::new() })
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = CAPACITY.saturating_sub(state.bytes.len()).min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.bytes.extend(bytes.get(..room).unwrap_or_default());
        self.wake(state);
        Ok(room)
    }

    fn wake(&self, mut state: MutexGuard<'_, PipeState>) {
        let (reader, writer) = (state.reader.take(), state.writer.take());
        drop(state);
        self.changed.notify_all();
        for waker in [reader, writer].into_iter().flatten() {
            waker.wake();
        }
    }

    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        self.wake(state);
    }

    /// Writes everything, waiting for room; for plain threads.
    #[cfg(feature = "host")]
    pub(super) fn write_blocking(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let state = self.state.lock();
                    if state.bytes.len() >= CAPACITY && !state.is_closed {
                        drop(self.changed.wait(state).unwrap_or_else(PoisonError::into_inner));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes what is there, waiting until something is; empty at the end. For plain threads.
    #[cfg(feature = "host")]
    pub(super) fn read_blocking(&self) -> Vec<u8> {
        let mut state = self.state.lock();
        while state.bytes.is_empty() && !state.is_closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (front, back) = state.bytes.as_slices();
        let bytes = [front, back].concat();
        state.bytes.clear();
        self.wake(state);
        bytes
    }
}

/// The reading end.
#[derive(Debug)]
pub(super) struct PipeReader(pub(super) Arc<Pipe>);

impl AsyncRead for PipeReader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.state.lock();
        if state.bytes.is_empty() {
            if state.is_closed {
                return Poll::Ready(Ok(()));
            }
            state.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let (front, _) = state.bytes.as_slices();
        let take = front.len().min(out.remaining());
        out.put_slice(front.get(..take).unwrap_or_default());
        state.bytes.drain(..take);
        self.0.wake(state);
        Poll::Ready(Ok(()))
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The writing end.
#[derive(Debug)]
pub(super) struct PipeWriter(pub(super) Arc<Pipe>);

impl ByteSink for PipeWriter {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn ready(&self) -> Readiness<'_> {
        Box::pin(std::future::poll_fn(|context| {
            let mut state = self.0.state.lock();
            if state.is_closed || state.bytes.len() < CAPACITY {
                return Poll::Ready(Ok(()));
            }
            state.writer = Some(context.waker().clone());
            Poll::Pending
        }))
    }

    fn peer_is_gone(&self) -> Gone<'_> {
        let is_closed = self.0.state.lock().is_closed;
        Box::pin(std::future::ready(is_closed))
    }

    fn close(&self) {
        self.0.close();
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn r20_a_full_pipe_refuses_until_it_is_read() {
        let (left, mut right) = memory_pair();
        let block = vec![b'x'; CAPACITY + 1];
        assert_eq!(left.sink.try_write(&block).unwrap(), CAPACITY);
        let full = left.sink.try_write(b"y").unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        let reader = tokio::spawn(async move {
            let mut got = vec![0; CAPACITY];
            right.source.read_exact(&mut got).await.unwrap();
            right
        });
        left.sink.ready().await.unwrap();
        let right = reader.await.unwrap();
        drop(right);
        assert_eq!(left.sink.try_write(b"y").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn what_was_written_before_the_end_is_read() {
        let (left, mut right) = memory_pair();
        left.sink.try_write(b"last words").unwrap();
        drop(left);
        let mut got = String::new();
        right.source.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "last words");
    }
}

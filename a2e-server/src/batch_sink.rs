//! A sink whose bytes another task sends on, as body of a response or in frames.

use std::io;
use std::sync::{Mutex, PoisonError};

use a2e_core::transport::{ByteSink, Gone, Readiness};
use bytes::Bytes;
use tokio::sync::mpsc;

/// Batches that may wait for their sender; what comes beyond waits in the outbox, which counts it.
const WAITING: usize = 2;

/// Takes batches of whole lines for the task that holds the other end.
#[derive(Debug)]
pub(crate) struct BatchSink(Mutex<Option<mpsc::Sender<Bytes>>>);

impl BatchSink {
    /// A sink, and the end that its batches come out of; the sink is closed when that is dropped.
    pub(crate) fn pair() -> (Self, mpsc::Receiver<Bytes>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(Mutex::new(Some(sender))), receiver)
    }

    fn sender(&self) -> io::Result<mpsc::Sender<Bytes>> {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sender.clone().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl ByteSink for BatchSink {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.sender()?.try_reserve() {
            Ok(place) => {
                place.send(Bytes::copy_from_slice(bytes));
                Ok(bytes.len())
            }
            Err(mpsc::error::TrySendError::Full(())) => Err(io::ErrorKind::WouldBlock.into()),
            Err(mpsc::error::TrySendError::Closed(())) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn ready(&self) -> Readiness<'_> {
        Box::pin(async {
            let sender = self.sender()?;
            let place = sender.reserve().await;
            place.map(drop).map_err(|_| io::ErrorKind::BrokenPipe.into())
        })
    }

    fn peer_is_gone(&self) -> Gone<'_> {
        Box::pin(async { self.sender().is_ok_and(|sender| sender.is_closed()) })
    }

    fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

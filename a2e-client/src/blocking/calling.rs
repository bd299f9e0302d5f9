//! A call under way, for threads.

use super::thread::Thread;
use crate::error::ClientError;
use crate::message::EventMessage;

/// A call that was sent and waits for its answer, see [`Calling`](crate::Calling). Dropping it sends
/// `cancel`.
///
/// ```no_run
/// # fn doc<Q>(client: a2e_client::blocking::Client, request: Q) -> Result<(), a2e_client::ClientError>
/// # where Q: a2e_core::protocol::Request + serde::Serialize, Q::Reply: serde::de::DeserializeOwned {
/// let mut calling = client.call(&request)?;
/// for event in calling.events() {
///     eprintln!("{}", event?.data().get());
/// }
/// let reply = calling.reply()?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "dropping it cancels the call"]
pub struct Calling<R> {
    // Dropped before its thread.
    inner: crate::Calling<R>,
    thread: Thread,
}

impl<R> Calling<R> {
    pub(super) fn new(inner: crate::Calling<R>, thread: Thread) -> Self {
        Self { inner, thread }
    }

    /// The id of the request.
    pub fn id(&self) -> &str {
        self.inner.id()
    }

    /// Waits for the next event; `None` when the call has ended and all were taken.
    ///
    /// # Errors
    /// Only [`ClientError::WouldDeadlock`].
    pub fn next_event(&mut self) -> Result<Option<EventMessage>, ClientError> {
        self.thread.wait(self.inner.next_event())
    }

    /// The events until the call has ended.
    pub fn events(&mut self) -> Events<'_, R> {
        Events { calling: self, is_over: false }
    }

    /// Waits for the answer. Events that were not taken are dropped.
    ///
    /// # Errors
    /// As [`Calling::reply`](crate::Calling::reply).
    pub fn reply(self) -> Result<R, ClientError> {
        let Self { inner, thread } = self;
        thread.wait(inner.reply())?
    }
}

/// The events of a call. After an error there are none.
#[derive(Debug)]
pub struct Events<'a, R> {
    calling: &'a mut Calling<R>,
    is_over: bool,
}

impl<R> Iterator for Events<'_, R> {
    type Item = Result<EventMessage, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let event = self.calling.next_event().transpose();
        self.is_over = !matches!(event, Some(Ok(_)));
        event
    }
}

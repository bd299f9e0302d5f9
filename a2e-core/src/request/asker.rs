//! The asker of a request, the client or a handler or plugin; and the budget of what one
//! request leads to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::end::Verdict;
use super::request::Request;
use crate::protocol::{ErrorCode, Event};
use crate::sync::Mutex;
use crate::{Error, Result};

/// The one that gets the answer.
#[derive(Debug)]
pub(crate) enum Asker {
    /// The client, through the session's outbox.
    Client,
    /// A handler, or a plugin by itself.
    Caller(Caller),
}

/// The reply to a nested request: its body fields.
pub(crate) type NestedReply = Result<Vec<u8>>;

/// A handler or plugin that waits for an answer.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The request on whose behalf it asks; it stands as long as this one.
    pub(super) parent: Option<Arc<Request>>,
    pub(crate) depth: usize,
    answer: Mutex<Option<oneshot::Sender<NestedReply>>>,
    /// Where events of the nested request go; without one they are dropped.
    pub(super) events: Option<mpsc::Sender<Event>>,
    /// Given back when the request is gone.
    _share: Share,
}

impl Caller {
    pub(super) fn new(
        parent: Option<Arc<Request>>,
        depth: usize,
        answer: oneshot::Sender<NestedReply>,
        events: Option<mpsc::Sender<Event>>,
        share: Share,
    ) -> Self {
        Self { parent, depth, answer: Mutex::new(Some(answer)), events, _share: share }
    }

    /// Hands the answer over; false when nobody waits for it any more.
    pub(super) fn answer(&self, verdict: &Verdict) -> bool {
        let sender = self.answer.lock().take();
        let reply = match verdict {
            Verdict::Reply { fields, .. } => Ok(fields.clone()),
            Verdict::Error { error, .. } => Err(error.clone()),
            Verdict::Nothing => Ok(Vec::new()),
        };
        sender.is_some_and(|sender| sender.send(reply).is_ok())
    }
}

/// Nested requests of one root that run at a time (R66).
const MOST_AT_A_TIME: usize = 64;

/// What one request of a client, or of a plugin by itself, may lead to.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    nested: AtomicUsize,
}

/// One nested request's share of its root's budget.
#[derive(Debug)]
pub(super) struct Share(Arc<Budget>);

impl Budget {
    /// Takes a share.
    /// Errors: `overloaded` when the root has as many nested requests as it may have at a time.
    pub(super) fn take(self: &Arc<Self>) -> Result<Share> {
        let more = |count: usize| (count < MOST_AT_A_TIME).then_some(count + 1);
        if self.nested.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok() {
            return Ok(Share(Arc::clone(self)));
        }
        let text = format!(
            "one request leads to more than {MOST_AT_A_TIME} others at a time; wait for some"
        );
        Err(Error::new(ErrorCode::Overloaded, text))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.nested.fetch_sub(1, Ordering::SeqCst);
    }
}

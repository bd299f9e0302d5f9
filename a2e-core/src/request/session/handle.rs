//! What plugins hold of a session: pushes, questions to the agent, holds.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serialize;

use super::Session;
use crate::codec::RawJson;
use crate::codec::envelope::encode_message;
use crate::protocol::{ErrorCode, Message, SessionId};
use crate::request::EmitError;
use crate::{Error, Result};

/// A session as plugins hold it: it may end while they do.
#[derive(Clone, Debug)]
pub struct SessionHandle {
    session: Weak<Session>,
    id: SessionId,
}

impl SessionHandle {
    pub(crate) fn of(session: &Arc<Session>) -> Self {
        Self { session: Arc::downgrade(session), id: session.id().clone() }
    }

    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        self.session.upgrade()
    }

    /// The session's id.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Whether the session still stands.
    pub fn is_open(&self) -> bool {
        self.session.upgrade().is_some_and(|session| session.is_open())
    }

    /// Whether the client takes events of a request that come right behind its reply
    /// ([`EARLY_EVENTS`](crate::protocol::EARLY_EVENTS)); else the first of them waits a moment.
    pub fn takes_early_events(&self) -> bool {
        self.session.upgrade().is_some_and(|session| session.takes_early_events())
    }

    /// Sends a message that answers no request. `req_id` may name a request that has ended.
    /// Never waits. Pushes may fill half of the session's outbound room; the rest is for replies.
    ///
    /// # Errors
    /// [`EmitError::Full`] when the reader is slow, [`EmitError::Gone`] when the session has ended.
    pub fn push<M: Message + Serialize>(
        &self,
        message: &M,
        req_id: Option<&str>,
    ) -> Result<(), EmitError> {
        self.push_as(M::TYPE, message, req_id)
    }

    /// As [`push`](Self::push), under a type that is known only at run time.
    ///
    /// # Errors
    /// As `push`.
    pub fn push_as<T: Serialize + ?Sized>(
        &self,
        wire_type: &str,
        body: &T,
        req_id: Option<&str>,
    ) -> Result<(), EmitError> {
        let session = self.with_room()?;
        session.push(wire_type, body, req_id)
    }

    /// As [`push`](Self::push), for many messages at a time: they leave in batches, the last of
    /// them with [`flush`](Self::flush).
    ///
    /// # Errors
    /// As `push`.
    pub fn queue<M: Message + Serialize>(
        &self,
        message: &M,
        req_id: Option<&str>,
    ) -> Result<(), EmitError> {
        self.with_room()?.queue(M::TYPE, message, req_id)
    }

    /// Sends what was [queued](Self::queue).
    pub fn flush(&self) {
        if let Some(session) = self.session.upgrade() {
            session.outbox.flush();
        }
    }

    /// Waits until there is room for a push; false when the session has ended.
    pub async fn room(&self) -> bool {
        let outbox = self.session.upgrade().map(|session| Arc::clone(&session.outbox));
        match outbox {
            Some(outbox) => outbox.room_for_pushes().await,
            None => false,
        }
    }

    /// As [`push`](Self::push), but waits for room.
    ///
    /// # Errors
    /// As `push`, without `Full`.
    pub async fn push_wait<M: Message + Serialize>(
        &self,
        message: &M,
        req_id: Option<&str>,
    ) -> Result<(), EmitError> {
        loop {
            match self.push(message, req_id) {
                Err(EmitError::Full) if self.room().await => {}
                Err(EmitError::Full) => return Err(EmitError::Gone),
                other => return other,
            }
        }
    }

    /// Asks the agent: sends it a message of this type with an id of its own, and waits for the line
    /// whose `req_id` is that id. Gives back that line, or the error that it is.
    ///
    /// # Errors
    /// `timeout` after `limit`, `overloaded` when 256 questions wait in the session already,
    /// `cancelled` when the session has ended, or the error that the agent answered.
    pub async fn ask<T: Serialize + ?Sized>(
        &self,
        wire_type: &str,
        body: &T,
        limit: Duration,
    ) -> Result<RawJson> {
        let asked = tokio::time::timeout(limit, self.ask_in_time(wire_type, body)).await;
        asked.unwrap_or_else(|_| {
            let text = format!("the agent gave no answer within {:.1} s", limit.as_secs_f64());
            Err(Error::new(ErrorCode::Timeout, text))
        })
    }

    async fn ask_in_time<T: Serialize + ?Sized>(
        &self,
        wire_type: &str,
        body: &T,
    ) -> Result<RawJson> {
        let gone = || Error::new(ErrorCode::Cancelled, "the session has ended");
        let session = self.session.upgrade().ok_or_else(gone)?;
        let (id, answer) = session.asks.begin(&session.services.ids.wire)?;
        let _forgotten = Forget(&session, &id);
        let mut line = Vec::with_capacity(256);
        let now = session.services.clock.now();
        encode_message(&mut line, &id, now, wire_type, None, body)
            .map_err(|error| Error::internal(format!("question not encoded: {error}")))?;
        // An agent that reads slowly is asked when it has read.
        if !session.outbox.room_for_pushes().await {
            return Err(gone());
        }
        session.outbox.append(|out| out.extend_from_slice(&line));
        session.outbox.flush();
        tokio::select! {
            answer = answer => answer.map_err(|_| gone())?,
            () = session.outbox.death() => Err(gone()),
        }
    }

    fn with_room(&self) -> Result<Arc<Session>, EmitError> {
        let session = self.session.upgrade().ok_or(EmitError::Gone)?;
        if session.outbox.is_dead() {
            return Err(EmitError::Gone);
        }
        if session.outbox.is_full_for_pushes() {
            return Err(EmitError::Full);
        }
        Ok(session)
    }

    /// Keeps the session from closing while something that it started goes on (a child whose exit
    /// is not told yet), up to the drain's deadline.
    pub fn hold(&self) -> Option<Hold> {
        self.session.upgrade().map(|session| Hold::new(&session))
    }
}

/// Forgets a question whose asker is gone.
struct Forget<'a>(&'a Session, &'a str);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.asks.forget(self.1);
    }
}

/// Keeps a session from closing while it lives; see [`SessionHandle::hold`].
#[derive(Debug)]
pub struct Hold(Arc<Session>);

impl Hold {
    pub(crate) fn new(session: &Arc<Session>) -> Self {
        session.life.holds.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(session))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.life.holds.fetch_sub(1, Ordering::AcqRel);
        self.0.life.changed.notify_waiters();
    }
}

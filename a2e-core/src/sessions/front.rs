//! A session that outlives its connections, as a front (HTTP, a WebSocket) drives it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;

use super::hub::{Hub, Served};
use super::intake::Intake;
use super::serve::{End, finish, handshake_overdue};
use crate::Result;
use crate::codec::envelope::write_message;
use crate::codec::{LineBuffer, LineItem, encode_fields};
use crate::counters::Count;
use crate::layers::TraceHead;
use crate::out::Ring;
use crate::protocol::{Message, SessionGap};
use crate::request::{OnDetach, SessionHandle};
use crate::transport::{ByteSink, Identity, Peer};

/// A session without a connection of its own: lines are fed to it, and what it sends is numbered,
/// attached to a sink, or read from a number on.
///
/// It ends with [`end`](Self::end), with its host, or when for as long as it was to be kept nothing
/// was fed, read or attached, and no request was in flight.
pub struct Front {
    served: Served,
    /// Held while lines are taken, so that those of two requests of a front do not mix.
    intake: AsyncMutex<Intake>,
    seen: Mutex<Duration>,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("session", &self.served.session).finish_non_exhaustive()
    }
}

impl Front {
    pub(crate) fn open(
        hub: &Arc<Hub>,
        peer: Peer,
        identity: Identity,
        keep: Duration,
    ) -> Result<Arc<Self>> {
        let (services, stall) = (&hub.services, hub.stall);
        let on_detach = OnDetach::Keep(keep);
        let session = services.live.open(services, peer, identity, None, on_detach, stall);
        let session = session.inspect_err(|_| services.counters.add(Count::RefusedSession))?;
        let limits = &services.config.limits;
        let room = limits.max_resume_bytes.max(2 * limits.max_outbound_bytes);
        session.outbox.begin_ring(Box::new(Ring::new(&hub.plugins.kept.budget, room)));
        let served = Served { hub: Arc::clone(hub), session };
        let front = Arc::new(Self {
            intake: AsyncMutex::new(Intake::new(&served)),
            seen: Mutex::new(served.session.now().mono),
            served,
        });
        let (watched, served) = (Arc::downgrade(&front), front.served.clone());
        services.runtime.spawn(async move {
            let why = Self::over(&watched, &served, keep).await;
            finish(&served, why, None).await;
        });
        Ok(front)
    }

    /// Resolves when the session is over.
    async fn over(front: &std::sync::Weak<Self>, served: &Served, keep: Duration) -> End {
        let session = &served.session;
        let look = (keep / 4).clamp(Duration::from_millis(5), Duration::from_secs(30));
        let mut was_in_use = false;
        let overdue = handshake_overdue(session);
        tokio::pin!(overdue);
        loop {
            tokio::select! {
                () = session.outbox.death() => return End::Lost,
                () = crate::request::drained(session) => return End::Drain,
                () = &mut overdue => return End::Drain,
                () = tokio::time::sleep(look) => {}
            }
            if session.outbox.is_attached() || !session.in_flight.is_empty() {
                was_in_use = true;
                continue;
            }
            let front = front.upgrade();
            if let Some(front) = front.as_ref().filter(|_| was_in_use) {
                // The loss of a stream, or the last answer, begins the time for which it is kept.
                front.note_seen();
            }
            was_in_use = false;
            let idle = front.map(|front| session.now().mono.saturating_sub(front.last_seen()));
            if idle.is_none_or(|idle| idle >= keep) {
                tracing::debug!(session = %session.id(), "nothing came for the session any more");
                served.hub.services.counters.add(Count::IdleSession);
                return End::Drain;
            }
        }
    }

    fn last_seen(&self) -> Duration {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_seen(&self) {
        let now = self.served.session.now().mono;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// The session, for pushes and questions.
    pub fn session(&self) -> SessionHandle {
        SessionHandle::of(&self.served.session)
    }

    /// Takes lines, one or several, each an A2E message; the last one may lack its newline. Waits while
    /// the session has too much in flight or unread; false when it has ended.
    pub async fn feed(&self, bytes: &[u8]) -> bool {
        self.feed_traced(bytes, None, None).await
    }

    /// As [`feed`](Self::feed), with the `traceparent` and `tracestate` that stood in the head of a request, for the
    /// lines that have none of their own.
    pub async fn feed_traced(
        &self,
        bytes: &[u8],
        traceparent: Option<&str>,
        tracestate: Option<&str>,
    ) -> bool {
        self.note_seen();
        let session = &self.served.session;
        let services = &self.served.hub.services;
        let limit = services.config.limits.max_line_bytes;
        let mut intake = self.intake.lock().await;
        let read = |parent| TraceHead::read(&services.counters, parent, tracestate);
        intake.trace = traceparent.and_then(read);
        let mut lines = LineBuffer::new(limit);
        lines.buffer().extend_from_slice(bytes);
        lines.buffer().extend_from_slice(b"\n");
        let mut next = lines.next_item();
        while let Some(item) = next {
            if !session.is_open() {
                return false;
            }
            let has_room = async {
                session.wait_changed(|it| !it.has_too_many_bytes()).await;
                session.outbox.room().await
            };
            if !has_room.await {
                return false;
            }
            intake.begin();
            match item {
                LineItem::Line(length) => {
                    intake.take(lines.front(length));
                    lines.consume(length);
                }
                LineItem::TooLong => intake.too_long(),
            }
            intake.end();
            if let Some(asked) = intake.asked.take() {
                self.served.resume(*asked).await;
            }
            next = lines.next_item();
        }
        session.is_open()
    }

    /// Sends everything to this sink from now on, and first every kept line after the first `received`.
    /// Returns how many lines in between are lost; `None` when fewer than `received` were ever sent, or
    /// the session has ended. A sink that was attached before is closed.
    pub fn attach(&self, sink: Arc<dyn ByteSink>, received: u64) -> Option<u64> {
        self.note_seen();
        self.served.session.outbox.attach(sink, received)
    }

    /// Takes the sink away; the session goes on.
    pub fn detach(&self) {
        self.note_seen();
        self.served.session.outbox.detach(None);
    }

    /// As [`detach`](Self::detach), unless another sink has taken the place of this one.
    pub fn leave(&self, sink: &Arc<dyn ByteSink>) {
        self.note_seen();
        self.served.session.outbox.detach(Some(sink));
    }

    /// Resolves when the session has ended.
    pub async fn ended(&self) {
        self.served.session.outbox.death().await;
    }

    /// The kept lines after the first `received`, and how many in between are lost; `None` when fewer
    /// were ever sent, or the session ended for want of an audit.
    pub async fn read_after(&self, received: u64) -> Option<(u64, Vec<u8>)> {
        self.note_seen();
        let outbox = &self.served.session.outbox;
        // What an answer acknowledges is in the audit before the answer is out.
        if !outbox.committed().await && outbox.is_dead() {
            return None;
        }
        outbox.read_after(received)
    }

    /// Waits until more than `received` lines were sent; false when the session has ended.
    pub async fn sent_beyond(&self, received: u64) -> bool {
        self.served.session.outbox.sent_beyond(received).await
    }

    /// The line, without its newline, that tells a client how many lines it missed for good. It has no
    /// number among the others.
    pub fn gap_line(&self, lost: u64) -> Vec<u8> {
        let (services, mut fields) = (&self.served.hub.services, Vec::new());
        if let Err(error) = encode_fields(&SessionGap { lost }, &mut fields) {
            tracing::error!(%error, "a gap cannot be told");
        }
        let now = self.served.session.now();
        let mut line = Vec::new();
        write_message(&mut line, &services.ids.wire, now, SessionGap::TYPE, None, &fields);
        line.truncate(line.trim_ascii_end().len());
        line
    }

    /// How many lines were sent so far.
    pub fn sent(&self) -> u64 {
        self.served.session.outbox.numbered().unwrap_or_default()
    }

    /// Whether the session still stands.
    pub fn is_open(&self) -> bool {
        self.served.session.is_open()
    }

    /// Ends the session: its requests are answered `shutting_down` unless they finish within `drain`.
    pub fn end(&self, drain: Duration) {
        let session = &self.served.session;
        session.drain(session.now().mono.saturating_add(drain));
    }
}

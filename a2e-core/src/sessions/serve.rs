//! The life of a session: opened for a connection, served, drained, closed.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::hub::{Hub, Served};
use super::reader::Reader;
use crate::codec::envelope::write_message;
use crate::counters::Count;
use crate::request::{
    CancelReason, OnDetach, Session, SessionHandle, SessionPhase, drained, error_fields,
};
use crate::transport::{ByteSink, ByteSource, Connection, Identity, Peer};
use crate::{Error, Result};

/// How long what a plugin said while it let go of a session may take to leave.
const LAST_WORDS: Duration = Duration::from_millis(150);

/// How long what was answered may take to leave a session whose reader hangs.
const HUNG_WORDS: Duration = Duration::from_millis(500);

/// After the end, what a peer still sends is read and dropped for this long: closing a TCP
/// connection with unread input would take back answers that are on their way.
const AFTER_END: Duration = Duration::from_millis(100);

/// How long a peer of a host with a token may take to shake hands; never on stdio.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Serves one connection until it ends.
pub(crate) async fn serve(hub: Arc<Hub>, connection: Connection, identity: Identity) {
    let Connection { source, sink, peer } = connection;
    match open(&hub, &sink, peer, identity) {
        Ok(session) => {
            drop(sink);
            run(Served { hub, session }, source).await;
        }
        Err(error) => turn_away(&hub, source, &*sink, &error).await,
    }
}

/// Opens a session over a connection and serves it in a task of its own.
///
/// # Errors
/// When the host opens no more sessions; the connection is dropped then.
pub(crate) fn begin(
    hub: &Arc<Hub>,
    connection: Connection,
    identity: Identity,
) -> Result<SessionHandle> {
    let Connection { source, sink, peer } = connection;
    let session = open(hub, &sink, peer, identity)?;
    let handle = SessionHandle::of(&session);
    let served = Served { hub: Arc::clone(hub), session };
    hub.services.runtime.spawn(run(served, source));
    Ok(handle)
}

fn open(
    hub: &Hub,
    sink: &Arc<dyn ByteSink>,
    peer: Peer,
    identity: Identity,
) -> Result<Arc<Session>> {
    let out = Some(Arc::clone(sink));
    let live = &hub.services.live;
    live.open(&hub.services, peer, identity, out, OnDetach::End, hub.stall)
}

/// Serves a session until its connection ends.
async fn run(served: Served, source: ByteSource) {
    let session = &served.session;
    tracing::debug!(session = %session.id(), peer = %session.peer.name, "session opened");
    let mut open = Open(Some(served.clone()));
    let mut reader = Reader::new(&served, source);
    let end = reader.run().await;
    finish(&served, end, Some(reader.into_source())).await;
    open.0 = None;
}

/// Tells a connection in one line why it gets no session.
async fn turn_away(hub: &Hub, source: ByteSource, sink: &dyn ByteSink, error: &Error) {
    tracing::warn!(%error, "session refused");
    hub.services.counters.add(Count::RefusedSession);
    let mut line = Vec::new();
    let now = hub.services.clock.now();
    let fields = error_fields(error, "");
    write_message(&mut line, &hub.services.ids.wire, now, "error", Some(""), &fields);
    let written = async {
        let mut sent = 0;
        while let Some(rest) = line.get(sent..).filter(|rest| !rest.is_empty()) {
            match sink.try_write(rest) {
                Ok(taken) => sent += taken,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if sink.ready().await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    };
    let _long_enough = tokio::time::timeout(LAST_WORDS, written).await;
    sink.close();
    read_rest(source).await;
}

/// Reads and drops what a peer still sends, for a moment.
async fn read_rest(mut source: ByteSource) {
    let rest = async {
        let mut block = [0; 4096];
        while source.read(&mut block).await.is_ok_and(|read| read > 0) {}
    };
    let _long_enough = tokio::time::timeout(AFTER_END, rest).await;
}

/// Ends the session of a task that was dropped or panicked.
struct Open(Option<Served>);

impl Drop for Open {
    fn drop(&mut self) {
        let Some(Served { hub, session }) = self.0.take() else { return };
        session.life.advance(SessionPhase::Closed);
        session.outbox.kill();
        session.set_inline(None);
        session.outbox.release();
        session.end_all(CancelReason::ClientGone);
        hub.services.live.remove(&session);
        let runtime = hub.services.runtime.clone();
        runtime.spawn(async move { hub.plugins.session_ended(&session).await });
    }
}

/// The reader of a session hangs in a handler, and the session was closed: lets go of it without the
/// reader.
pub(crate) fn cut_hung(hub: &Arc<Hub>, session: &Arc<Session>) {
    let (hub, session) = (Arc::clone(hub), Arc::clone(session));
    let runtime = hub.services.runtime.clone();
    runtime.spawn(async move {
        // What was answered before gets a moment to leave.
        let _gone = tokio::time::timeout(HUNG_WORDS, session.outbox.sent()).await;
        session.outbox.kill();
        hub.services.live.remove(&session);
        hub.plugins.session_ended(&session).await;
        if session.peer.is_stdio
            && let Some(desk) = hub.desk()
        {
            desk.fail("an inline handler hangs on stdio");
        }
    });
}

/// Why a reader stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer sends no more.
    Input,
    /// The session was told to end.
    Drain,
    /// The connection is lost.
    Lost,
}

/// Drains, answers what is left, and forgets the session.
pub(super) async fn finish(served: &Served, end: End, source: Option<ByteSource>) {
    let Served { hub, session } = served;
    if end == End::Input {
        session.drain(session.now().mono.saturating_add(hub.drain));
        tokio::select! {
            () = drained(session) => {}
            () = peer_left(session) => session.end_all(CancelReason::ClientGone),
        }
    }
    session.life.advance(SessionPhase::Draining);
    let is_gone = end == End::Lost || session.outbox.is_dead();
    let reason = if is_gone { CancelReason::ClientGone } else { CancelReason::Shutdown };
    session.end_all(reason);
    hub.plugins.sweep();
    hub.plugins.session_ended(session).await;
    // A thread that ends a request at this very moment has said so, and is about to queue the answer.
    let all_answered = session.wait_changed(|it| it.in_flight.is_empty());
    let _soon = tokio::time::timeout(LAST_WORDS, all_answered).await;
    // What a plugin said while it let go of the session still leaves.
    let sent = tokio::time::timeout(LAST_WORDS, session.outbox.sent()).await;
    if sent != Ok(true) && !session.outbox.is_dead() {
        tracing::debug!(session = %session.id(), "the peer did not read its last messages");
    }
    session.life.advance(SessionPhase::Closed);
    session.outbox.close();
    if let Some(source) = source.filter(|_| end == End::Drain && !session.peer.is_stdio) {
        read_rest(source).await;
    }
    session.outbox.kill();
    // Has what was recorded made safe, without waiting for a disk.
    hub.services.audit.log().begin_commit();
    hub.services.live.remove(session);
    tracing::debug!(session = %session.id(), ?end, "session closed");
}

/// Resolves when a peer that has to shake hands did not in time.
pub(super) async fn handshake_overdue(session: &Session) {
    if session.services.config.needs_token() && !session.peer.is_stdio {
        tokio::time::sleep(HANDSHAKE_LIMIT).await;
        if !session.is_authenticated() {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// Waits until the peer, whose input has ended, is known to read no more either.
pub(super) async fn peer_left(session: &Session) {
    // Asked for at intervals: a half-closed connection is no event of its own.
    while !session.outbox.peer_is_gone().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

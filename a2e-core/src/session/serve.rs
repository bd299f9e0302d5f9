//! The life of a session: opened for a connection, served, drained, closed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::reader::Reader;
use super::{Phase, Session};
use crate::dispatch::CancelReason;
use crate::executor::Kernel;
use crate::transport::{ByteSource, Connection};

/// How long what a plugin said while it let go of a session may take to leave.
const LAST_WORDS: Duration = Duration::from_millis(150);

/// After the end, what a peer still sends is read and dropped for this long: closing a TCP
/// connection with unread input would take back answers that are on their way.
const AFTER_END: Duration = Duration::from_millis(100);

/// How long a peer of a host with a token may take to shake hands; never on stdio.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Whose thread a session's reader runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thread {
    /// Its own.
    Own,
    /// One of the host's, which other sessions need, too.
    Shared,
}

/// Serves one connection until it ends.
pub(crate) async fn serve(kernel: Arc<Kernel>, connection: Connection, thread: Thread) {
    let Connection { source, sink, peer } = connection;
    let session = match kernel.open_session(peer, sink) {
        Ok(session) => session,
        Err(error) => {
            tracing::warn!(%error, "session refused");
            return;
        }
    };
    tracing::debug!(session = %session.id(), peer = %session.peer.name, "session opened");
    let mut open = Open(Some(session));
    let Some(session) = open.0.clone() else { return };
    let mut reader = Reader::new(&session, source, thread);
    let end = reader.run().await;
    let source = reader.into_source();
    finish_session(&session, end, source).await;
    open.0 = None;
}

/// Ends the session of a task that was dropped or panicked.
struct Open(Option<Arc<Session>>);

impl Drop for Open {
    fn drop(&mut self) {
        let Some(session) = self.0.take() else { return };
        session.is_reading.store(false, Ordering::Release);
        session.advance(Phase::Closed);
        drop(session.take_inline());
        session.sink.kill();
        session.end_all(CancelReason::ClientGone);
        session.kernel.remove_session(&session);
        let kernel = Arc::clone(&session.kernel);
        let runtime = kernel.runtime.clone();
        runtime.spawn(async move { kernel.session_ended(&session).await });
    }
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

/// Waits for room, or for the end of the session.
pub(super) async fn unless_draining(session: &Session, room: impl Future<Output = bool>) -> bool {
    tokio::select! {
        has_room = room => has_room,
        () = drained(session) => false,
    }
}

/// Waits until a session that drains is idle or past its deadline.
pub(super) async fn drained(session: &Session) {
    session.wait_phase(Phase::Draining).await;
    loop {
        let now = session.now().mono;
        let left =
            session.drain_deadline().map_or(Duration::ZERO, |until| until.saturating_sub(now));
        if left.is_zero() || session.phase() == Phase::Closed {
            return;
        }
        let idle = session.wait_changed(|it| it.is_idle() || it.phase() == Phase::Closed);
        // Woken again when the deadline is brought forward.
        if tokio::time::timeout(left.min(Duration::from_millis(50)), idle).await.is_ok() {
            return;
        }
    }
}

/// Drains, answers what is left, and forgets the session.
async fn finish_session(session: &Arc<Session>, end: End, mut source: ByteSource) {
    let kernel = &session.kernel;
    if end == End::Input {
        session.drain(session.now().mono.saturating_add(kernel.drain_limit()));
        tokio::select! {
            () = drained(session) => {}
            () = peer_left(session) => session.end_all(CancelReason::ClientGone),
        }
    }
    session.advance(Phase::Draining);
    let is_gone = end == End::Lost || session.sink.is_dead();
    let reason = if is_gone { CancelReason::ClientGone } else { CancelReason::Shutdown };
    session.end_all(reason);
    kernel.session_ended(session).await;
    // Whoever ends a request at this very moment has said so, and is about to queue the answer.
    let all_answered = session.wait_changed(|it| it.in_flight.is_empty());
    let _soon = tokio::time::timeout(LAST_WORDS, all_answered).await;
    // What a plugin said while it let go of the session still leaves.
    let sent = tokio::time::timeout(LAST_WORDS, session.sink.sent()).await;
    if sent != Ok(true) && !session.sink.is_dead() {
        tracing::debug!(session = %session.id(), "the peer did not read its last messages");
    }
    session.advance(Phase::Closed);
    session.sink.close();
    if end == End::Drain && !session.peer.is_stdio {
        let rest = async {
            let mut block = [0; 4096];
            while source.read(&mut block).await.is_ok_and(|read| read > 0) {}
        };
        let _long_enough = tokio::time::timeout(AFTER_END, rest).await;
    }
    session.sink.kill();
    kernel.commit_audit();
    kernel.remove_session(session);
    tracing::debug!(session = %session.id(), ?end, "session closed");
}

/// Resolves when a peer that has to shake hands did not in time.
pub(super) async fn handshake_overdue(session: &Session) {
    if session.kernel.config.auth_token.is_some() && !session.peer.is_stdio {
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
    while !session.sink.peer_is_gone().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

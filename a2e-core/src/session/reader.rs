//! The reader of a session: takes lines from the transport, checks them, and starts their requests.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::{Phase, Session};
use crate::audit::{AuditRecord, Outcome};
use crate::codec::envelope::write_message;
use crate::codec::scan::{Scanned, scan};
use crate::codec::{Envelope, Incoming, LineBuffer, LineItem};
use crate::dispatch::{
    Accepted, Active, Call, CancelReason, NEVER, Place, Route, RouteTable, error_body, start,
};
use crate::executor::Kernel;
use crate::protocol::ErrorCode;
use crate::transport::{ByteSource, Connection};
use crate::{Error, Time};

/// How long what was answered at the end of a session may take to leave.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Serves one connection until it ends.
pub(crate) async fn serve(kernel: Arc<Kernel>, connection: Connection) {
    let Connection { source, sink, peer } = connection;
    let session = match kernel.open_session(peer, sink) {
        Ok(session) => session,
        Err(error) => {
            tracing::warn!(%error, "session refused");
            return;
        }
    };
    tracing::debug!(session = %session.id, peer = %session.peer.name, "session opened");
    let mut reader = Reader::new(&session, source);
    let end = reader.run().await;
    drop(reader);
    finish_session(&session, end).await;
}

/// Why a reader stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The peer sends no more.
    Input,
    /// The session was told to end.
    Drain,
    /// The connection is lost.
    Lost,
}

struct Reader {
    session: Arc<Session>,
    source: ByteSource,
    lines: LineBuffer,
    table: Arc<RouteTable>,
    table_generation: u64,
    hasher: std::hash::RandomState,
    /// The request object of an earlier inline call, for use again.
    spare: Option<Arc<Active>>,
    /// The time, as of the last step on the reader.
    now: Time,
}

impl Reader {
    fn new(session: &Arc<Session>, source: ByteSource) -> Self {
        let kernel = &session.kernel;
        Self {
            source,
            lines: LineBuffer::new(kernel.config.limits.max_line_bytes),
            table: kernel.table(),
            table_generation: kernel.table_generation(),
            hasher: std::hash::RandomState::new(),
            spare: None,
            now: session.now(),
            session: Arc::clone(session),
        }
    }

    async fn run(&mut self) -> End {
        let session = Arc::clone(&self.session);
        let mut last_read = 0;
        loop {
            let is_done = self.take_lines();
            if session.sink.is_dead() || session.phase() == Phase::Closed {
                return End::Lost;
            }
            // Hold back a peer that does not read, or that has too much in flight.
            if session.sink.is_full() {
                if unless_draining(&session, session.sink.room()).await {
                    continue;
                }
                return self.why();
            }
            if session.has_too_many_bytes() {
                let fits = async {
                    session.wait_changed(|it| !it.has_too_many_bytes() || it.sink.is_dead()).await;
                    true
                };
                if unless_draining(&session, fits).await {
                    continue;
                }
                return self.why();
            }
            if !is_done {
                // There was no room for the lines that were read already, and now there is again.
                continue;
            }
            self.lines.prepare(last_read);
            let read = tokio::select! {
                read = self.source.read_buf(self.lines.buffer()) => read,
                () = session.sink.death() => return End::Lost,
                () = drained(&session) => return End::Drain,
            };
            match read {
                Ok(0) => {
                    self.take_tail();
                    return End::Input;
                }
                Ok(read) => last_read = read,
                Err(error) => {
                    tracing::debug!(%error, session = %session.id, "connection lost while reading");
                    return End::Lost;
                }
            }
        }
    }

    fn why(&self) -> End {
        if self.session.sink.is_dead() { End::Lost } else { End::Drain }
    }

    /// Works on every whole line that is in the buffer, then sends what was answered. False when it
    /// had to stop before the last.
    fn take_lines(&mut self) -> bool {
        let session = Arc::clone(&self.session);
        let Some(mut item) = self.lines.next_item() else { return true };
        session.is_reading.store(true, Ordering::Release);
        session.be_watched();
        self.now = session.now();
        self.refresh_table();
        let is_done = loop {
            match item {
                LineItem::Line(length) => {
                    let mut lines = std::mem::replace(&mut self.lines, LineBuffer::new(0));
                    self.take_line(lines.front(length));
                    lines.consume(length);
                    self.lines = lines;
                }
                LineItem::TooLong => {
                    let limit = session.kernel.config.limits.max_line_bytes;
                    let text = format!("a line is longer than {limit} bytes");
                    // Its `req_id` was not read; by the limit a client knows which calls are meant.
                    let refusal =
                        Error::new(ErrorCode::LineTooLong, text).with_detail("limit", limit);
                    self.refuse("", "", &refusal, limit);
                }
            }
            let is_cut = session.phase() == Phase::Closed;
            if is_cut || session.sink.is_full() || session.has_too_many_bytes() {
                break false;
            }
            match self.lines.next_item() {
                Some(next) => item = next,
                None => break true,
            }
        };
        session.is_reading.store(false, Ordering::Release);
        session.sink.flush();
        is_done
    }

    /// At the end of input, what stands there without a newline counts as a line.
    fn take_tail(&mut self) {
        let tail = self.lines.tail().to_vec();
        if !tail.iter().all(u8::is_ascii_whitespace) {
            self.now = self.session.now();
            self.take_line(&tail);
            self.session.sink.flush();
        }
    }

    fn refresh_table(&mut self) {
        let generation = self.session.kernel.table_generation();
        if generation != self.table_generation {
            self.table = self.session.kernel.table();
            self.table_generation = generation;
        }
    }

    fn take_line(&mut self, line: &[u8]) {
        let scanned = match scan(line) {
            Ok(scanned) => scanned,
            Err(error) => {
                let refusal = Error::new(ErrorCode::ParseError, error.to_string())
                    .with_detail("offset", error.offset);
                return self.refuse("", "", &refusal, line.len());
            }
        };
        let envelope = match Envelope::of(&scanned) {
            Ok(envelope) => envelope,
            // An error is never answered with an error, whatever else is wrong with it.
            Err(_) if scanned.kind.as_text() == Some("error") => {
                return self.session.kernel.counters.peer_errors.add();
            }
            Err(refused) => {
                if refused.is_handshake && *refused.error.code() == ErrorCode::VersionMismatch {
                    return self.session.refuse_version(&refused.req_id);
                }
                let kind = scanned.kind.as_text().unwrap_or_default();
                return self.refuse(kind, &refused.req_id, &refused.error, line.len());
            }
        };
        let id = envelope.id.as_deref();
        if self.session.control(&envelope, &scanned, self.now) {
            return;
        }
        let session = Arc::clone(&self.session);
        // Before all else, also while the session ends: whatever is answered under an id in flight
        // would end that call for its sender.
        if let Some(first) = id.and_then(|id| session.find(id)) {
            return self.meet_again(&first, &envelope.kind, &scanned);
        }
        let refusal = match session.gate() {
            Ok(()) => match self.table.get(&envelope.kind) {
                Some(route) => {
                    let route = Arc::clone(route);
                    return self.accept(&route, &scanned, id);
                }
                None => unhandled(&envelope.kind, &self.table),
            },
            Err(refusal) => refusal,
        };
        self.refuse(&envelope.kind, id.unwrap_or_default(), &refusal, line.len());
    }

    /// A line under the id of a request in flight: a repeat of it, or another request.
    fn meet_again(&self, first: &Active, kind: &str, scanned: &Scanned<'_>) {
        let is_repeat = first.input_bytes == scanned.text.len()
            && first.fingerprint == self.hasher.hash_one(scanned.text);
        if is_repeat {
            return self.session.kernel.counters.repeated.add();
        }
        let text = "this id is in use by another request of the session";
        let refusal =
            Error::new(ErrorCode::DuplicateRequest, text).with_detail("id", first.id.as_str());
        self.refuse(kind, "", &refusal, scanned.text.len());
    }

    /// Starts a request. From here on it gets exactly one answer.
    fn accept(&mut self, route: &Arc<Route>, scanned: &Scanned<'_>, id: Option<&str>) {
        let session = Arc::clone(&self.session);
        let kernel = Arc::clone(&session.kernel);
        let fingerprint = self.hasher.hash_one(scanned.text);
        let made;
        let id = if let Some(id) = id {
            id
        } else {
            made = kernel.ids.next_id();
            made.as_str()
        };
        let deadline_us = route.limit(&scanned.timeout).map_or(NEVER, |limit| {
            let limit = u64::try_from(limit.as_micros()).unwrap_or(NEVER);
            self.now.mono_us().saturating_add(limit)
        });
        let accepted = Accepted {
            id,
            correlation_id: scanned.correlation_id.as_text(),
            input_bytes: scanned.text.len(),
            fingerprint,
            at: self.now,
            deadline_us,
        };
        let active = self.active(route, &accepted);
        session.set_inline(Some(Arc::clone(&active)));
        let call = Call(active);
        start(&call, Incoming::new(scanned.text, scanned.depth), Place::Reader);
        session.set_inline(None);
        self.now = session.now();
        self.spare = Some(call.0);
    }

    /// The object of a new request; the memory of an earlier one, if nobody holds that any more.
    fn active(&mut self, route: &Arc<Route>, accepted: &Accepted<'_>) -> Arc<Active> {
        let (kernel, session) = (&self.session.kernel, &self.session);
        if let Some(mut spare) = self.spare.take()
            && let Some(earlier) = Arc::get_mut(&mut spare)
        {
            let id = std::mem::take(&mut earlier.id);
            *earlier = Active::new(kernel, session, route, accepted, id);
            return spare;
        }
        Arc::new(Active::new(kernel, session, route, accepted, String::new()))
    }

    /// Answers a line that is not accepted.
    fn refuse(&self, kind: &str, req_id: &str, error: &Error, input_bytes: usize) {
        self.session.refuse(kind, req_id, error, input_bytes);
    }
}

impl Session {
    /// Answers something that is not accepted with an error, and records it.
    pub(super) fn refuse(&self, kind: &str, req_id: &str, error: &Error, input_bytes: usize) {
        let now = self.now();
        // Under the id of a request in flight it would end that one for its sender.
        let is_in_use = !req_id.is_empty() && self.find(req_id).is_some();
        let fields = if is_in_use {
            error_body(&error.clone().with_detail("id", req_id), "")
        } else {
            error_body(error, "")
        };
        let req_id = if is_in_use { "" } else { req_id };
        self.kernel.counters.refused.add();
        self.sink.append(|out| {
            let before = out.len();
            write_message(out, &self.kernel.ids, now, "error", Some(req_id), &fields);
            self.kernel.audit(&AuditRecord {
                session_id: self.id.as_str(),
                req_id,
                kind,
                agent_id: self.agent_id_ref(),
                outcome: Outcome::Refused,
                error_code: Some(error.code().as_str()),
                input_bytes,
                output_bytes: out.len() - before,
                ..AuditRecord::at(now)
            });
        });
        self.flush_unless_reading();
    }
}

/// The error for a type that has no route.
fn unhandled(kind: &str, table: &RouteTable) -> Error {
    let is_sent_by_hosts = matches!(kind, "pong" | "handshake/resp" | "invoke/event")
        || ["/resp", "/event", "/push"].iter().any(|end| kind.ends_with(end));
    if is_sent_by_hosts {
        return Error::invalid(format!("`{kind}` is sent by hosts, not to them"));
    }
    let text = format!("no plugin handles `{kind}`");
    let nearest = table
        .types()
        .into_iter()
        .map(|known| (strsim::jaro_winkler(known, kind), known))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, known)) => {
            Error::new(ErrorCode::UnknownType, format!("{text}; is `{known}` meant?"))
        }
        None => Error::new(ErrorCode::UnknownType, text),
    }
}

/// Waits for room, or for the end of the session.
async fn unless_draining(session: &Session, room: impl Future<Output = bool>) -> bool {
    tokio::select! {
        has_room = room => has_room,
        () = drained(session) => false,
    }
}

/// Waits until a session that drains is idle or past its deadline.
async fn drained(session: &Session) {
    session.wait_changed(|it| it.phase() >= Phase::Draining).await;
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
async fn finish_session(session: &Arc<Session>, end: End) {
    let kernel = &session.kernel;
    if end == End::Input {
        session.drain(session.now().mono + kernel.drain_limit());
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
    // What a plugin said while it let go of the session still leaves.
    let sent = tokio::time::timeout(LAST_WORDS, session.sink.sent()).await;
    if sent != Ok(true) && !session.sink.is_dead() {
        tracing::debug!(session = %session.id, "the peer did not read its last messages");
    }
    session.advance(Phase::Closed);
    session.sink.close();
    session.sink.kill();
    kernel.remove_session(session);
    tracing::debug!(session = %session.id, ?end, "session closed");
}

/// Waits until the peer, whose input has ended, is known to read no more either.
async fn peer_left(session: &Session) {
    // Asked for at intervals: a half-closed connection is no event of its own.
    while !session.sink.peer_is_gone().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

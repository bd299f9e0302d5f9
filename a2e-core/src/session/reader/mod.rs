//! The reader of a session: takes lines from the transport, checks them, and starts their requests.

mod awake;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BufMut;
use futures_util::FutureExt;
use tokio::io::AsyncReadExt;

use self::awake::Awake;
use super::control::Control;
use super::refuse::unhandled;
use super::resume::Asked;
use super::serve::{End, Thread, drained, handshake_overdue, peer_left, unless_draining};
use super::{Phase, Session};
use crate::codec::scan::{Key, Outline, ScanError, Scanned, scan_into};
use crate::codec::{Envelope, EnvelopeError, Incoming, LineBuffer, LineItem};
use crate::dispatch::{Accepted, Active, Call, Place, Route, RouteTable, start};
use crate::protocol::ErrorCode;
use crate::transport::ByteSource;
use crate::{Error, Time};

/// Reads between two voluntary pauses.
const YIELD_EVERY: u32 = 16;

/// So many lines are checked before the first of them is worked on, unless they have so many bytes. What
/// a message needs of code is more than the processor's cache for it holds (32 KiB); of the check alone
/// and the work alone each stays there from one line to the next.
const AHEAD: usize = 16;
const AHEAD_BYTES: usize = 16 * 1024;

thread_local! {
    /// What is found in lines; kept for its memory. That of the session before is still in the cache.
    static OUTLINES: RefCell<Vec<Outline>> = const { RefCell::new(Vec::new()) };
}

pub(super) struct Reader {
    session: Arc<Session>,
    source: ByteSource,
    thread: Thread,
    lines: LineBuffer,
    table: Arc<RouteTable>,
    table_generation: u64,
    /// The route of the line before.
    last_route: Option<Arc<Route>>,
    /// The object of an earlier request, for use again.
    spare: Option<Arc<Active>>,
    /// Whether nothing but refused handshakes was taken yet.
    is_first: bool,
    /// A handshake that has to be answered before another line is taken.
    asked: Option<Box<Asked>>,
    /// The time, as of the last step on the reader.
    now: Time,
    /// Whether to look for more before the thread sleeps.
    awake: Awake,
}

impl Reader {
    pub(super) fn new(session: &Arc<Session>, source: ByteSource, thread: Thread) -> Self {
        let kernel = &session.kernel;
        Self {
            source,
            thread,
            lines: LineBuffer::new(kernel.config.limits.max_line_bytes),
            table: kernel.table(),
            table_generation: kernel.table_generation(),
            last_route: None,
            spare: None,
            is_first: true,
            asked: None,
            now: session.now(),
            awake: Awake::default(),
            session: Arc::clone(session),
        }
    }

    pub(super) fn into_source(self) -> ByteSource {
        self.source
    }

    pub(super) async fn run(&mut self) -> End {
        let session = Arc::clone(&self.session);
        let (mut last_read, mut turns) = (0, 0_u32);
        // Begun once: to begin to wait anew for each line costs as much as to look for its route.
        let told_to_end = told_to_end(&session);
        tokio::pin!(told_to_end);
        loop {
            let is_done = self.take_lines();
            self.resume_if_asked().await;
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
                    session.wait_changed(|it| !it.has_too_many_bytes()).await;
                    true
                };
                tokio::select! {
                    has_room = unless_draining(&session, fits) => {
                        if has_room {
                            continue;
                        }
                        return self.why();
                    }
                    () = session.sink.death() => return End::Lost,
                    () = peer_left(&session) => return End::Lost,
                }
            }
            if !is_done {
                // There was no room for the lines that were read already, and now there is again.
                continue;
            }
            turns += 1;
            if turns % YIELD_EVERY == 0 {
                // A peer that never pauses leaves the thread to others now and then.
                tokio::task::yield_now().await;
            }
            let room = self.lines.prepare(last_read);
            let read = if let Some(read) = self.read_soon(room).await {
                read
            } else {
                let mut into = self.lines.buffer().limit(room);
                let read = self.source.read_buf(&mut into);
                if session.is_authenticated() && !session.is_ending() {
                    // What came is looked at first: it is mostly why we wake.
                    tokio::select! { biased; read = read => read, end = &mut told_to_end => return end }
                } else {
                    // Not here, or a peer that never pauses would never be told.
                    tokio::select! { biased; end = &mut told_to_end => return end, read = read => read }
                }
            };
            match read {
                Ok(0) => {
                    self.take_tail();
                    self.resume_if_asked().await;
                    return End::Input;
                }
                Ok(read) => last_read = read,
                Err(error) => {
                    tracing::debug!(%error, session = %session.id(), "connection lost while reading");
                    return End::Lost;
                }
            }
        }
    }

    /// In good times, what is there is taken without asking what else may have happened. So is what
    /// comes soon, from a peer that calls one after the other: of one that has more in flight, more comes
    /// while we sleep.
    async fn read_soon(&mut self, room: usize) -> Option<std::io::Result<usize>> {
        let session = &self.session;
        if !session.is_authenticated() || session.is_ending() {
            return None;
        }
        let mut into = self.lines.buffer().limit(room);
        let there = self.source.read_buf(&mut into).now_or_never();
        // On a thread that it shares with others, the session has no right to keep it.
        if there.is_some()
            || self.thread == Thread::Shared
            || !self.awake.is_worth_it()
            || session.in_flight() > 1
        {
            return there;
        }
        let until = session.now().mono + Awake::LIMIT;
        let mut there = None;
        while there.is_none() && session.now().mono < until {
            // Others that want this processor get it; the peer may be one of them.
            std::thread::yield_now();
            tokio::task::yield_now().await;
            there = self.source.read_buf(&mut into).now_or_never();
        }
        self.awake.note(there.is_some());
        there
    }

    /// Carries out the resume that the last line asked for.
    async fn resume_if_asked(&mut self) {
        if let Some(asked) = self.asked.take() {
            self.session.resume(*asked).await;
        }
    }

    fn why(&self) -> End {
        if self.session.sink.is_dead() { End::Lost } else { End::Drain }
    }

    /// Works on every whole line that is in the buffer, then sends what was answered. False when it
    /// had to stop before the last.
    fn take_lines(&mut self) -> bool {
        let mut lines = std::mem::replace(&mut self.lines, LineBuffer::new(0));
        let is_done = match lines.next_item() {
            Some(first) => self.take_items(first, &mut lines),
            None => true,
        };
        self.lines = lines;
        is_done
    }

    fn take_items(&mut self, first: LineItem, lines: &mut LineBuffer) -> bool {
        let session = Arc::clone(&self.session);
        let mut outlines = OUTLINES.take();
        outlines.resize_with(AHEAD, Outline::default);
        let batch = session.kernel.pool.batch();
        self.begin(&session);
        let mut item = first;
        let is_done = loop {
            match item {
                LineItem::Line(length) => match outlines.first_mut() {
                    // Most reads of a session among many bring one line.
                    Some(outline) if !lines.has_line_after(length) => {
                        let line = lines.front(length);
                        self.take_line(&session, line, scan_into(line, outline));
                        lines.consume(length);
                    }
                    _ => {
                        let taken = self.take_run(&session, lines, &mut outlines);
                        lines.consume_bytes(taken);
                    }
                },
                LineItem::TooLong => {
                    let limit = session.kernel.config.limits.max_line_bytes;
                    let text = format!("a line is longer than {limit} bytes");
                    // Its `req_id` was not read; by the limit a client knows which calls are meant.
                    let refusal =
                        Error::new(ErrorCode::LineTooLong, text).with_detail("limit", limit);
                    session.refuse("", "", &refusal, limit);
                }
            }
            if self.has_to_stop(&session) {
                break false;
            }
            match lines.next_item() {
                Some(next) => item = next,
                None => break true,
            }
        };
        drop(batch);
        self.end(&session);
        OUTLINES.set(outlines);
        is_done
    }

    /// Checks the lines at the front of the buffer, then works on them. Returns how many bytes it is done with.
    fn take_run(
        &mut self,
        session: &Arc<Session>,
        lines: &LineBuffer,
        outlines: &mut [Outline],
    ) -> usize {
        let mut run = [const { None }; AHEAD];
        let mut end = 0;
        for (place, outline) in run.iter_mut().zip(outlines) {
            let Some(line) = lines.line_at(end).filter(|_| end < AHEAD_BYTES) else { break };
            end += line.len() + 1;
            *place = Some((line, scan_into(line, outline)));
        }
        let mut taken = 0;
        for place in &mut run {
            let Some((line, scanned)) = place.take() else { break };
            taken += line.len() + 1;
            self.take_line(session, line, scanned);
            if self.has_to_stop(session) {
                break;
            }
        }
        taken
    }

    /// Whether the next line has to wait.
    fn has_to_stop(&self, session: &Session) -> bool {
        let is_cut = session.phase() == Phase::Closed || self.asked.is_some();
        is_cut || session.sink.is_full() || session.has_too_many_bytes()
    }

    /// At the end of input, what stands there without a newline counts as a line.
    fn take_tail(&mut self) {
        let tail = self.lines.tail().to_vec();
        if !tail.iter().all(u8::is_ascii_whitespace) {
            let session = Arc::clone(&self.session);
            self.begin(&session);
            let mut outline = Outline::default();
            self.take_line(&session, &tail, scan_into(&tail, &mut outline));
            self.end(&session);
        }
    }

    /// Before lines are taken.
    fn begin(&mut self, session: &Arc<Session>) {
        session.is_reading.store(true, Ordering::SeqCst);
        session.be_watched();
        self.now = session.now();
        self.refresh_table();
    }

    /// After lines were taken: what was answered is sent.
    fn end(&mut self, session: &Arc<Session>) {
        // A request holds its session, so it may not stay there.
        self.spare = session.take_inline();
        session.is_reading.store(false, Ordering::Release);
        if self.thread == Thread::Own {
            // On a thread of its own nobody else answers.
            return session.sink.flush();
        }
        let kernel = &session.kernel;
        kernel.outgoing.send(&session.sink, &kernel.runtime);
    }

    fn refresh_table(&mut self) {
        let generation = self.session.kernel.table_generation();
        if generation != self.table_generation {
            self.table = self.session.kernel.table();
            self.table_generation = generation;
            self.last_route = None;
        }
    }

    /// Looks for the route of a type; most often it is that of the line before.
    fn finds_route(&mut self, kind: &str) -> bool {
        if self.last_route.as_ref().is_none_or(|route| route.spec.wire_type != kind) {
            self.last_route = self.table.get(kind).cloned();
        }
        self.last_route.is_some()
    }

    fn take_line(
        &mut self,
        session: &Arc<Session>,
        line: &[u8],
        scanned: Result<Scanned<'_>, ScanError>,
    ) {
        let scanned = match scanned {
            Ok(scanned) => scanned,
            Err(error) => {
                let refusal = Error::new(ErrorCode::ParseError, error.to_string())
                    .with_detail("offset", error.offset);
                return session.refuse("", "", &refusal, line.len());
            }
        };
        let envelope = match Envelope::of(&scanned) {
            Ok(envelope) => envelope,
            Err(refused) => return refuse_envelope(session, &scanned, &refused),
        };
        let id = envelope.id.as_deref();
        let is_first = self.is_first;
        self.is_first &= envelope.kind == "handshake/req";
        match session.control(&envelope, &scanned, self.now, is_first) {
            Control::Done => return,
            Control::Resume(asked) => return self.asked = Some(asked),
            Control::NotMine => {}
        }
        // Before all else, also while the session ends: whatever is answered under an id in flight
        // would end that call for its sender.
        if let Some(first) = id.and_then(|id| session.find(id)) {
            return meet_again(session, &first, &envelope.kind, &scanned);
        }
        let refusal = match session.gate() {
            Ok(()) if self.finds_route(&envelope.kind) => {
                return self.accept(session, &scanned, id);
            }
            Ok(()) => unhandled(&envelope.kind, &self.table),
            Err(refusal) => refusal,
        };
        session.refuse(&envelope.kind, id.unwrap_or_default(), &refusal, line.len());
    }

    /// Starts a request of the route that was found last. From here on it gets exactly one answer.
    fn accept(&mut self, session: &Arc<Session>, scanned: &Scanned<'_>, id: Option<&str>) {
        let Some(route) = &self.last_route else { return };
        let made;
        let id = if let Some(id) = id {
            id
        } else {
            // Ids can be foreseen; one that a client took already is passed over.
            made = std::iter::repeat_with(|| session.kernel.ids.next_id())
                .find(|id| session.find(id.as_str()).is_none())
                .unwrap_or_default();
            made.as_str()
        };
        let correlation_id = scanned.get(Key::CorrelationId);
        let accepted = Accepted {
            id,
            correlation_id: correlation_id.as_text(),
            input_bytes: scanned.text.len(),
            at: self.now,
            deadline_us: route.deadline_us(&scanned.get(Key::Timeout), self.now),
        };
        let call = Call(session.begin_inline(self.spare.take(), route, &accepted));
        start(&call, Incoming::of(scanned), Place::Reader);
        session.end_inline();
        // Not when it ended: its handler, or a hook after the answer, may have gone on since.
        self.now = session.now();
    }
}

/// Resolves when the session is to end for another reason than its input.
async fn told_to_end(session: &Session) -> End {
    tokio::select! {
        () = handshake_overdue(session) => {
            tracing::info!(peer = %session.peer.name, "no handshake within 10 s; closed");
            End::Drain
        }
        () = session.sink.death() => End::Lost,
        () = drained(session) => End::Drain,
    }
}

/// Answers a line whose envelope is not good enough to be routed.
#[cold]
fn refuse_envelope(session: &Arc<Session>, scanned: &Scanned<'_>, refused: &EnvelopeError) {
    let kind = scanned.get(Key::Kind);
    let kind = kind.as_text().unwrap_or_default();
    if kind == "error" {
        // An error is never answered with an error, whatever else is wrong with it.
        return session.kernel.counters.peer_errors.add();
    }
    if refused.is_handshake && *refused.error.code() == ErrorCode::VersionMismatch {
        return session.refuse_version(&refused.req_id);
    }
    session.refuse(kind, &refused.req_id, &refused.error, scanned.text.len());
}

/// A line under the id of a request in flight: a repeat of it, or another request.
#[cold]
fn meet_again(session: &Arc<Session>, first: &Active, kind: &str, scanned: &Scanned<'_>) {
    if first.is_repeated_by(scanned.text) {
        return session.kernel.counters.repeated.add();
    }
    let text = "this id is in use by another request of the session";
    let refusal =
        Error::new(ErrorCode::DuplicateRequest, text).with_detail("id", first.id.as_str());
    session.refuse(kind, "", &refusal, scanned.text.len());
}

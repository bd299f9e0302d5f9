//! The reader of a session: reads from the connection, splits lines, and holds a peer back that does
//! not read or has too much in flight.

use std::sync::Arc;

use bytes::BufMut;
use tokio::io::AsyncReadExt;

use super::hub::Served;
use super::intake::Intake;
use super::serve::{End, handshake_overdue, peer_left};
use crate::codec::first::{First, judge};
use crate::codec::{LineBuffer, LineItem};
use crate::request::{Session, SessionPhase, drained, unless_draining};
use crate::transport::ByteSource;

/// Reads between two voluntary pauses.
const YIELD_EVERY: u32 = 16;

pub(super) struct Reader {
    served: Served,
    source: ByteSource,
    lines: LineBuffer,
    intake: Intake,
    /// Whether the peer is known to send lines; what starts this process over stdio is.
    sends_lines: bool,
}

impl Reader {
    pub(super) fn new(served: &Served, source: ByteSource) -> Self {
        Self {
            source,
            lines: LineBuffer::new(served.hub.services.config.limits.max_line_bytes),
            intake: Intake::new(served),
            sends_lines: served.session.peer.is_stdio,
            served: served.clone(),
        }
    }

    pub(super) fn into_source(self) -> ByteSource {
        self.source
    }

    pub(super) async fn run(&mut self) -> End {
        let session = Arc::clone(&self.served.session);
        let (mut last_read, mut turns) = (0, 0_u32);
        // Begun once: to begin to wait anew for each line costs as much as to look for its route.
        let told_to_end = told_to_end(&session);
        tokio::pin!(told_to_end);
        loop {
            let is_done = self.take_lines();
            self.resume_if_asked().await;
            if session.outbox.is_dead() || session.life.phase() == SessionPhase::Closed {
                return End::Lost;
            }
            match hold_back(&session).await {
                Some(end) => return end,
                // There was no room for the lines that were read already, and now there is again.
                None if !is_done => continue,
                None => {}
            }
            turns += 1;
            if turns % YIELD_EVERY == 0 {
                // A peer that never pauses leaves the thread to others now and then.
                tokio::task::yield_now().await;
            }
            let room = self.lines.prepare(last_read);
            let mut into = self.lines.buffer().limit(room);
            let read = self.source.read_buf(&mut into);
            let is_served = session.is_authenticated() && !session.life.is_ending();
            let read = if is_served {
                // What came is looked at first: it is mostly why the reader wakes.
                tokio::select! { biased; read = read => read, end = &mut told_to_end => return end }
            } else {
                // Not here, or a peer that never pauses would never be told.
                tokio::select! { biased; end = &mut told_to_end => return end, read = read => read }
            };
            match read {
                Ok(0) => {
                    if turns == 1 && session.peer.is_stdio {
                        tracing::warn!(
                            "standard input was empty, so there is nobody to serve and the host ends; \
                             one that is to stay listens at an address (`listen`, `--listen`)"
                        );
                    }
                    self.take_tail();
                    self.resume_if_asked().await;
                    return End::Input;
                }
                Ok(_) if !self.sends_lines && self.is_turned_away() => return End::Drain,
                Ok(read) => last_read = read,
                Err(error) => {
                    tracing::debug!(%error, session = %session.id(), "connection lost while reading");
                    return End::Lost;
                }
            }
        }
    }

    /// Judges the first bytes of the peer. One that speaks another protocol is answered in it, and
    /// nothing of what it sends is taken.
    fn is_turned_away(&mut self) -> bool {
        let came = self.lines.tail();
        match judge(came) {
            First::Unknown => {}
            First::Line => self.sends_lines = true,
            First::Other(protocol) => {
                self.served.refuse_protocol(protocol, came.len());
                return true;
            }
        }
        false
    }

    /// Carries out the resume that the last line asked for.
    async fn resume_if_asked(&mut self) {
        if let Some(asked) = self.intake.asked.take() {
            self.served.resume(*asked).await;
        }
    }

    /// Works on every whole line that is in the buffer, then writes what was answered. False when it
    /// had to stop before the last.
    fn take_lines(&mut self) -> bool {
        let Some(mut item) = self.lines.next_item() else { return true };
        self.intake.begin();
        let is_done = loop {
            match item {
                LineItem::Line(length) => {
                    self.intake.take(self.lines.front(length));
                    self.lines.consume(length);
                }
                LineItem::TooLong => self.intake.too_long(),
            }
            if self.intake.has_to_stop() {
                break false;
            }
            match self.lines.next_item() {
                Some(next) => item = next,
                None => break true,
            }
        };
        self.intake.end();
        is_done
    }

    /// At the end of input, what stands there without a newline counts as a line.
    fn take_tail(&mut self) {
        let tail = self.lines.tail();
        if !tail.iter().all(u8::is_ascii_whitespace) {
            self.intake.begin();
            self.intake.take(tail);
            self.intake.end();
        }
    }
}

/// Waits while the peer does not read, or has too much in flight; why the session ends, if it does
/// meanwhile.
async fn hold_back(session: &Session) -> Option<End> {
    let why = || if session.outbox.is_dead() { End::Lost } else { End::Drain };
    while session.outbox.is_full() || session.has_too_many_bytes() {
        if session.outbox.is_full() {
            if !unless_draining(session, session.outbox.room()).await {
                return Some(why());
            }
            continue;
        }
        let fits = async {
            session.wait_changed(|it| !it.has_too_many_bytes()).await;
            true
        };
        tokio::select! {
            has_room = unless_draining(session, fits) => {
                if !has_room {
                    return Some(why());
                }
            }
            () = session.outbox.death() => return Some(End::Lost),
            () = peer_left(session) => return Some(End::Lost),
        }
    }
    None
}

/// Resolves when the session is to end for another reason than its input.
async fn told_to_end(session: &Session) -> End {
    tokio::select! {
        () = handshake_overdue(session) => {
            tracing::info!(peer = %session.peer.name, "no handshake within 10 s; closed");
            End::Drain
        }
        () = session.outbox.death() => End::Lost,
        () = drained(session) => End::Drain,
    }
}

//! The reader of a connection: takes lines, checks them, and gives each to who waits for it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use a2e_core::codec::scan::{Scanned, scan};
use a2e_core::codec::{Envelope, Incoming, LineBuffer, LineItem, decode};
use a2e_core::protocol::{ErrorBody, ErrorCode, Role};
use a2e_core::transport::ByteSource;

use crate::error::{ClientError, Closed};
use crate::link::Link;
use crate::link::mailbox::Put;
use crate::link::pending::{Listener, Outcome};
use crate::message::Received;
use crate::transport::ProcessWatch;

/// When writing has failed or the host process has ended, what it said before may take this long to
/// be read; the calls that wait fail after it.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Reads until the connection ends, and ends the link with the reason.
pub(crate) async fn read(link: Arc<Link>, source: ByteSource, process: Option<ProcessWatch>) {
    let lines = LineBuffer::new(link.options.max_line_bytes);
    let mut reader = Reader { link: Arc::clone(&link), source, lines };
    let result = {
        let lost = async {
            tokio::select! {
                () = link.outbox.death() => {}
                () = exited(process.as_ref()) => {}
            }
        };
        let reading = reader.read_all();
        tokio::pin!(reading);
        tokio::select! {
            result = &mut reading => result,
            () = lost => match tokio::time::timeout(LAST_WORDS, reading).await {
                Ok(result) => result,
                Err(_) => Ok(()),
            },
        }
    };
    drop(reader);
    link.end(explain(&link, result, process.as_ref()).await);
}

async fn exited(process: Option<&ProcessWatch>) {
    match process {
        Some(process) => drop(process.exited().await),
        None => std::future::pending().await,
    }
}

/// The best known reason for the end.
async fn explain(link: &Link, result: io::Result<()>, process: Option<&ProcessWatch>) -> Closed {
    if let Some(process) = process
        && let Ok(status) = tokio::time::timeout(LAST_WORDS, process.exited()).await
    {
        return Closed::Exited { status, stderr: process.last_words().await };
    }
    match (result, link.outbox.failure()) {
        (Err(error), _) => Closed::Lost(Arc::new(error)),
        (Ok(()), Some(error)) => Closed::Lost(error),
        (Ok(()), None) => Closed::Ended,
    }
}

struct Reader {
    link: Arc<Link>,
    source: ByteSource,
    lines: LineBuffer,
}

impl Reader {
    async fn read_all(&mut self) -> io::Result<()> {
        let mut last_read = 0;
        loop {
            self.lines.prepare(last_read);
            last_read = self.source.read_buf(self.lines.buffer()).await?;
            if last_read == 0 {
                let tail = self.lines.tail();
                if !tail.iter().all(u8::is_ascii_whitespace) {
                    take_line(&self.link, tail);
                }
                return Ok(());
            }
            if self.take_lines() {
                // The calls that were answered run now; what they send leaves in one write.
                tokio::task::yield_now().await;
                self.link.outbox.release();
            }
        }
    }

    /// Delivers every whole line of the buffer; true when there were several.
    fn take_lines(&mut self) -> bool {
        let mut count = 0;
        while let Some(item) = self.lines.next_item() {
            count += 1;
            match item {
                LineItem::Line(length) => {
                    if count == 1 && self.lines.has_line_after(length) {
                        self.link.outbox.gather();
                    }
                    take_line(&self.link, self.lines.front(length));
                    self.lines.consume(length);
                }
                LineItem::TooLong => bad_line(&self.link, "longer than `max_line_bytes`"),
            }
        }
        count > 1
    }
}

fn bad_line(link: &Link, problem: &str) {
    link.counters.bad_lines.add();
    tracing::warn!(problem, "the host sent a line that is no message");
}

/// Delivers one line.
fn take_line(link: &Link, bytes: &[u8]) {
    let scanned = match scan(bytes) {
        Ok(scanned) => scanned,
        Err(error) => return bad_line(link, &error.to_string()),
    };
    match Envelope::of(&scanned) {
        Ok(envelope) => {
            let req_id = envelope.req_id.as_deref().unwrap_or_default();
            route(link, &envelope.kind, req_id, &scanned);
        }
        Err(refused) => {
            let text = refused.error.message();
            bad_line(link, text);
            // Better told than left to time out, where the id can be trusted.
            let req_id = scanned.req_id.as_text().unwrap_or_default();
            if scanned.repeated.is_none() {
                link.pending.complete(req_id, || Err(ClientError::protocol(text)));
            }
        }
    }
}

/// The three tests, in order: a call that waits, its events, a handler of the type.
fn route(link: &Link, wire_type: &str, req_id: &str, scanned: &Scanned<'_>) {
    let received = || Received::new(wire_type, Incoming::of(scanned).to_body());
    match Role::of(wire_type) {
        Role::Final if !req_id.is_empty() => {
            if link.pending.complete(req_id, || outcome(wire_type, scanned)) {
                return link.counters.answered.add();
            }
            if link.ids.is_own(req_id) {
                tracing::debug!(wire_type, req_id, "nobody waits for this answer any more");
                return link.counters.late_replies.add();
            }
        }
        Role::Event => {
            if let Listener::Events(events) = link.pending.listener(req_id) {
                return deliver_event(link, req_id, events.put_event(received()));
            }
        }
        Role::Final if wire_type == "error" => note_error(link, scanned),
        Role::Final | Role::Push => {}
    }
    if !link.pushes.deliver(wire_type, received, &link.counters) {
        tracing::debug!(wire_type, req_id, "nobody takes this message");
        link.counters.unclaimed.add();
    }
}

fn outcome(wire_type: &str, scanned: &Scanned<'_>) -> Outcome {
    let incoming = Incoming::of(scanned);
    if wire_type != "error" {
        return Ok(Received::new(wire_type, incoming.to_body()));
    }
    Err(match decode::<ErrorBody>(incoming) {
        Ok(body) => ClientError::Remote(Arc::new(body)),
        Err(error) => ClientError::protocol(format!("`error`: {}", error.message())),
    })
}

fn deliver_event(link: &Link, req_id: &str, put: Put) {
    match put {
        Put::Taken { dropped } => link.counters.events_dropped.add_many(dropped),
        Put::Dropped => link.counters.events_dropped.add(),
        Put::Full { held } => {
            if link.pending.complete(req_id, || Err(ClientError::EventsNotTaken { held })) {
                link.cancel(req_id);
            }
        }
    }
}

/// An error that names no call. A line that was too long could not be read, so the host does not know
/// its id; by the limit that it tells, every call whose request is longer is meant.
fn note_error(link: &Link, scanned: &Scanned<'_>) {
    let Ok(body) = decode::<ErrorBody>(Incoming::of(scanned)) else {
        return link.counters.bad_lines.add();
    };
    tracing::warn!(code = %body.code, message = body.message, "the host reports an error");
    if body.code != ErrorCode::LineTooLong {
        return;
    }
    let limit = body.detail.get("limit").and_then(serde_json::Value::as_u64);
    if let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) {
        link.pending.fail(|sent| sent > limit, &ClientError::Remote(Arc::new(body)));
    }
}

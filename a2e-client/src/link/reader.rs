//! The reader of one connection: shakes hands, then takes lines until the connection ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use a2e_core::codec::scan::{Key, scan_written};
use a2e_core::codec::{Envelope, LineBuffer, LineItem};
use a2e_core::protocol::{HandshakeRequest, HandshakeResponse, Message, MessageId, Role};
use a2e_core::transport::ByteSource;

use crate::calling::TimeLimit;
use crate::error::{ClientError, Closed};
use crate::handshake::{Greeting, read_greeting};
use crate::link::Link;
use crate::link::outbox::Outbox;
use crate::link::pending::Outcome;
use crate::link::router::{bad_line, outcome, route};
use crate::reconnect::numbering::Numbering;
use crate::reconnect::state::SessionStart;
use crate::transport::ProcessWatch;

/// When writing has failed or the host process has ended, what it said before may take this long to
/// be read; the calls that wait fail after it.
const LAST_WORDS: Duration = Duration::from_millis(50);

pub(crate) struct Reader {
    link: Arc<Link>,
    outbox: Arc<Outbox>,
    source: ByteSource,
    lines: LineBuffer,
    /// How much the last read brought.
    last_read: usize,
    process: Option<ProcessWatch>,
    numbering: Numbering,
    handshake: Handshake,
}

enum Handshake {
    /// None is under way.
    Idle,
    /// The answer to this id is awaited.
    Sent(MessageId),
    /// It has come.
    Answered(Result<(), ClientError>),
}

impl Handshake {
    fn awaits(&self, req_id: &str) -> bool {
        matches!(self, Self::Sent(id) if id.as_str() == req_id)
    }
}

impl Reader {
    pub(crate) fn new(
        link: &Arc<Link>,
        outbox: Arc<Outbox>,
        source: ByteSource,
        process: Option<ProcessWatch>,
        mut numbering: Numbering,
    ) -> Self {
        numbering.begin();
        let lines = LineBuffer::new(link.options.max_line_bytes);
        let link = Arc::clone(link);
        let handshake = Handshake::Idle;
        Self { link, outbox, source, lines, last_read: 0, process, numbering, handshake }
    }

    /// Shakes hands where the options say so. Once it has, calls go over this connection.
    pub(crate) async fn greet(&mut self, limit: TimeLimit) -> Result<(), ClientError> {
        if !self.link.options.handshake {
            let start = start_of(&self.link, &self.outbox, SessionStart::New);
            self.link.connected(&self.outbox, None, start);
            return Ok(());
        }
        let id = self.link.ids.next_id();
        let resume = self.link.options.reconnect.as_ref().map(|_| self.numbering.request());
        let greeting = Greeting::new(&self.link.options, resume);
        let line = self.link.encode(id.as_str(), HandshakeRequest::TYPE, None, &greeting)?;
        self.handshake = Handshake::Sent(id);
        // Where this fails, the outbox is dead, and reading ends.
        self.outbox.append(&line);
        self.link.counters.calls.add();
        let answered = limit.hold(self.read_while(Self::is_unanswered)).await;
        let result = match (std::mem::replace(&mut self.handshake, Handshake::Idle), answered) {
            (Handshake::Answered(result), _) => result,
            (_, Some(ended)) => Err(self.explain(ended).await.into()),
            (_, None) => Err(limit.error(HandshakeRequest::TYPE)),
        };
        if result.is_err() {
            self.outbox.kill();
        }
        result
    }

    fn is_unanswered(&self) -> bool {
        matches!(self.handshake, Handshake::Sent(_))
    }

    /// Reads until the connection ends; says why it has.
    pub(crate) async fn read(&mut self) -> Closed {
        let ended = self.read_while(|_| true).await;
        self.explain(ended).await
    }

    /// What is known of the session, for the next connection.
    pub(crate) fn into_numbering(self) -> Numbering {
        self.numbering
    }

    /// Reads as long as `is_wanted` and there is something to read.
    async fn read_while(&mut self, is_wanted: impl Fn(&Self) -> bool) -> io::Result<()> {
        let (outbox, process) = (Arc::clone(&self.outbox), self.process.clone());
        let lost = async {
            tokio::select! {
                () = outbox.death() => {}
                () = exited(process.as_ref()) => {}
            }
        };
        let reading = async {
            while is_wanted(self) && self.read_once().await? {}
            Ok(())
        };
        tokio::pin!(reading);
        tokio::select! {
            result = &mut reading => result,
            () = lost => match tokio::time::timeout(LAST_WORDS, reading).await {
                Ok(result) => result,
                Err(_) => Ok(()),
            },
        }
    }

    /// The best known reason for the end.
    async fn explain(&mut self, result: io::Result<()>) -> Closed {
        if let Some(process) = &self.process
            && let Ok(status) = tokio::time::timeout(LAST_WORDS, process.exited()).await
        {
            return Closed::Exited { status, stderr: process.last_words().await };
        }
        match (result, self.outbox.failure()) {
            (Err(error), _) => Closed::Lost(Arc::new(error)),
            (Ok(()), Some(error)) => Closed::Lost(error),
            (Ok(()), None) => Closed::Ended,
        }
    }

    /// Reads once and delivers what is whole; false at the end of the stream.
    async fn read_once(&mut self) -> io::Result<bool> {
        self.lines.prepare(self.last_read);
        self.last_read = self.source.read_buf(self.lines.buffer()).await?;
        if self.last_read == 0 {
            self.take_tail();
            return Ok(false);
        }
        if self.take_lines() {
            // The calls that were answered run now; what they send leaves in one write.
            tokio::task::yield_now().await;
            self.outbox.release();
        }
        Ok(true)
    }

    /// The last line may lack its newline. What is torn off comes again where the session is resumed.
    fn take_tail(&mut self) {
        let tail = self.lines.tail().to_vec();
        if tail.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        if self.numbering.is_resumable() && scan_written(&tail).is_err() {
            tracing::debug!(bytes = tail.len(), "the connection was lost within a line");
            return;
        }
        take_line(&self.link, &self.outbox, &mut self.numbering, &mut self.handshake, &tail);
    }

    /// Delivers every whole line of the buffer; true when there were several.
    fn take_lines(&mut self) -> bool {
        let Self { link, outbox, lines, numbering, handshake, .. } = self;
        let mut count = 0;
        while let Some(item) = lines.next_item() {
            count += 1;
            match item {
                LineItem::Line(length) => {
                    if count == 1 && lines.has_line_after(length) {
                        outbox.gather();
                    }
                    take_line(link, outbox, numbering, handshake, lines.front(length));
                    lines.consume(length);
                }
                LineItem::TooLong => {
                    numbering.count();
                    bad_line(link, "longer than `max_line_bytes`");
                }
            }
        }
        count > 1
    }
}

async fn exited(process: Option<&ProcessWatch>) {
    match process {
        Some(process) => drop(process.exited().await),
        None => std::future::pending().await,
    }
}

/// What a connection found is told for all but the first.
fn start_of(link: &Link, outbox: &Outbox, found: SessionStart) -> SessionStart {
    if outbox.number == 0 {
        return SessionStart::First;
    }
    link.counters.reconnects.add();
    found
}

/// Delivers one line.
fn take_line(
    link: &Link,
    outbox: &Arc<Outbox>,
    numbering: &mut Numbering,
    handshake: &mut Handshake,
    bytes: &[u8],
) {
    let scanned = match scan_written(bytes) {
        Ok(scanned) => scanned,
        Err(error) => {
            numbering.count();
            return bad_line(link, &error.to_string());
        }
    };
    match Envelope::of(&scanned) {
        Ok(envelope) => {
            let req_id = envelope.req_id.as_deref().unwrap_or_default();
            if Role::of(&envelope.kind) == Role::Final && handshake.awaits(req_id) {
                let answer = outcome(&envelope.kind, &scanned);
                *handshake = Handshake::Answered(greeted(link, outbox, numbering, answer));
                return link.counters.answered.add();
            }
            if envelope.kind != HandshakeResponse::TYPE {
                numbering.count();
            }
            route(link, outbox.number, &envelope.kind, req_id, &scanned);
        }
        Err(refused) => {
            numbering.count();
            let text = refused.error.message();
            bad_line(link, text);
            // Better told than left to time out, where the id can be trusted.
            let req_id = scanned.get(Key::ReqId);
            let req_id = req_id.as_text().unwrap_or_default();
            if scanned.repeated.is_some() {
                return;
            }
            if handshake.awaits(req_id) {
                *handshake = Handshake::Answered(Err(ClientError::protocol(text)));
            } else {
                link.pending.complete(req_id, || Err(ClientError::protocol(text)));
            }
        }
    }
}

/// The host has answered our handshake. From the next line on, what it sends is numbered.
fn greeted(
    link: &Link,
    outbox: &Arc<Outbox>,
    numbering: &mut Numbering,
    answer: Outcome,
) -> Result<(), ClientError> {
    let (response, resumed) = read_greeting(answer?)?;
    let mut found = SessionStart::New;
    if link.options.reconnect.is_some() {
        let (start, lost) = numbering.accept(&response.session_id, resumed)?;
        link.counters.lines_lost.add_many(lost);
        found = start;
    }
    link.connected(outbox, Some(Arc::new(response)), start_of(link, outbox, found));
    Ok(())
}

//! From the pipes of a process to `proc/read/event`: bounded, in order, soon; a line that comes whole
//! stays whole.
//!
//! What the client does not take stays here, up to `max_output_bytes` and one read more; then the
//! pipes are not read until there is room, and the process waits in its next write.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::Hold;
use a2e_core::children::Exit;
use a2e_core::request::{EmitError, SessionHandle};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep, sleep_until};

use super::child::{Process, exit_code};
use super::lines::Lines;
use super::protocol::{ReadData, ReadEvent, StreamType};

/// Bytes of one read. More saves little, and in the worst case each of them is a line.
const READ: usize = 8 << 10;

/// The cost of a waiting line beside its bytes, roughly.
const LINE_COST: usize = 64;

/// How long the beginning of a line waits for its end: a prompt or a progress bar has none.
const UNFINISHED: Duration = Duration::from_millis(30);

/// How long the streams of a killed process may be silent before they are given up. Only a
/// descendant that left the process group, in a host without a guard program, holds them open.
const SILENCE: Duration = Duration::from_millis(200);

/// The parameters of a pump.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) process: Arc<Process>,
    pub(super) session: SessionHandle,
    /// The id of the spawn request.
    pub(super) req_id: String,
    pub(super) stdout: Option<Receiver>,
    pub(super) stderr: Option<Receiver>,
    /// When the process is ended.
    pub(super) limit: Option<Duration>,
    /// From the first signal to the kill.
    pub(super) grace: Duration,
    /// Bytes of output that may wait for the client.
    pub(super) max_waiting: usize,
    /// Keeps the session until the exit is told.
    pub(super) hold: Hold,
    /// Counts as a running process of the session until all of its output was taken.
    pub(super) slot: OwnedSemaphorePermit,
}

/// Follows a process until its end is told.
pub(super) async fn run(task: Task) {
    let Task { process, session, req_id, limit, grace, hold, slot, .. } = task;
    // Also when this task is dropped: the record may be forgotten then.
    let told = Told(Arc::clone(&process));
    let mut pump = Pump {
        event: ReadEvent {
            kind: "status".to_owned(),
            data: ReadData::default(),
            seq: 0,
            proc_id: process.id.clone(),
            stream_type: StreamType::Stdout,
        },
        session,
        req_id,
        out: Stream::new(StreamType::Stdout, task.stdout),
        err: Stream::new(StreamType::Stderr, task.stderr),
        waiting: Waiting::default(),
        max_waiting: task.max_waiting,
        process: Arc::clone(&process),
    };
    let (exit, forwarded) = tokio::join!(process.live(limit, grace), pump.forward());
    // Before the end is reported, so that a client that hears of it finds the slot free.
    drop(slot);
    if forwarded.is_ok() {
        pump.tell_end(exit).await;
    }
    drop((told, hold));
}

struct Told(Arc<Process>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.note_told();
    }
}

struct Pump {
    process: Arc<Process>,
    session: SessionHandle,
    req_id: String,
    out: Stream,
    err: Stream,
    waiting: Waiting,
    max_waiting: usize,
    /// The event that is sent next; used again for each line.
    event: ReadEvent,
}

impl Pump {
    /// Sends lines until both streams have ended. An error: the session is gone, and with the
    /// pump go the pipes.
    async fn forward(&mut self) -> Result<(), EmitError> {
        let mut buffer = vec![0; READ];
        loop {
            self.send()?;
            let is_idle = self.waiting.lines.is_empty();
            if is_idle && self.out.has_ended() && self.err.has_ended() {
                return Ok(());
            }
            let has_space = self.waiting.bytes < self.max_waiting;
            let due = [self.out.due, self.err.due].into_iter().flatten().min();
            tokio::select! {
                () = self.out.readable(), if has_space => {
                    self.out.read(&mut buffer, &mut self.waiting);
                }
                () = self.err.readable(), if has_space => {
                    self.err.read(&mut buffer, &mut self.waiting);
                }
                () = at(due), if has_space => {
                    self.out.tell_unfinished(&mut buffer, &mut self.waiting);
                    self.err.tell_unfinished(&mut buffer, &mut self.waiting);
                }
                has_room = self.session.room(), if !is_idle => if !has_room {
                    return Err(EmitError::Gone);
                },
                () = self.left_behind(), if is_idle => return Ok(()),
            }
            // A process that writes without end must not keep a thread of the host.
            consume_budget().await;
        }
    }

    /// Sends what the session takes now.
    fn send(&mut self) -> Result<(), EmitError> {
        let mut sent = false;
        while let Some((stream, text)) = self.waiting.pop() {
            self.event.stream_type = stream;
            self.event.data.text = Some(text);
            match self.session.queue(&self.event, Some(&self.req_id)) {
                Ok(()) => self.event.seq += 1,
                Err(EmitError::Full) => {
                    self.waiting.put_back(stream, self.event.data.text.take().unwrap_or_default());
                    break;
                }
                Err(error) => return Err(error),
            }
            sent = true;
        }
        if sent {
            self.session.flush();
        }
        Ok(())
    }

    /// Resolves when nothing of a killed process runs and its streams are silent.
    async fn left_behind(&self) {
        self.process.is_left_behind().await;
        sleep(SILENCE).await;
    }

    async fn tell_end(&mut self, exit: Exit) {
        self.event.data = ReadData::default();
        self.event.stream_type = if self.process.was_killed() {
            StreamType::Killed
        } else {
            self.event.data.code = Some(exit_code(exit));
            if exit.is_success() { StreamType::Stdout } else { StreamType::Stderr }
        };
        // An error: the session is gone.
        self.session.push_wait(&self.event, Some(&self.req_id)).await.ok();
    }
}

/// One of the two output streams.
struct Stream {
    kind: StreamType,
    /// `None` when it has ended.
    pipe: Option<Receiver>,
    lines: Lines,
    /// When the beginning of a line is told without its end.
    due: Option<Instant>,
}

impl Stream {
    fn new(kind: StreamType, pipe: Option<Receiver>) -> Self {
        Self { kind, pipe, lines: Lines::default(), due: None }
    }

    fn has_ended(&self) -> bool {
        self.pipe.is_none()
    }

    /// Waits until there is something to read, or the end. Never resolves after the end.
    async fn readable(&self) {
        match &self.pipe {
            // An error shows again in the read.
            Some(pipe) => pipe.readable().await.unwrap_or_default(),
            None => pending().await,
        }
    }

    /// Tells the beginning of a line whose end has not come in time.
    fn tell_unfinished(&mut self, buffer: &mut [u8], waiting: &mut Waiting) {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= Instant::now());
        if !is_due(self.due) {
            return;
        }
        // The end may stand in the pipe: the pump does not read while the client takes nothing.
        self.read(buffer, waiting);
        if is_due(self.due) {
            self.due = None;
            if let Some(text) = self.lines.unfinished() {
                waiting.push(self.kind, text);
            }
        }
    }

    /// Reads once what is there.
    fn read(&mut self, buffer: &mut [u8], waiting: &mut Waiting) {
        let Some(pipe) = &self.pipe else { return };
        match pipe.try_read(buffer) {
            Ok(count @ 1..) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                let mut is_new = self.due.is_none();
                self.lines.feed(bytes, |line| {
                    is_new = true;
                    waiting.push(self.kind, line);
                });
                if is_new {
                    self.due = self.lines.is_amid().then(|| Instant::now() + UNFINISHED);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // A pipe has no error that goes away.
            Ok(_) | Err(_) => {
                (self.pipe, self.due) = (None, None);
                if let Some(line) = self.lines.finish() {
                    waiting.push(self.kind, line);
                }
            }
        }
    }
}

/// Waits until then; without a time for ever.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

/// Lines that the session has not taken; bounded by the pump, which reads no more when there are
/// too many.
#[derive(Default)]
struct Waiting {
    lines: VecDeque<(StreamType, String)>,
    bytes: usize,
}

impl Waiting {
    fn push(&mut self, stream: StreamType, text: String) {
        self.bytes += text.len() + LINE_COST;
        self.lines.push_back((stream, text));
    }

    fn put_back(&mut self, stream: StreamType, text: String) {
        self.bytes += text.len() + LINE_COST;
        self.lines.push_front((stream, text));
    }

    fn pop(&mut self) -> Option<(StreamType, String)> {
        let (stream, text) = self.lines.pop_front()?;
        self.bytes -= text.len() + LINE_COST;
        Some((stream, text))
    }
}

//! A request: what was asked, which never changes, and its progress, which one lock guards.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::asker::{Asker, Budget};
use super::label::PluginLabel;
use super::session::Session;
use super::spec::TypeSpec;
use super::state::{Event, State};
use crate::layers::{NEVER, Probe, StuckMark};
use crate::{Error, Time};

/// Why a request is to end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum CancelReason {
    /// Its sender asked for it.
    Cancelled = 1,
    /// The connection is lost.
    ClientGone = 2,
    /// Its deadline passed.
    Timeout = 3,
    /// The session or the host ends.
    Shutdown = 4,
    /// It was answered; a handler that still works on it can stop.
    Answered = 5,
}

/// What one handler said, beyond `Later`.
#[derive(Debug)]
pub(crate) enum Said {
    /// A reply: wire type and body fields.
    Reply(std::borrow::Cow<'static, str>, Vec<u8>),
    /// Not mine.
    Pass(Error),
    /// It failed.
    Error(Error),
    /// It did not come to an answer: out of its own time, refused, or by a panic. The next handler
    /// may do better.
    Broken {
        /// What the client is told.
        error: Error,
        /// Whether the handler panicked.
        is_panic: bool,
    },
    /// Nothing, and nothing is due.
    Nothing,
}

impl Said {
    /// A handler that was not run, or gave no answer in its time.
    pub(crate) fn broken(error: Error) -> Self {
        Self::Broken { error, is_panic: false }
    }
}

/// How a request was answered.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    pub(crate) reply: Option<(&'a str, &'a [u8])>,
    pub(crate) error: Option<&'a Error>,
    pub(crate) took: Duration,
}

impl<'a> Answered<'a> {
    /// The type of the reply; `None` when it was an error, or nothing is due.
    pub fn reply_type(&self) -> Option<&'a str> {
        self.reply.map(|it| it.0)
    }

    /// The fields of the reply as JSON without the braces around them.
    pub fn reply_fields(&self) -> Option<&'a str> {
        self.reply.and_then(|it| std::str::from_utf8(it.1).ok())
    }

    /// The error that was the answer.
    pub fn error(&self) -> Option<&'a Error> {
        self.error
    }

    /// Time from acceptance to answer.
    pub fn took(&self) -> Duration {
        self.took
    }
}

/// What is done with what a handler said: it is folded, and the next handler is asked.
pub(crate) type Resume = Box<dyn FnOnce(Said) + Send>;

/// Runs when the answer was queued.
pub(crate) type AfterAnswer = Box<dyn FnOnce(&Answered<'_>) + Send>;

/// Runs when the request is cancelled.
pub(crate) type OnCancel = Box<dyn FnOnce() + Send>;

pub(crate) struct Request {
    pub(crate) id: Box<str>,
    pub(crate) spec: Arc<TypeSpec>,
    pub(crate) correlation_id: Option<Box<str>>,
    /// Length of its line.
    pub(crate) input_bytes: usize,
    pub(crate) accepted: Time,
    /// Monotonic microseconds; [`NEVER`] without one.
    pub(crate) deadline_us: u64,
    pub(crate) session: Arc<Session>,
    /// The client, or the handler that asked.
    pub(crate) asker: Asker,
    /// Of the requests that its handlers make; shared with all that those lead to.
    pub(super) budget: OnceLock<Arc<Budget>>,
    /// Tells its line from others of its length; set when the request leaves the reader.
    fingerprint: OnceLock<u32>,
    /// Held for a transition or an event, never while a handler runs or a line is written.
    progress: Mutex<Progress>,
    cancel: Cancel,
}

/// What changes while a request is worked on.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) state: State,
    runs: u32,
    pub(super) now: Option<Now>,
    /// When its first handler began, in monotonic microseconds.
    pub(super) started_us: Option<u64>,
    /// Whether it is in the session's table.
    pub(super) is_listed: bool,
    pub(super) next_seq: u64,
    pub(super) is_muted: bool,
    pub(super) after: Vec<AfterAnswer>,
    on_cancel: Vec<OnCancel>,
}

/// The run of a handler.
#[derive(Default)]
pub(crate) struct Now {
    pub(crate) label: Option<Arc<PluginLabel>>,
    /// When the handler of this run is given up, in monotonic microseconds.
    pub(crate) until_us: u64,
    /// The permit of the run; none on the reader.
    pub(crate) permit: Option<StuckMark>,
    /// Where the breaker tries the plugin with this run.
    pub(crate) probe: Option<Probe>,
    /// Where the walk over the handlers goes on; none on the reader, which walks itself.
    pub(crate) resume: Option<Resume>,
}

/// Tells everything that works on a request to stop.
struct Cancel {
    reason: AtomicU8,
    told: Notify,
}

/// What the reader knows about a request.
pub(crate) struct Accepted<'a> {
    pub(crate) id: &'a str,
    pub(crate) spec: &'a Arc<TypeSpec>,
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) input_bytes: usize,
    pub(crate) at: Time,
    pub(crate) deadline_us: u64,
}

impl Request {
    pub(crate) fn new(session: &Arc<Session>, asker: Asker, accepted: &Accepted<'_>) -> Arc<Self> {
        Arc::new(Self {
            id: accepted.id.into(),
            spec: Arc::clone(accepted.spec),
            correlation_id: accepted.correlation_id.map(Into::into),
            input_bytes: accepted.input_bytes,
            accepted: accepted.at,
            deadline_us: accepted.deadline_us,
            session: Arc::clone(session),
            asker,
            budget: OnceLock::new(),
            fingerprint: OnceLock::new(),
            progress: Mutex::default(),
            cancel: Cancel { reason: AtomicU8::new(0), told: Notify::new() },
        })
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- transitions; `end` is in a file of its own

    /// A handler begins: the number of its run, or `None` when the request was answered before.
    pub(crate) fn begin(&self, now: Now, now_us: u64) -> Option<u32> {
        let mut progress = self.progress();
        let run = progress.runs + 1;
        progress.state = progress.state.after(Event::Begin { run }).ok()?;
        progress.runs = run;
        progress.started_us.get_or_insert(now_us);
        progress.now = Some(now);
        Some(run)
    }

    /// The handler of this run has something to say. Gives back how the walk goes on (`None` on the
    /// reader); fails when it comes too late.
    pub(crate) fn said(&self, run: u32) -> Result<Option<Resume>, ()> {
        self.step(Event::Said { run })
    }

    /// The handler of this run has returned and has nothing to say.
    pub(crate) fn returned(&self, run: u32) {
        // Without the answer before, it is the watchdog's to end the request.
        let _is_over = self.step(Event::Return { run });
    }

    /// Gives up the run whose own time is over at `now_us`: its permit counts as stuck, and the next
    /// handler may be asked.
    pub(crate) fn lapse(&self, now_us: u64) -> Option<Lapsed> {
        let mut progress = self.progress();
        let State::Running { run } = progress.state else { return None };
        if progress.now.as_ref().is_none_or(|now| now_us < now.until_us || now.resume.is_none()) {
            return None;
        }
        progress.state = progress.state.after(Event::Lapse { run }).ok()?;
        let now = progress.now.take()?;
        Some(Lapsed { label: now.label?, permit: now.permit, resume: now.resume? })
    }

    fn step(&self, event: Event) -> Result<Option<Resume>, ()> {
        let mut progress = self.progress();
        let before = progress.state;
        progress.state = before.after(event).map_err(|_| ())?;
        let now = progress.now.take();
        drop(progress);
        if before.has_answer() {
            return Err(());
        }
        Ok(now.and_then(|mut now| now.resume.take()))
    }

    // --- how it stands

    pub(crate) fn has_ended(&self) -> bool {
        self.progress().state.has_answer()
    }

    /// The plugin that works on it now.
    pub(crate) fn plugin(&self) -> Option<Arc<PluginLabel>> {
        self.progress().now.as_ref().and_then(|now| now.label.clone())
    }

    /// When the handler of its run is given up; [`NEVER`] while none runs.
    pub(crate) fn run_until_us(&self) -> u64 {
        self.progress().now.as_ref().map_or(NEVER, |now| now.until_us)
    }

    /// The permit of a handler that goes on although the request was answered.
    pub(crate) fn given_up(&self) -> Option<StuckMark> {
        let progress = self.progress();
        let State::GivenUp { .. } = progress.state else { return None };
        progress.now.as_ref()?.permit.clone()
    }

    /// Whether it is in the session's table.
    pub(crate) fn is_listed(&self) -> bool {
        self.progress().is_listed
    }

    /// Puts it into the table of its session, so that it can be cancelled and times out.
    pub(crate) fn list(self: &Arc<Self>) {
        let mut progress = self.progress();
        if progress.is_listed || progress.state.has_answer() {
            return;
        }
        // Under the lock of the end: a request is never listed after it was forgotten.
        self.session.in_flight.insert(self);
        progress.is_listed = true;
        drop(progress);
        self.session.be_watched();
    }

    /// Notes the line as it came, before an interceptor changes it.
    pub(crate) fn note_line(&self, line: &str) {
        self.fingerprint.get_or_init(|| fingerprint(line));
    }

    /// Whether this line is the one it came as, once more.
    pub(crate) fn is_repeated_by(&self, line: &str) -> bool {
        self.input_bytes == line.len() && self.fingerprint.get() == Some(&fingerprint(line))
    }

    /// Its fingerprint, for the answer that is kept for a repeat.
    pub(crate) fn line_mark(&self) -> Option<u32> {
        self.fingerprint.get().copied()
    }

    /// How many requests led to this one.
    pub(crate) fn depth(&self) -> usize {
        match &self.asker {
            Asker::Client => 0,
            Asker::Caller(caller) => caller.depth,
        }
    }

    // --- cancellation

    /// Tells everything that works on it to stop. The first reason stays.
    pub(crate) fn cancel(&self, reason: CancelReason) {
        let Cancel { reason: cell, told } = &self.cancel;
        if cell.compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return;
        }
        told.notify_waiters();
        let hooks = std::mem::take(&mut self.progress().on_cancel);
        if !hooks.is_empty() {
            // The caller may be the watchdog, which has no time for plugin code.
            self.session.services.runtime.spawn_blocking(move || {
                for hook in hooks {
                    if let Err(panic) = crate::layers::catch(hook) {
                        tracing::error!(panic, "a hook panicked after a cancel");
                    }
                }
            });
        }
    }

    /// Runs `hook` when the request is cancelled; at once when it already is.
    pub(crate) fn on_cancel(&self, hook: OnCancel) {
        let mut progress = self.progress();
        if !self.is_cancelled() {
            progress.on_cancel.push(hook);
            return;
        }
        drop(progress);
        hook();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.reason.load(Ordering::Acquire) != 0
    }

    pub(crate) fn cancel_reason(&self) -> Option<CancelReason> {
        Some(match self.cancel.reason.load(Ordering::Acquire) {
            1 => CancelReason::Cancelled,
            2 => CancelReason::ClientGone,
            3 => CancelReason::Timeout,
            4 => CancelReason::Shutdown,
            5 => CancelReason::Answered,
            _ => return None,
        })
    }

    /// Waits for [`cancel`](Self::cancel).
    pub(crate) async fn cancelled(&self) {
        loop {
            let told = self.cancel.told.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if self.is_cancelled() {
                return;
            }
            told.await;
        }
    }
}

/// A run that was given up because its own time is over.
pub(crate) struct Lapsed {
    pub(crate) label: Arc<PluginLabel>,
    pub(crate) permit: Option<StuckMark>,
    pub(crate) resume: Resume,
}

/// Tells a line from others of its length. Only the sender of both can make two lines that it mixes
/// up, and only in its own session.
pub(super) fn fingerprint(line: &str) -> u32 {
    crc32c::crc32c(line.as_bytes())
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("id", &self.id)
            .field("type", &self.spec.wire_type)
            .finish_non_exhaustive()
    }
}

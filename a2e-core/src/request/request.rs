//! A request: what was asked, which never changes, and its progress, which one lock guards.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::asker::{Asker, Budget};
use super::course::{CancelReason, Course, Lapsed, Now};
use super::label::PluginLabel;
use super::session::Session;
use super::spec::TypeSpec;
use super::state::Event;
use crate::layers::StuckMark;
use crate::{Error, Time};

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
    pub(super) course: Course,
    /// Tells everything that works on it to stop.
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
            course: Course::default(),
            told: Notify::new(),
        })
    }

    // --- transitions; `end` is in a file of its own

    /// A handler begins: the number of its run, or `None` when the request was answered before.
    pub(crate) fn begin(&self, now: Now, now_us: u64) -> Option<u32> {
        self.course.begin(now, now_us)
    }

    /// The handler of this run has something to say. Gives back how the walk goes on (`None` on the
    /// reader); fails when it comes too late.
    pub(crate) fn said(&self, run: u32) -> Result<Option<Resume>, ()> {
        self.course.step(Event::Said { run })
    }

    /// The handler of this run has returned and has nothing to say.
    pub(crate) fn returned(&self, run: u32) {
        // Without the answer before, it is the watchdog's to end the request.
        let _is_over = self.course.step(Event::Return { run });
    }

    /// Gives up the run whose own time is over at `now_us`: its permit counts as stuck, and the next
    /// handler may be asked.
    pub(crate) fn lapse(&self, now_us: u64) -> Option<Lapsed> {
        self.course.lapse(now_us)
    }

    // --- how it stands

    pub(crate) fn has_ended(&self) -> bool {
        self.course.has_answer()
    }

    /// The plugin that works on it now.
    pub(crate) fn plugin(&self) -> Option<Arc<PluginLabel>> {
        self.course.plugin()
    }

    /// When the handler of its run is given up, in monotonic microseconds.
    pub(crate) fn run_until_us(&self) -> u64 {
        self.course.run_until_us()
    }

    /// The permit of a handler that goes on although the request was answered.
    pub(crate) fn given_up(&self) -> Option<StuckMark> {
        self.course.given_up()
    }

    /// Whether it is in the session's table.
    pub(crate) fn is_listed(&self) -> bool {
        self.course.is_listed()
    }

    /// Puts it into the table of its session, so that it can be cancelled and times out.
    pub(crate) fn list(self: &Arc<Self>) {
        if self.course.list(|| self.session.in_flight.insert(self)) {
            self.session.be_watched();
        }
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
        let Some(hooks) = self.course.cancel(reason) else { return };
        self.told.notify_waiters();
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
        if let Some(late) = self.course.on_cancel(hook) {
            late();
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel_reason().is_some()
    }

    pub(crate) fn cancel_reason(&self) -> Option<CancelReason> {
        self.course.reason()
    }

    /// Waits for [`cancel`](Self::cancel).
    pub(crate) async fn cancelled(&self) {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if self.is_cancelled() {
                return;
            }
            told.await;
        }
    }
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

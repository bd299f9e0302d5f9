//! A request: what was asked, which never changes, and its progress, which one lock guards.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::Span;

use super::asker::{Asker, Budget};
use super::course::{CancelReason, Course};
use super::end::Ignored;
use super::label::PluginLabel;
use super::session::Session;
use super::spec::TypeSpec;
use super::state::Transition;
use crate::audit::Detail;
use crate::codec::Incoming;
use crate::layers::{Trace, micros};
use crate::sync::{Mutex, wait_until};
use crate::{Error, Time};

/// What one handler said, beyond `Later`.
#[derive(Debug)]
pub(crate) enum Said {
    /// A reply: wire type and body fields.
    Reply(std::borrow::Cow<'static, str>, Vec<u8>),
    Pass(Error),
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
pub(crate) type Continuation = Box<dyn FnOnce(Said) + Send>;

/// Runs when the answer was queued.
pub(crate) type AfterAnswer = Box<dyn FnOnce(&Answered<'_>) + Send>;

/// Runs when the request is cancelled.
pub(crate) type OnCancel = Box<dyn FnOnce() + Send>;

pub(crate) struct Request {
    pub(crate) id: Box<str>,
    pub(crate) spec: Arc<TypeSpec>,
    pub(crate) notes: Notes,
    /// Length of its line.
    pub(crate) input_bytes: usize,
    pub(crate) accepted: Time,
    /// Monotonic microseconds, as it was accepted; [`NEVER`] without one.
    deadline_us: u64,
    pub(crate) session: Arc<Session>,
    /// The client, or the handler that asked.
    pub(crate) asker: Asker,
    /// Of the requests that its handlers make; shared with all that those lead to.
    pub(super) budget: OnceLock<Arc<Budget>>,
    pub(super) noted: Noted,
    pub(crate) course: Course,
    /// Tells everything that works on it to stop.
    stop: Notify,
}

/// What its audit record says of it beyond its type and outcome.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) correlation_id: Option<Box<str>>,
    /// Of a request whose sender said so; without one nothing is allocated.
    pub(crate) trace: Option<Box<Trace>>,
    /// Taken by the record. Guards what interceptors and handlers change and add.
    pub(super) detail: Mutex<Option<Box<Detail>>>,
}

/// What is noted of its line on the way.
#[derive(Default)]
pub(super) struct Noted {
    /// Tells it from others of its length; set when the request leaves the reader.
    fingerprint: OnceLock<u32>,
    /// How long its deadline stood still, in microseconds.
    stood_us: AtomicU64,
    pub(super) ignored: Ignored,
}

/// What the reader knows about a request.
pub(crate) struct Accepted<'a> {
    pub(crate) id: &'a str,
    pub(crate) spec: &'a Arc<TypeSpec>,
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) trace: Option<Box<Trace>>,
    pub(crate) detail: Option<Box<Detail>>,
    pub(crate) input_bytes: usize,
    pub(crate) at: Time,
    pub(crate) deadline_us: u64,
}

impl Request {
    pub(crate) fn new(session: &Arc<Session>, asker: Asker, accepted: Accepted<'_>) -> Arc<Self> {
        Arc::new(Self {
            id: accepted.id.into(),
            spec: Arc::clone(accepted.spec),
            notes: Notes {
                correlation_id: accepted.correlation_id.map(Into::into),
                trace: accepted.trace,
                detail: Mutex::new(accepted.detail),
            },
            input_bytes: accepted.input_bytes,
            accepted: accepted.at,
            deadline_us: accepted.deadline_us,
            session: Arc::clone(session),
            asker,
            budget: OnceLock::new(),
            noted: Noted::default(),
            course: Course::default(),
            stop: Notify::new(),
        })
    }

    // --- transitions that `Course` does not make alone; `end` is in a file of its own

    /// The handler of this run has something to say. Gives back how the walk goes on (`None` on the
    /// reader); fails when it comes too late.
    pub(crate) fn said(&self, run: u32) -> Result<Option<Continuation>, ()> {
        self.course.step(Transition::Said { run })
    }

    /// The handler of this run has returned and has nothing to say.
    pub(crate) fn returned(&self, run: u32) {
        // Without the answer before, it is the watchdog's to end the request.
        let _is_over = self.course.step(Transition::Return { run });
    }

    // --- how it stands

    pub(crate) fn has_ended(&self) -> bool {
        self.course.has_answer()
    }

    /// Puts it into the table of its session, so that it can be cancelled and times out.
    pub(crate) fn list(self: &Arc<Self>) {
        if self.course.list(|| self.session.in_flight.insert(self)) {
            self.session.be_watched();
        }
    }

    /// Notes the line as it came, before an interceptor changes it.
    pub(crate) fn note_line(&self, line: &str) {
        self.noted.fingerprint.get_or_init(|| fingerprint(line));
    }

    /// Whether this line is the one it came as, once more.
    pub(crate) fn is_repeated_by(&self, line: &str) -> bool {
        self.input_bytes == line.len() && self.noted.fingerprint.get() == Some(&fingerprint(line))
    }

    /// Its fingerprint, for the answer that is kept for a repeat.
    pub(crate) fn line_mark(&self) -> Option<u32> {
        self.noted.fingerprint.get().copied()
    }

    /// When it is given up, in monotonic microseconds; [`NEVER`] when it is not.
    pub(crate) fn deadline_us(&self) -> u64 {
        self.deadline_us.saturating_add(self.noted.stood_us.load(Ordering::Acquire))
    }

    /// Its deadline stands still, and that of each request which led to it, for at most this long.
    pub(super) fn stand_still(&self, most: Duration) {
        self.and_those_before(|it| {
            it.noted.stood_us.fetch_add(micros(most), Ordering::AcqRel);
        });
    }

    /// It was not as long as it might have been.
    pub(super) fn go_on_counting(&self, most: Duration, stood: Duration) {
        let left = micros(most.saturating_sub(stood));
        self.and_those_before(|it| {
            it.noted.stood_us.fetch_sub(left, Ordering::AcqRel);
        });
    }

    fn and_those_before(&self, change: impl Fn(&Self)) {
        let mut next = Some(self);
        while let Some(it) = next {
            change(it);
            next = match &it.asker {
                Asker::Client => None,
                Asker::Caller(caller) => caller.parent.as_deref(),
            };
        }
    }

    /// How many requests led to this one.
    pub(crate) fn depth(&self) -> usize {
        match &self.asker {
            Asker::Client => 0,
            Asker::Caller(caller) => caller.depth,
        }
    }

    // --- its trace, where its sender named one

    /// The time that it waits for a permit of this plugin.
    pub(crate) fn queue_span(&self, label: &PluginLabel) -> Option<Span> {
        Some(self.notes.trace.as_ref()?.queue(label.name.as_str()))
    }

    /// The time that a handler of this plugin runs.
    pub(crate) fn run_span(&self, label: &PluginLabel) -> Span {
        let trace = self.notes.trace.as_ref();
        trace.map_or_else(Span::none, |trace| trace.run(label.name.as_str()))
    }

    // --- its audit record

    /// Another line has taken the place of the one that came.
    pub(crate) fn describe_anew(&self, line: Incoming<'_>) {
        let detail = self.session.services.audit.describe(&self.spec, line);
        *self.notes.detail.lock() = detail;
    }

    /// Adds a field to the subject of its record, where there is to be one.
    pub(crate) fn note_subject(&self, field: &str, value: impl FnOnce() -> String) {
        if self.session.services.audit.has_subjects() {
            let value = value();
            self.notes.detail.lock().get_or_insert_default().note(field, &value);
        }
    }

    // --- cancellation

    /// Tells everything that works on it to stop. The first reason stays.
    pub(crate) fn cancel(&self, reason: CancelReason) {
        let Some(hooks) = self.course.cancel(reason) else { return };
        self.stop.notify_waiters();
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
        self.course.reason().is_some()
    }

    /// Waits for [`cancel`](Self::cancel).
    pub(crate) async fn cancelled(&self) {
        wait_until(&self.stop, || self.is_cancelled()).await;
    }
}

/// Tells a line from others of its length. Only the sender of both can make two lines that it mixes
/// up, and only in its own session.
pub(super) fn fingerprint(line: &str) -> u32 {
    crc32c::crc32c(line.as_bytes())
}

show!(Request, id: |it| it.id, wire_type: |it| it.spec.wire_type);

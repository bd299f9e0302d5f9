//! The one place where a request ends: state, audit record, answer, hooks.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::value::RawValue;

use super::asker::Asker;
use super::course::{CancelReason, Closed};
use super::label::PluginLabel;
use super::request::{AfterAnswer, Answered, Request};
use crate::audit::{AuditRecord, RecordOutcome};
use crate::codec::envelope::write_message;
use crate::codec::scan::Slot;
use crate::codec::{Unknown, encode_fields, encode_value};
use crate::counters::Count;
use crate::layers::{Trace, catch, micros};
use crate::protocol::{ErrorBody, ErrorCode};
use crate::sync::Mutex;
use crate::{Error, Time};

/// How a request ends, by the plugin that decided it.
#[derive(Debug)]
pub(crate) enum Verdict {
    Reply {
        wire_type: Cow<'static, str>,
        fields: Vec<u8>,
        by: Option<Arc<PluginLabel>>,
    },
    Error {
        error: Error,
        by: Option<Arc<PluginLabel>>,
        is_panic: bool,
    },
    /// Without an answer, as its type is declared.
    Nothing,
}

impl Verdict {
    fn by(&self) -> Option<&Arc<PluginLabel>> {
        match self {
            Self::Reply { by, .. } | Self::Error { by, .. } => by.as_ref(),
            Self::Nothing => None,
        }
    }
}

struct Ending {
    course: Closed,
    now: Time,
    reason: Option<CancelReason>,
}

impl Request {
    /// Ends the request. True for the first end; a later one is counted and ignored.
    pub(crate) fn end(self: &Arc<Self>, verdict: &Verdict) -> bool {
        let has_ended = self.answer(verdict, None);
        if has_ended {
            self.session.outbox.flush();
        }
        has_ended
    }

    /// `early`: why its handler, if there is one, is to stop. It is told behind the answer, or one that
    /// returns at once could answer in its place.
    fn answer(self: &Arc<Self>, verdict: &Verdict, early: Option<CancelReason>) -> bool {
        let narrowed = self.narrowed(verdict);
        let verdict = narrowed.as_ref().unwrap_or(verdict);
        let Some(mut ending) = self.close(early) else {
            self.session.services.counters.add(Count::LateAnswer);
            return false;
        };
        match &self.asker {
            Asker::Client => self.answer_client(verdict, &ending),
            Asker::Caller(caller) => {
                self.forget(&ending);
                self.note_end(verdict, &ending, 0);
                if !caller.answer(verdict) {
                    self.session.services.counters.add(Count::LateAnswer);
                }
            }
        }
        if let Verdict::Error { error, by: Some(by), .. } = verdict
            && *error.code() == ErrorCode::Timeout
        {
            by.stats.timeouts.add();
        }
        let hooks = std::mem::take(&mut ending.course.after);
        self.run_hooks(hooks, verdict, &ending);
        self.cancel(ending.reason.unwrap_or(CancelReason::Answered));
        if ending.course.goes_on {
            self.session.services.watch.linger(self, ending.now);
        }
        true
    }

    /// The same reply with what its principal may use alone, where it lists more.
    fn narrowed(&self, verdict: &Verdict) -> Option<Verdict> {
        let Verdict::Reply { wire_type, fields, by } = verdict else { return None };
        let fields = self.session.kept_to_allowed(wire_type, fields)?;
        Some(Verdict::Reply { wire_type: wire_type.clone(), fields, by: by.clone() })
    }

    /// Makes the transition; `None` when the request has its answer already.
    fn close(&self, early: Option<CancelReason>) -> Option<Ending> {
        let (reason, now) = (early.or(self.course.reason()), self.session.services.clock.now());
        Some(Ending { course: self.course.close()?, now, reason })
    }

    /// Ends the request early and tells its handler to stop. A handler that goes on is watched.
    pub(crate) fn end_early(self: &Arc<Self>, reason: CancelReason) {
        let error = match reason {
            CancelReason::Cancelled => Error::new(ErrorCode::Cancelled, "cancelled by its sender"),
            CancelReason::ClientGone => Error::new(ErrorCode::Cancelled, "the client is gone"),
            CancelReason::Shutdown => {
                Error::new(ErrorCode::ShuttingDown, "the session ended before the answer")
            }
            CancelReason::Timeout | CancelReason::Answered => {
                let limit = self.deadline_us().saturating_sub(self.accepted.mono_us());
                let seconds = Duration::from_micros(limit).as_secs_f64();
                let text = format!("no answer within {seconds:.1} s");
                Error::new(ErrorCode::Timeout, text)
            }
        };
        let by = self.course.plugin();
        if reason == CancelReason::Timeout
            && let Some(label) = by.as_ref().filter(|_| self.had_its_whole_time())
        {
            label.admission.note_failure(self.session.services.clock.now());
        }
        if self.answer(&Verdict::Error { error, by, is_panic: false }, Some(reason)) {
            // The caller may be the watchdog, which never waits for a transport.
            self.session.outbox.flush_soon();
        }
    }

    /// Whether a handler had all the time that its type gives by itself: a sender that asked for less
    /// says nothing about the plugin.
    fn had_its_whole_time(&self) -> bool {
        let whole = self.spec.limit(&Slot::Absent).map_or(u64::MAX, micros);
        self.deadline_us().saturating_sub(self.accepted.mono_us()) >= whole
    }

    /// Takes it out of the session's table.
    fn forget(&self, ending: &Ending) {
        if ending.course.is_listed {
            self.session.in_flight.remove(self);
        }
    }

    /// Queues the answer; its audit record goes first into the same batch.
    fn answer_client(&self, verdict: &Verdict, ending: &Ending) {
        let session = &self.session;
        let error_body;
        let (wire_type, fields) = match verdict {
            Verdict::Reply { wire_type, fields, .. } => (wire_type.as_ref(), fields.as_slice()),
            Verdict::Error { error, by, .. } => {
                let capability = by.as_ref().map_or("", |by| by.capability.as_str());
                error_body = error_fields(error, capability);
                ("error", error_body.as_slice())
            }
            Verdict::Nothing => {
                self.forget(ending);
                self.note_end(verdict, ending, 0);
                return;
            }
        };
        let told = self.with_ignored(fields);
        let fields = told.as_deref().unwrap_or(fields);
        let now = ending.now;
        // A batch that is large enough leaves with the flush behind it.
        let _is_due = session.outbox.append_audited(true, |out| {
            let before = out.len();
            write_message(out, &session.services.ids.wire, now, wire_type, Some(&self.id), fields);
            let line = out.get(before..).unwrap_or_default();
            // Under the outbox's lock, so that a client that reads the answer may use the id again
            // at once.
            session.keep_answer(self, line, now);
            self.forget(ending);
            self.note_end(verdict, ending, line.len());
        });
    }

    /// Records how it ended, once.
    fn note_end(&self, verdict: &Verdict, ending: &Ending, output_bytes: usize) {
        let (outcome, error_code) = match verdict {
            Verdict::Error { error, is_panic, .. } => {
                (outcome_of(error, *is_panic, ending.reason), Some(error.code().as_str()))
            }
            _ => (RecordOutcome::Ok, None),
        };
        let started = match ending.course.started_us {
            Some(us) => {
                let after = Duration::from_micros(us).saturating_sub(self.accepted.mono);
                Time { mono: self.accepted.mono + after, wall: self.accepted.wall + after }
            }
            None => ending.now,
        };
        let trace = self.notes.trace.as_deref();
        if let Some(trace) = trace {
            trace.end(outcome.as_str());
        }
        let detail = self.notes.detail.lock().take();
        self.session.services.audit.append(&AuditRecord {
            accepted: self.accepted,
            started,
            ended: ending.now,
            session_id: self.session.id().as_str(),
            req_id: &self.id,
            correlation_id: self.notes.correlation_id.as_deref(),
            trace_id: trace.map(Trace::id),
            kind: &self.spec.wire_type,
            plugin: verdict.by().map(|by| by.name.as_str()),
            agent_id: self.session.agent_id_ref(),
            principal: self.session.principal(),
            outcome,
            error_code,
            input_bytes: self.input_bytes,
            output_bytes,
            detail: detail.as_deref(),
        });
    }

    /// Runs what waits for the answer. An early end comes from the watchdog or a reader, which have
    /// no time for plugin code: then it runs on a thread that has.
    fn run_hooks(&self, hooks: Vec<AfterAnswer>, verdict: &Verdict, ending: &Ending) {
        if hooks.is_empty() {
            return;
        }
        let took = ending.now.since(self.accepted);
        match verdict {
            Verdict::Error { error, .. } if ending.reason.is_some() => {
                let error = error.clone();
                self.session.services.runtime.spawn_blocking(move || {
                    tell(hooks, &Answered { reply: None, error: Some(&error), took });
                });
            }
            Verdict::Reply { wire_type, fields, .. } => {
                let reply = Some((wire_type.as_ref(), fields.as_slice()));
                tell(hooks, &Answered { reply, error: None, took });
            }
            Verdict::Error { error, .. } => {
                tell(hooks, &Answered { reply: None, error: Some(error), took });
            }
            Verdict::Nothing => tell(hooks, &Answered { reply: None, error: None, took }),
        }
    }

    /// Runs `hook` once the answer is queued. When it already is, the hook runs at once.
    pub(crate) fn after_answer(&self, hook: AfterAnswer) {
        let Some(hook) = self.course.after_answer(hook) else { return };
        hook(&Answered { reply: None, error: None, took: Duration::ZERO });
    }
}

fn tell(hooks: Vec<AfterAnswer>, answered: &Answered<'_>) {
    for hook in hooks {
        if let Err(panic) = catch(|| hook(answered)) {
            tracing::error!(panic, "a hook panicked after the answer");
        }
    }
}

fn outcome_of(error: &Error, is_panic: bool, reason: Option<CancelReason>) -> RecordOutcome {
    match (reason, error.code()) {
        (Some(CancelReason::ClientGone), _) => RecordOutcome::ClientGone,
        _ if is_panic => RecordOutcome::Panic,
        (_, ErrorCode::Timeout) => RecordOutcome::Timeout,
        (_, ErrorCode::Cancelled) => RecordOutcome::Cancelled,
        (
            _,
            ErrorCode::Overloaded
            | ErrorCode::Unavailable
            | ErrorCode::ShuttingDown
            | ErrorCode::Forbidden
            | ErrorCode::ApprovalDenied
            | ErrorCode::ApprovalUnavailable,
        ) => RecordOutcome::Refused,
        _ => RecordOutcome::Error,
    }
}

/// The fields of an `error` message. One whose detail cannot be encoded loses the detail only.
pub(crate) fn error_fields(error: &Error, capability: &str) -> Vec<u8> {
    let mut body: ErrorBody = error.to_body(capability);
    let mut fields = Vec::with_capacity(160);
    if encode_fields(&body, &mut fields).is_err() {
        body.detail.clear();
        // Texts and a boolean always have a form.
        let _cannot_fail = encode_fields(&body, &mut fields);
    }
    fields
}

/// The fields of a request that nobody who read it knows: its answer names them, so that a misspelt one
/// does not go in silence. There once a handler has met such a field.
#[derive(Debug, Default)]
pub(super) struct Ignored(OnceLock<Mutex<Vec<String>>>);

impl Request {
    /// A handler has read the request, and knows all but these fields.
    #[inline]
    pub(crate) fn note_ignored(&self, unknown: &Unknown<'_>) {
        if !unknown.is_empty() || self.noted.ignored.0.get().is_some() {
            self.keep_ignored(unknown.names());
        }
    }

    /// A handler reads the request by itself: nobody can tell what it ignores.
    pub(crate) fn note_all_known(&self) {
        if self.noted.ignored.0.get().is_some() {
            self.keep_ignored(Vec::new());
        }
    }

    /// What one handler knows is not ignored.
    #[cold]
    fn keep_ignored(&self, names: Vec<String>) {
        let ignored = self.noted.ignored.0.get_or_init(|| Mutex::new(names.clone()));
        ignored.lock().retain(|it| names.contains(it));
    }

    /// The fields of its answer with `ignored` behind them, where there is something to name.
    #[inline]
    pub(super) fn with_ignored(&self, fields: &[u8]) -> Option<Vec<u8>> {
        let ignored = self.noted.ignored.0.get()?;
        with_names(&ignored.lock(), fields)
    }
}

/// The fields of an answer with these names as `ignored` behind them; `None` without names, and where
/// the answer has a field of that name already.
#[cold]
pub(crate) fn with_names(names: &[String], fields: &[u8]) -> Option<Vec<u8>> {
    if names.is_empty() {
        return None;
    }
    let line = [b"{", fields, b"}"].concat();
    let own: BTreeMap<String, &RawValue> = serde_json::from_slice(&line).ok()?;
    if own.contains_key("ignored") {
        return None;
    }
    let comma: &[u8] = if fields.is_empty() { b"" } else { b"," };
    Some([fields, comma, br#""ignored":"#, &encode_value(names).ok()?].concat())
}

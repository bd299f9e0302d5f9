//! The one place where a request ends: state, audit record, answer, hooks.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use super::asker::Asker;
use super::course::{CancelReason, Closed};
use super::label::{PluginLabel, PluginStats};
use super::request::{AfterAnswer, Answered, Request};
use crate::audit::{AuditRecord, Outcome};
use crate::codec::encode_fields;
use crate::codec::envelope::write_message;
use crate::codec::scan::Slot;
use crate::counters::Count;
use crate::layers::{catch, micros};
use crate::protocol::{ErrorBody, ErrorCode};
use crate::{Error, Time};

/// How a request ends, by the plugin that decided it.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// With a reply: its wire type and body fields.
    Reply { wire_type: Cow<'static, str>, fields: Vec<u8>, by: Option<Arc<PluginLabel>> },
    /// With an error.
    Error { error: Error, by: Option<Arc<PluginLabel>>, is_panic: bool },
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

/// What the end of a request has to know of its progress.
struct Progressed {
    started_us: Option<u64>,
    is_listed: bool,
    after: Vec<AfterAnswer>,
    goes_on: bool,
    now: Time,
    reason: Option<CancelReason>,
}

impl Request {
    /// Ends the request. True for the first end; a later one is counted and ignored.
    pub(crate) fn end(self: &Arc<Self>, verdict: &Verdict) -> bool {
        let has_ended = self.answer(verdict);
        if has_ended {
            self.session.outbox.flush();
        }
        has_ended
    }

    fn answer(self: &Arc<Self>, verdict: &Verdict) -> bool {
        let Some(mut progressed) = self.close() else {
            self.session.services.counters.add(Count::LateAnswer);
            return false;
        };
        match &self.asker {
            Asker::Client => self.answer_client(verdict, &progressed),
            Asker::Caller(caller) => {
                self.forget(&progressed);
                self.session.services.audit.append(&self.record(verdict, &progressed, 0));
                if !caller.answer(verdict) {
                    self.session.services.counters.add(Count::LateAnswer);
                }
            }
        }
        if let Verdict::Error { error, by: Some(by), .. } = verdict
            && *error.code() == ErrorCode::Timeout
        {
            PluginStats::add(&by.stats.timeouts);
        }
        let hooks = std::mem::take(&mut progressed.after);
        self.run_hooks(hooks, verdict, &progressed);
        self.cancel(CancelReason::Answered);
        if progressed.goes_on {
            self.session.services.watch.linger(self, progressed.now);
        }
        true
    }

    /// Makes the transition; `None` when the request has its answer already.
    fn close(&self) -> Option<Progressed> {
        let reason = self.cancel_reason();
        let now = self.session.services.clock.now();
        let Closed { started_us, is_listed, after, goes_on } = self.course.close()?;
        Some(Progressed { started_us, is_listed, after, goes_on, now, reason })
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
                let limit = self.deadline_us.saturating_sub(self.accepted.mono_us());
                let text = format!("no answer within {:.1} s", micros_as_seconds(limit));
                Error::new(ErrorCode::Timeout, text)
            }
        };
        self.cancel(reason);
        let by = self.plugin();
        if reason == CancelReason::Timeout
            && let Some(label) = by.as_ref().filter(|_| self.had_its_whole_time())
        {
            label.admission.note_failure(self.session.services.clock.now());
        }
        if self.answer(&Verdict::Error { error, by, is_panic: false }) {
            // The caller may be the watchdog, which never waits for a transport.
            self.session.outbox.flush_soon();
        }
    }

    /// Whether a handler had all the time that its type gives by itself: a sender that asked for less
    /// says nothing about the plugin.
    fn had_its_whole_time(&self) -> bool {
        let whole = self.spec.limit(&Slot::Absent).map_or(u64::MAX, micros);
        self.deadline_us.saturating_sub(self.accepted.mono_us()) >= whole
    }

    /// Takes it out of the session's table.
    fn forget(&self, progressed: &Progressed) {
        if progressed.is_listed {
            self.session.in_flight.remove(self);
        }
    }

    /// Queues the answer; its audit record goes first into the same batch.
    fn answer_client(&self, verdict: &Verdict, progressed: &Progressed) {
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
                self.forget(progressed);
                session.services.audit.append(&self.record(verdict, progressed, 0));
                return;
            }
        };
        let now = progressed.now;
        // A batch that is large enough leaves with the flush behind it.
        let _is_due = session.outbox.append_audited(true, |out| {
            let before = out.len();
            write_message(out, &session.services.ids.wire, now, wire_type, Some(&self.id), fields);
            let line = out.get(before..).unwrap_or_default();
            // Under the outbox's lock, so that a client that reads the answer may use the id again
            // at once.
            session.keep_answer(self, line, now);
            self.forget(progressed);
            session.services.audit.append(&self.record(verdict, progressed, line.len()));
        });
    }

    fn record<'a>(
        &'a self,
        verdict: &'a Verdict,
        progressed: &Progressed,
        output_bytes: usize,
    ) -> AuditRecord<'a> {
        let (outcome, error_code) = match verdict {
            Verdict::Error { error, is_panic, .. } => {
                (outcome_of(error, *is_panic, progressed.reason), Some(error.code().as_str()))
            }
            _ => (Outcome::Ok, None),
        };
        let started = match progressed.started_us {
            Some(us) => {
                let after = std::time::Duration::from_micros(us).saturating_sub(self.accepted.mono);
                Time { mono: self.accepted.mono + after, wall: self.accepted.wall + after }
            }
            None => progressed.now,
        };
        AuditRecord {
            accepted: self.accepted,
            started,
            ended: progressed.now,
            session_id: self.session.id().as_str(),
            req_id: &self.id,
            correlation_id: self.correlation_id.as_deref(),
            kind: &self.spec.wire_type,
            plugin: verdict.by().map(|by| by.name.as_str()),
            agent_id: self.session.agent_id_ref(),
            outcome,
            error_code,
            input_bytes: self.input_bytes,
            output_bytes,
        }
    }

    /// Runs what waits for the answer. An early end comes from the watchdog or a reader, which have
    /// no time for plugin code: then it runs on a thread that has.
    fn run_hooks(&self, hooks: Vec<AfterAnswer>, verdict: &Verdict, progressed: &Progressed) {
        if hooks.is_empty() {
            return;
        }
        let took = progressed.now.since(self.accepted);
        match verdict {
            Verdict::Error { error, .. } if progressed.reason.is_some() => {
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
        hook(&Answered { reply: None, error: None, took: std::time::Duration::ZERO });
    }
}

fn tell(hooks: Vec<AfterAnswer>, answered: &Answered<'_>) {
    for hook in hooks {
        if let Err(panic) = catch(|| hook(answered)) {
            tracing::error!(panic, "a hook panicked after the answer");
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a time-out for people, far below 2^52 us")]
fn micros_as_seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn outcome_of(error: &Error, is_panic: bool, reason: Option<CancelReason>) -> Outcome {
    match (reason, error.code()) {
        (Some(CancelReason::ClientGone), _) => Outcome::ClientGone,
        _ if is_panic => Outcome::Panic,
        (_, ErrorCode::Timeout) => Outcome::Timeout,
        (_, ErrorCode::Cancelled) => Outcome::Cancelled,
        (_, ErrorCode::Overloaded | ErrorCode::Unavailable | ErrorCode::ShuttingDown) => {
            Outcome::Refused
        }
        _ => Outcome::Error,
    }
}

/// The fields of an `error` message. One whose detail cannot be encoded loses the detail only.
pub(crate) fn error_fields(error: &Error, capability: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Plain<'a> {
        code: &'a str,
        message: &'a str,
        retryable: bool,
        capability_name: &'a str,
    }

    let body: ErrorBody = error.to_body(capability);
    let mut fields = Vec::with_capacity(160);
    if encode_fields(&body, &mut fields).is_err() {
        let plain = Plain {
            code: body.code.as_str(),
            message: &body.message,
            retryable: body.retryable,
            capability_name: capability,
        };
        // Texts and a boolean always have a form.
        let _cannot_fail = encode_fields(&plain, &mut fields);
    }
    fields
}

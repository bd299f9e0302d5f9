//! The one place where a request ends: answer, audit record, counters, tables, hooks.

use std::sync::Arc;

use serde::Serialize;

use super::PluginSlot;
use super::active::{Active, CancelReason, Target};
use super::call::Call;
use super::contain::catch;
use super::fold::Verdict;
use crate::audit::{AuditRecord, Outcome};
use crate::codec::encode_fields;
use crate::codec::envelope::write_message;
use crate::codec::scan::Slot;
use crate::protocol::{ErrorBody, ErrorCode};
use crate::{Error, Time};

/// How a request ends.
pub(crate) enum Terminal<'a> {
    /// With a reply: its wire type and body fields.
    Reply(&'a str, &'a [u8]),
    /// With an error; true when a panic was behind it.
    Error(&'a Error, bool),
    /// Without an answer, as its type is declared.
    Nothing,
}

/// Whether the answer is sent now or with the reader's batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    Now,
    WithBatch,
}

impl Active {
    /// Ends the request. True for the first who does; whoever comes later is counted and ignored.
    pub(crate) fn finish(
        self: &Arc<Self>,
        terminal: &Terminal<'_>,
        by: Option<&Arc<PluginSlot>>,
        flush: Flush,
    ) -> bool {
        self.finish_at(terminal, by, flush, self.kernel.clock.now())
    }

    /// As [`finish`](Self::finish), with the time known.
    pub(crate) fn finish_at(
        self: &Arc<Self>,
        terminal: &Terminal<'_>,
        by: Option<&Arc<PluginSlot>>,
        flush: Flush,
        now: Time,
    ) -> bool {
        {
            let mut events = self.events();
            if events.has_ended {
                drop(events);
                self.kernel.counters.late_answers.add();
                return false;
            }
            events.has_ended = true;
        }
        self.note_end(now);
        let reason = self.cancel_reason();
        match &self.target {
            Target::Client => self.answer(terminal, by, reason, now),
            Target::Caller(caller) => {
                self.session.forget(self);
                self.session.kernel_audit(&self.record(terminal, by, reason, 0, now));
                let caller =
                    caller.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
                let reply = match terminal {
                    Terminal::Reply(_, fields) => Ok(fields.to_vec()),
                    Terminal::Error(error, _) => Err((*error).clone()),
                    Terminal::Nothing => Ok(Vec::new()),
                };
                if caller.is_none_or(|caller| caller.send(reply).is_err()) {
                    self.kernel.counters.late_answers.add();
                }
            }
        }
        if let Terminal::Error(error, _) = terminal
            && *error.code() == ErrorCode::Timeout
            && let Some(slot) = by.cloned().or_else(|| self.slot())
        {
            super::slot::PluginStats::add(&slot.stats.timeouts);
        }
        if flush == Flush::Now {
            self.session.sink.flush();
        }
        self.run_hooks(matches!(terminal, Terminal::Reply(..)), reason.is_some());
        if !self.route.interceptors.is_empty() {
            self.told_after(terminal, reason.is_some());
        }
        if !self.is_known_to_reader_alone() {
            self.cancel(CancelReason::Answered);
        }
        true
    }

    /// Runs what waits for the answer. Who ends a request early (the watchdog, a reader) has no time
    /// for plugin code, so then it runs on a thread that has.
    fn run_hooks(&self, was_reply: bool, is_early: bool) {
        let hooks = self.take_after();
        if hooks.is_empty() {
            return;
        }
        let run = move || {
            for hook in hooks {
                if let Err(panic) = catch(|| hook(was_reply)) {
                    tracing::error!(panic, "a hook panicked after the answer");
                }
            }
        };
        if is_early {
            self.kernel.runtime.spawn_blocking(run);
        } else {
            run();
        }
    }

    /// Has interceptors told, where they may take their time.
    fn told_after(self: &Arc<Self>, terminal: &Terminal<'_>, is_early: bool) {
        let call = Call(Arc::clone(self));
        match terminal {
            Terminal::Error(error, is_panic) if is_early => {
                let (error, is_panic) = ((*error).clone(), *is_panic);
                self.kernel.runtime.spawn_blocking(move || {
                    call.0.tell_interceptors(&call, &Terminal::Error(&error, is_panic));
                });
            }
            _ => self.tell_interceptors(&call, terminal),
        }
    }

    /// Queues the answer; its audit record goes first into the same batch.
    fn answer(
        &self,
        terminal: &Terminal<'_>,
        by: Option<&Arc<PluginSlot>>,
        reason: Option<CancelReason>,
        now: Time,
    ) {
        let ids = &self.kernel.ids;
        let error_fields;
        let (wire_type, fields) = match terminal {
            Terminal::Reply(wire_type, fields) => (*wire_type, *fields),
            Terminal::Error(error, _) => {
                let capability = by.map_or("", |slot| slot.capability.as_str());
                error_fields = error_body(error, capability);
                ("error", error_fields.as_slice())
            }
            Terminal::Nothing => {
                self.session.forget(self);
                self.session.kernel_audit(&self.record(terminal, by, reason, 0, now));
                return;
            }
        };
        self.session.sink.append_audited(true, |out| {
            let before = out.len();
            write_message(out, ids, now, wire_type, Some(&self.id), fields);
            let output = out.len() - before;
            // Under the sink's lock, so that whoever reads the answer may use the id again at once.
            self.session.forget(self);
            self.session.kernel_audit(&self.record(terminal, by, reason, output, now));
        });
    }

    fn record<'a>(
        &'a self,
        terminal: &'a Terminal<'_>,
        by: Option<&'a Arc<PluginSlot>>,
        reason: Option<CancelReason>,
        output_bytes: usize,
        now: Time,
    ) -> AuditRecord<'a> {
        let (outcome, error_code) = match terminal {
            Terminal::Error(error, is_panic) => {
                (outcome_of(error, *is_panic, reason), Some(error.code().as_str()))
            }
            _ => (Outcome::Ok, None),
        };
        let started = match self.started_us() {
            Some(us) => {
                let after = std::time::Duration::from_micros(us).saturating_sub(self.accepted.mono);
                Time { mono: self.accepted.mono + after, wall: self.accepted.wall + after }
            }
            None => now,
        };
        AuditRecord {
            accepted: self.accepted,
            started,
            ended: now,
            session_id: self.session.id().as_str(),
            req_id: &self.id,
            correlation_id: self.correlation_id.as_deref(),
            kind: &self.route.spec.wire_type,
            plugin: by.map(|slot| slot.name.as_str()),
            agent_id: self.session.agent_id_ref(),
            outcome,
            error_code,
            input_bytes: self.input_bytes,
            output_bytes,
        }
    }

    /// Ends the request as the chain says.
    pub(crate) fn conclude(self: &Arc<Self>, verdict: Verdict, flush: Flush) {
        match verdict {
            Verdict::Reply { wire_type, fields, by } => {
                self.finish(&Terminal::Reply(&wire_type, &fields), by.as_ref(), flush);
            }
            Verdict::Error { error, by, is_panic } => {
                self.finish(&Terminal::Error(&error, is_panic), by.as_ref(), flush);
            }
            Verdict::Nothing => {
                self.finish(&Terminal::Nothing, None, flush);
            }
        }
    }

    /// Ends the request early and tells its handler to stop. The run that may go on is watched.
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
        let slot = self.slot();
        if reason == CancelReason::Timeout
            && let Some(slot) = slot.as_ref().filter(|_| self.had_its_whole_time())
        {
            slot.note_failure(self.kernel.clock.now());
        }
        self.finish(&Terminal::Error(&error, false), slot.as_ref(), Flush::Now);
        if let Some(ticket) = self.ticket() {
            self.kernel.watchdog.linger(ticket, self.kernel.clock.now());
        }
    }
}

impl Active {
    /// Whether a handler had all the time that its type gives by itself: a sender that asked for less
    /// says nothing about the plugin.
    fn had_its_whole_time(&self) -> bool {
        let whole = self
            .route
            .limit(&Slot::Absent)
            .map_or(u64::MAX, |limit| u64::try_from(limit.as_micros()).unwrap_or(u64::MAX));
        let had = self.deadline_us.saturating_sub(self.accepted.mono_us());
        self.started_us().is_some() && had >= whole
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
pub(crate) fn error_body(error: &Error, capability: &str) -> Vec<u8> {
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

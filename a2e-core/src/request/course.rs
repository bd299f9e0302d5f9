//! The course of a request: its state, and what goes with it, under one lock. Every step is one
//! transition, and each step that comes too late changes nothing.

use std::sync::Arc;

use super::label::PluginLabel;
use super::request::{AfterAnswer, Continuation, OnCancel};
use super::state::{State, Transition};
use crate::layers::{NEVER, Probe, StuckMark};
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{Mutex, MutexGuard};

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

/// How far a request is, and whether its handlers are to stop.
#[derive(Default)]
pub(crate) struct Course {
    /// Held for a transition or an event, never while a handler runs or a line is written.
    progress: Mutex<CourseState>,
    /// A [`CancelReason`]; 0 without one.
    reason: AtomicU8,
}

/// What changes while a request is worked on.
#[derive(Default)]
pub(super) struct CourseState {
    pub(super) state: State,
    runs: u32,
    now: Option<Now>,
    /// When its first handler began, in monotonic microseconds.
    started_us: Option<u64>,
    /// Whether it is in the session's table.
    is_listed: bool,
    pub(super) next_seq: u64,
    pub(super) is_muted: bool,
    after: Vec<AfterAnswer>,
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
    pub(crate) resume: Option<Continuation>,
}

/// A run that was given up because its own time is over.
pub(crate) struct Lapsed {
    pub(crate) label: Arc<PluginLabel>,
    pub(crate) permit: Option<StuckMark>,
    pub(crate) resume: Continuation,
}

/// What the end of a request has to know of its course.
pub(super) struct Closed {
    pub(super) started_us: Option<u64>,
    pub(super) is_listed: bool,
    pub(super) after: Vec<AfterAnswer>,
    /// Whether a handler goes on although the answer is given.
    pub(super) goes_on: bool,
}

impl Course {
    pub(super) fn lock(&self) -> MutexGuard<'_, CourseState> {
        self.progress.lock()
    }

    /// A handler begins: the number of its run, or `None` when the request was answered before.
    pub(crate) fn begin(&self, now: Now, now_us: u64) -> Option<u32> {
        let mut progress = self.lock();
        let run = progress.runs + 1;
        progress.state = progress.state.after(Transition::Begin { run }).ok()?;
        progress.runs = run;
        progress.started_us.get_or_insert(now_us);
        progress.now = Some(now);
        Some(run)
    }

    /// The handler of a run has something to say, or has returned. Gives back how the walk goes on
    /// (`None` on the reader); fails when it comes too late.
    pub(super) fn step(&self, event: Transition) -> Result<Option<Continuation>, ()> {
        let mut progress = self.lock();
        let before = progress.state;
        progress.state = before.after(event).map_err(|_| ())?;
        let now = progress.now.take();
        drop(progress);
        if before.has_answer() {
            return Err(());
        }
        Ok(now.and_then(|mut now| now.resume.take()))
    }

    /// Gives up the run whose own time is over at `now_us`: its permit counts as stuck, and the next
    /// handler may be asked.
    pub(crate) fn lapse(&self, now_us: u64) -> Option<Lapsed> {
        let mut progress = self.lock();
        let State::Running { run } = progress.state else { return None };
        if progress.now.as_ref().is_none_or(|now| now_us < now.until_us || now.resume.is_none()) {
            return None;
        }
        progress.state = progress.state.after(Transition::Lapse { run }).ok()?;
        let now = progress.now.take()?;
        Some(Lapsed { label: now.label?, permit: now.permit, resume: now.resume? })
    }

    /// Gives the answer: succeeds once.
    pub(super) fn close(&self) -> Option<Closed> {
        let mut progress = self.lock();
        progress.state = progress.state.after(Transition::End).ok()?;
        if let Some(running) = &mut progress.now {
            // A run that goes on says nothing any more, and decides nothing for the breaker.
            running.resume = None;
            running.probe = None;
        }
        Some(Closed {
            started_us: progress.started_us,
            is_listed: progress.is_listed,
            after: std::mem::take(&mut progress.after),
            goes_on: matches!(progress.state, State::GivenUp { .. }),
        })
    }

    /// Puts the request into the session's table with `insert`, once and never after its answer.
    pub(super) fn list(&self, insert: impl FnOnce()) -> bool {
        let mut progress = self.lock();
        if progress.is_listed || progress.state.has_answer() {
            return false;
        }
        // Under the lock of the end: a request is never listed after it was forgotten.
        insert();
        progress.is_listed = true;
        true
    }

    /// Keeps a hook for the answer; gives it back when that was given already.
    pub(super) fn after_answer(&self, hook: AfterAnswer) -> Option<AfterAnswer> {
        let mut progress = self.lock();
        if progress.state.has_answer() {
            return Some(hook);
        }
        progress.after.push(hook);
        None
    }

    // --- cancellation

    /// Notes why handlers are to stop. The first reason stays: `None` for a later one.
    pub(super) fn cancel(&self, reason: CancelReason) -> Option<Vec<OnCancel>> {
        let reason = reason as u8;
        self.reason.compare_exchange(0, reason, Ordering::AcqRel, Ordering::Acquire).ok()?;
        Some(std::mem::take(&mut self.lock().on_cancel))
    }

    /// Keeps a hook for the cancel; gives it back when that came already.
    pub(super) fn on_cancel(&self, hook: OnCancel) -> Option<OnCancel> {
        let mut progress = self.lock();
        // Looked at under the lock: a cancel that comes later finds the hook.
        if self.reason().is_some() {
            return Some(hook);
        }
        progress.on_cancel.push(hook);
        None
    }

    pub(crate) fn reason(&self) -> Option<CancelReason> {
        Some(match self.reason.load(Ordering::Acquire) {
            1 => CancelReason::Cancelled,
            2 => CancelReason::ClientGone,
            3 => CancelReason::Timeout,
            4 => CancelReason::Shutdown,
            5 => CancelReason::Answered,
            _ => return None,
        })
    }

    // --- how it stands

    pub(super) fn has_answer(&self) -> bool {
        self.lock().state.has_answer()
    }

    /// The plugin that works on it now.
    pub(crate) fn plugin(&self) -> Option<Arc<PluginLabel>> {
        self.lock().now.as_ref().and_then(|now| now.label.clone())
    }

    /// When the handler of its run is given up; [`NEVER`] while none runs.
    pub(crate) fn run_until_us(&self) -> u64 {
        self.lock().now.as_ref().map_or(NEVER, |now| now.until_us)
    }

    /// The permit of a handler that goes on although the request was answered.
    pub(crate) fn given_up(&self) -> Option<StuckMark> {
        let progress = self.lock();
        let State::GivenUp { .. } = progress.state else { return None };
        progress.now.as_ref()?.permit.clone()
    }

    pub(crate) fn is_listed(&self) -> bool {
        self.lock().is_listed
    }
}

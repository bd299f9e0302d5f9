//! Stands for a request: its steps are those of the kernel's, without audit, outbox and clock.

use std::sync::Arc;

use super::course::{CancelReason, Closed, Course, Lapsed, Now};
use super::session::InFlight;
use super::state::Event;
use crate::layers::StuckMark;

/// Stands for what a handler said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// The reply of this run.
    Reply(u32),
    Broken,
}

pub(crate) type Resume = Box<dyn FnOnce(Said) + Send>;
pub(crate) type AfterAnswer = Box<dyn FnOnce() + Send>;
pub(crate) type OnCancel = Box<dyn FnOnce() + Send>;

pub(crate) struct Request {
    pub(crate) id: Box<str>,
    pub(crate) input_bytes: usize,
    in_flight: Arc<InFlight>,
    course: Course,
}

impl Request {
    pub(crate) fn new(id: &str, in_flight: &Arc<InFlight>) -> Arc<Self> {
        Arc::new(Self {
            id: id.into(),
            input_bytes: 100,
            in_flight: Arc::clone(in_flight),
            course: Course::default(),
        })
    }

    pub(crate) fn begin(&self, now: Now) -> Option<u32> {
        self.course.begin(now, 0)
    }

    pub(crate) fn said(&self, run: u32) -> Result<Option<Resume>, ()> {
        self.course.step(Event::Said { run })
    }

    pub(crate) fn returned(&self, run: u32) {
        let _is_over = self.course.step(Event::Return { run });
    }

    pub(crate) fn lapse(&self, now_us: u64) -> Option<Lapsed> {
        self.course.lapse(now_us)
    }

    /// As the kernel's `end`: true for the first.
    pub(crate) fn end(&self) -> bool {
        let Some(Closed { is_listed, after, .. }) = self.course.close() else { return false };
        if is_listed {
            self.in_flight.remove(self);
        }
        for hook in after {
            hook();
        }
        self.cancel(CancelReason::Answered);
        true
    }

    pub(crate) fn cancel(&self, reason: CancelReason) {
        let Some(hooks) = self.course.cancel(reason) else { return };
        for hook in hooks {
            hook();
        }
    }

    pub(crate) fn on_cancel(&self, hook: OnCancel) {
        if let Some(late) = self.course.on_cancel(hook) {
            late();
        }
    }

    pub(crate) fn after_answer(&self, hook: AfterAnswer) {
        if let Some(late) = self.course.after_answer(hook) {
            late();
        }
    }

    pub(crate) fn list(self: &Arc<Self>) {
        self.course.list(|| self.in_flight.insert(self));
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.course.has_answer()
    }

    pub(crate) fn given_up(&self) -> Option<StuckMark> {
        self.course.given_up()
    }

    /// Whether a handler goes on after the answer.
    pub(crate) fn goes_on(&self) -> bool {
        matches!(self.course.lock().state, super::state::State::GivenUp { .. })
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("id", &self.id).finish_non_exhaustive()
    }
}

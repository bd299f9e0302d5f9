//! The models. Each panics where a schedule breaks what it says.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use checker::model::Builder;

pub mod handover;
pub mod listing;
pub mod permits;
pub mod request;

/// Runs a model under every schedule with at most `LOOM_MAX_PREEMPTIONS` preemptions, or as many of
/// them as fit into `LOOM_MAX_DURATION` seconds.
#[expect(clippy::disallowed_methods, reason = "it is the time of the machine that is told")]
fn explore(name: &str, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.max_branches = 10_000;
    builder.preemption_bound.get_or_insert(BOUND);
    let schedules = Arc::new(AtomicUsize::new(0));
    let (begun, counted) = (Instant::now(), Arc::clone(&schedules));
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let (schedules, took) = (schedules.load(Ordering::Relaxed), begun.elapsed());
    let is_whole = builder.max_duration.is_none_or(|limit| took < limit);
    let how = if is_whole { "" } else { " (out of time)" };
    println!("{name}: {schedules} schedules in {:.1} s{how}", took.as_secs_f64());
}

/// Preemptions without `LOOM_MAX_PREEMPTIONS`: nearly every known bug of this kind needs two.
const BOUND: usize = 3;

/// What a model notes on the side. loom does not see it: it adds no schedules.
#[derive(Debug)]
struct Notes<T>(Mutex<Vec<T>>);

impl<T> Notes<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self::empty())
    }

    fn empty() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    fn push(&self, note: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }

    fn pop(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

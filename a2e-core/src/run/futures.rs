//! The threads on which handlers' futures are polled, apart from those of the sessions: futures that
//! block their threads, which none may, hold up others like them, but no session (R26).

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::layers::catch;
use crate::sync::Mutex;

/// Threads that answer no beat for this long are blocked.
const BLOCKED: Duration = Duration::from_secs(1);

/// After this many replacements futures go on with the threads that there are.
const MAX_REPLACEMENTS: usize = 3;

/// A tokio of their own. It starts with the first future, and another takes over when all of its
/// threads are blocked.
#[derive(Debug, Default)]
pub(crate) struct FutureThreads {
    current: Mutex<Current>,
    replacements: AtomicUsize,
}

#[derive(Debug, Default)]
struct Current {
    runtime: Option<Runtime>,
    /// The last sign of life that was asked of it: when, and whether it came.
    beat: Option<(Duration, Beat)>,
    /// The runtimes before it, whose blocked futures go on.
    retired: Vec<Runtime>,
    /// The signs of life that did not come in time; they come when their threads are free again.
    overdue: Vec<Beat>,
}

/// Set by a task when a thread of its runtime is free.
type Beat = Arc<AtomicBool>;

impl FutureThreads {
    /// Polls a future; on the threads of the host while others cannot be started.
    pub(super) fn spawn(
        &self,
        otherwise: &Handle,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        let handle = {
            let mut current = self.current.lock();
            if current.runtime.is_none() {
                match start() {
                    Ok(runtime) => current.runtime = Some(runtime),
                    Err(error) => {
                        tracing::warn!(%error, "no threads for futures; those of the host poll them");
                    }
                }
            }
            current.runtime.as_ref().map_or_else(|| otherwise.clone(), |it| it.handle().clone())
        };
        // The task tells by its request how it ended.
        drop(handle.spawn(future));
    }

    /// Looks whether a thread still answers; called by the watchdog. Threads that are all blocked are
    /// left to their futures, and others take over.
    pub(super) fn look(&self, now: Duration) {
        let mut current = self.current.lock();
        current.overdue.retain(|beat| !beat.load(Ordering::Acquire));
        let Some(handle) = current.runtime.as_ref().map(|it| it.handle().clone()) else { return };
        let (asked, beat) = match &current.beat {
            Some((asked, beat)) if !beat.load(Ordering::Acquire) => (*asked, Arc::clone(beat)),
            _ => {
                let beat = Beat::default();
                current.beat = Some((now, Arc::clone(&beat)));
                drop(handle.spawn(async move { beat.store(true, Ordering::Release) }));
                return;
            }
        };
        let is_known = current.overdue.iter().any(|it| Arc::ptr_eq(it, &beat));
        if now.saturating_sub(asked) < BLOCKED || is_known {
            return;
        }
        current.overdue.push(beat);
        if self.replacements() >= MAX_REPLACEMENTS {
            return tracing::error!(
                "futures block all their threads; no others take over any more"
            );
        }
        let Ok(next) = start() else { return };
        let replacement = self.replacements.fetch_add(1, Ordering::AcqRel) + 1;
        tracing::error!(replacement, "futures block all their threads; others take over");
        let before = current.runtime.replace(next);
        current.retired.extend(before);
        current.beat = None;
    }

    /// Threads that futures block now.
    pub(crate) fn blocked(&self) -> usize {
        let current = self.current.lock();
        let overdue = current.overdue.iter().filter(|beat| !beat.load(Ordering::Acquire)).count();
        overdue * threads()
    }

    /// How often others took over.
    pub(crate) fn replacements(&self) -> usize {
        self.replacements.load(Ordering::Acquire)
    }

    /// What is wrong with futures, if something is.
    pub(crate) fn trouble(&self) -> Option<String> {
        let blocked = self.blocked();
        (blocked > 0).then(|| format!("futures of handlers block {blocked} threads"))
    }
}

fn start() -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads()).thread_name("a2e-future").enable_all();
    // Without a thread to be had, tokio panics.
    catch(|| builder.build()).unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, NonZero::get).max(2)
}

impl Drop for FutureThreads {
    fn drop(&mut self) {
        let mut current = self.current.lock();
        let last = current.runtime.take();
        let retired = std::mem::take(&mut current.retired);
        drop(current);
        // The thread that drops the host may not wait, and a future that hangs would make it.
        for runtime in retired.into_iter().chain(last) {
            runtime.shutdown_background();
        }
    }
}

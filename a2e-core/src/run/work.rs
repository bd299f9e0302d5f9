//! One run of one handler beyond the reader: on the worker pool, a blocking thread, or as a future.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tracing::{Instrument, Span};

use super::contain::{contain, note_end, panicked, said};
use super::intercept;
use super::runners::Parcel;
use super::walk::{Walk, until_us};
use crate::codec::Body;
use crate::counters::Count;
use crate::layers::{Entry, Job, Permit, Place, Probe, Run, catch, discard, text_of};
use crate::plugin::{Before, BoxFuture, Door, EncodedWork, Ended, Handler};
use crate::request::{Call, Continuation, Now, Request, Said};
use crate::route::{Endpoint, Found};
use crate::{Error, Result};

/// What runs beyond the reader.
pub(super) enum Task {
    Handler(Arc<Handler>),
    Later(EncodedWork),
    /// An interceptor that decides later; the number is its place in the route.
    Intercept(BoxFuture<Before>, usize),
}

impl Task {
    fn run(&self) -> Run {
        match self {
            Self::Handler(handler) => handler.run,
            Self::Later(EncodedWork::Sync(run, _)) => *run,
            Self::Later(EncodedWork::Future(_)) | Self::Intercept(..) => Run::Future,
        }
    }
}

/// One handler's run, from the plugin's queue to its end.
pub(super) struct HandlerRun {
    request: Arc<Request>,
    walk: Parcel<Walk>,
    endpoint: Arc<Endpoint>,
    task: Task,
    run: Run,
    probe: Option<Probe>,
    body: Option<Body>,
    /// Of the trace, where there is one: the time until it begins.
    queue: Option<Span>,
}

impl HandlerRun {
    pub(super) fn new(
        walk: Walk,
        task: Task,
        endpoint: Arc<Endpoint>,
        probe: Option<Probe>,
    ) -> Self {
        let (request, body) = (Arc::clone(&walk.request), walk.body.clone());
        let run = task.run();
        let queue = request.queue_span(&endpoint.label);
        Self { request, walk: Parcel::new(walk), endpoint, task, run, probe, body, queue }
    }

    pub(super) fn walk(&self) -> Parcel<Walk> {
        self.walk.clone()
    }

    /// It did not run: the walk goes on with the next handler.
    fn give_up(self, error: Error) {
        let Self { walk, endpoint, task, .. } = self;
        discard("work", task);
        if let Some(walk) = walk.take() {
            walk.resume(Said::broken(error), &endpoint);
        }
    }

    /// How the walk goes on after this run.
    fn resume(&self) -> Continuation {
        let (walk, endpoint) = (self.walk.clone(), Arc::clone(&self.endpoint));
        Box::new(move |said| {
            if let Some(walk) = walk.take() {
                walk.resume(said, &endpoint);
            }
        })
    }

    /// Begins the run: its number, or `None` when the request has ended meanwhile.
    fn begin(&mut self, permit: &Permit) -> Option<u32> {
        self.queue = None;
        if self.request.is_cancelled() {
            return None;
        }
        let now_us = self.request.session.now().mono_us();
        let now = Now {
            label: Some(Arc::clone(&self.endpoint.label)),
            until_us: until_us(&self.endpoint, now_us),
            permit: Some(permit.mark()),
            probe: self.probe.take(),
            resume: Some(self.resume()),
        };
        self.request.course.begin(now, now_us)
    }

    fn run_sync(mut self, permit: Permit, pool: Option<usize>) {
        if let Some(generation) = pool {
            permit.note_pool(generation);
        }
        let Some(run) = self.begin(&permit) else { return discard("work", self.task) };
        let Self { request, walk, endpoint, task, run: kind, body, .. } = self;
        let Some(runners) = walk.runners() else { return };
        let call = Call(Arc::clone(&request));
        let mut out = Vec::with_capacity(256);
        let span = request.run_span(&endpoint.label);
        let handle = || match task {
            Task::Later(EncodedWork::Sync(_, work)) => work(&call, &mut out),
            Task::Later(EncodedWork::Future(_)) | Task::Intercept(..) => {
                Err(Error::internal("a future on a thread"))
            }
            Task::Handler(handler) => match (&handler.door, &body) {
                (Some(Door::Sync(door)), Some(body)) => door(body.as_incoming(), &call, &mut out),
                _ => Err(Error::internal("a handler without its line")),
            },
        };
        let label = &endpoint.label;
        let result = contain(&runners.services, label, || span.in_scope(handle));
        drop(span);
        runners.services.audit.wait_for_room();
        // The permit goes back, and may start what waited for it.
        runners.give_back(permit);
        let resume = request.said(run);
        match (result, resume) {
            (Ok(Ok(Ended::Later(work))), Ok(_)) if kind == Run::Inline => {
                let Some(walk) = walk.take() else { return };
                if let Some((walk, said, endpoint)) =
                    walk.leave(Task::Later(work), endpoint, None, None)
                {
                    walk.resume(said, &endpoint);
                }
            }
            (result, Ok(Some(resume))) => {
                resume(result.map_or_else(|broken| broken, |result| said(result, out)));
            }
            // It was answered meanwhile, or the next handler was asked.
            (_, Ok(None) | Err(())) => runners.services.counters.add(Count::LateAnswer),
        }
    }

    async fn run_future(mut self, permit: Permit) {
        let Some(run) = self.begin(&permit) else { return discard("work", self.task) };
        let Self { request, walk, endpoint, task, body, .. } = self;
        let Some(runners) = walk.runners() else { return };
        let task = match task {
            Task::Intercept(future, number) => {
                let decision = until_cancelled(&request, future).await;
                runners.give_back(permit);
                return match decision {
                    Some(decision) if request.said(run).is_ok() => {
                        if let Some(walk) = walk.take() {
                            intercept::go_on(walk, decision, number);
                        }
                    }
                    _ => request.returned(run),
                };
            }
            task => task,
        };
        let future = catch(|| match task {
            Task::Later(EncodedWork::Future(work)) => Some(work),
            Task::Handler(handler) => match (&handler.door, body) {
                (Some(Door::Future(door)), Some(body)) => {
                    Some(door(body, Call(Arc::clone(&request))))
                }
                _ => None,
            },
            Task::Later(EncodedWork::Sync(..)) | Task::Intercept(..) => None,
        });
        let result = match future {
            Ok(Some(future)) => {
                until_cancelled(&request, future)
                    .instrument(request.run_span(&endpoint.label))
                    .await
            }
            Ok(None) => Some(Ok(Err(Error::internal("a handler without its line")))),
            Err(panic) => Some(Err(panic)),
        };
        let said = result.map(|result| match result {
            Ok(result) => {
                note_end(&runners.services, &endpoint.label, result.as_ref().err());
                result.map_or_else(Said::Error, |(ended, fields)| said(Ok(ended), fields))
            }
            Err(panic) => panicked(&runners.services, &endpoint.label, &panic),
        });
        runners.give_back(permit);
        let Some(said) = said else { return request.returned(run) };
        match request.said(run) {
            Ok(Some(resume)) => resume(said),
            Ok(None) | Err(()) => runners.services.counters.add(Count::LateAnswer),
        }
    }
}

/// Waits for a future of a plugin; `None` when the request is cancelled before. A panic becomes its
/// text. The future is dropped in either case: what it held is released.
async fn until_cancelled<T>(request: &Request, future: BoxFuture<T>) -> Option<Result<T, String>> {
    let mut future = AssertUnwindSafe(future).catch_unwind();
    let result = tokio::select! {
        result = &mut future => Some(result.map_err(text_of)),
        () = request.cancelled() => None,
    };
    discard("future", future);
    result
}

impl Job for HandlerRun {
    fn run(&self) -> Run {
        self.run
    }

    fn session(&self) -> u64 {
        self.request.session.number
    }

    fn place(&self) -> &Arc<Place> {
        self.request.session.place()
    }

    fn depth(&self) -> usize {
        self.request.depth()
    }

    fn is_continuation(&self) -> bool {
        !matches!(self.task, Task::Handler(_))
    }

    fn has_ended(&self) -> bool {
        self.request.has_ended()
    }

    fn launch(self: Box<Self>, permit: Permit) {
        if !self.is_continuation() && !self.endpoint.is_serving() {
            drop(permit);
            return self.forward();
        }
        let Some(runners) = self.walk.runners() else { return };
        let parcel = (self, permit);
        let sent = match parcel.0.run {
            Run::Inline | Run::Pool => {
                let run = |(work, permit): (Box<Self>, Permit), pool| {
                    work.run_sync(permit, Some(pool));
                };
                runners.pool.spawn(parcel, run)
            }
            Run::Blocking => {
                runners.spawn_blocking(parcel, |(work, permit)| work.run_sync(permit, None))
            }
            Run::Future => {
                let (work, permit) = parcel;
                runners.futures.spawn(&runners.services.runtime, work.run_future(permit));
                Ok(())
            }
        };
        if let Err(((work, permit), error)) = sent {
            drop(permit);
            work.give_up(error);
        }
    }

    fn forward(mut self: Box<Self>) {
        let services = Arc::clone(&self.request.session.services);
        let (successor, entry) = self.endpoint.entry(&*services.clock);
        let found = match entry {
            Entry::Refused(error) => Err(error),
            Entry::Go(_) | Entry::Wait | Entry::Moved => {
                successor.find(&self.request.spec.wire_type, &self.request.session)
            }
        };
        match found {
            Ok(Found::Handler(handler)) => {
                self.run = handler.run;
                self.task = Task::Handler(handler);
                self.endpoint = Arc::clone(&successor);
                let walk = self.walk();
                if let Err(error) = successor.gate.submit(self, successor.label.name.as_str())
                    && let Some(walk) = walk.take()
                {
                    walk.resume(Said::broken(error), &successor);
                }
            }
            // The walk asks again, and waits for the instance there.
            Ok(Found::Starting) => {
                if let Some(walk) = self.walk.take() {
                    walk.drive(None);
                }
            }
            Err(error) => self.give_up(error),
        }
    }

    fn discard(self: Box<Self>) {
        let runtime = self.request.session.services.runtime.clone();
        // What it holds is plugin code, which may take its time.
        drop(catch(|| runtime.spawn_blocking(move || discard("work", self))));
    }
}

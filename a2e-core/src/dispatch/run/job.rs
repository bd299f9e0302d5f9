//! One run of one handler beyond the reader: on the pool, a blocking thread, or tokio.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::FutureExt;

use super::{
    Inline, Input, Place, find_handler, guarded, intercept, note_end, panicked, resume, said,
    with_scratch,
};
use crate::codec::Body;
use crate::dispatch::call::Call;
use crate::dispatch::contain::{catch, discard, text_of};
use crate::dispatch::finish::Flush;
use crate::dispatch::fold::Said;
use crate::dispatch::slot::{Entry, PluginSlot};
use crate::dispatch::ticket::Ticket;
use crate::dispatch::{about_to_look, send_with_batch};
use crate::executor::Kernel;
use crate::plugin::{Before, BoxFuture, Door, EncodedWork, Ended, Handler, Run};
use crate::{Error, Result};

/// What runs beyond the reader.
pub(super) enum Task {
    Handler(Arc<Handler>),
    Later(EncodedWork),
    /// An interceptor that decides later; the number is its place in the route.
    Intercept(BoxFuture<Before>, usize),
}

/// One handler's run that is on its way to the pool, a blocking thread or tokio.
pub(crate) struct Job {
    pub(crate) call: Call,
    pub(crate) slot: Arc<PluginSlot>,
    pub(crate) run: Run,
    pub(in crate::dispatch) step: usize,
    body: Option<Body>,
    task: Task,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("call", &self.call)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// Takes the request off the reader: lists it, so that it can be cancelled and times out, and
/// hands its work to the plugin's gate.
pub(super) fn leave(
    call: &Call,
    input: &Input<'_>,
    step: usize,
    task: Task,
    slot: &Arc<PluginSlot>,
    place: Place,
) -> Result<()> {
    let has_next = step.saturating_add(1) < call.0.route.handlers.len();
    let needs_body = has_next || !matches!(task, Task::Later(_));
    let body = if needs_body { input.to_body() } else { None };
    if has_next && body.is_some() {
        call.0.chain().body.clone_from(&body);
    }
    if place == Place::Reader {
        if let Some(incoming) = input.incoming() {
            call.0.note_leaving(incoming.text());
        }
        call.0.session.list(&call.0);
    }
    let run = match &task {
        Task::Handler(handler) => handler.run,
        Task::Later(EncodedWork::Sync(run, _)) => *run,
        Task::Later(EncodedWork::Future(_)) | Task::Intercept(..) => Run::Future,
    };
    let job = Job { call: call.clone(), slot: Arc::clone(slot), run, step, body, task };
    slot.gate.submit(job)
}

impl Job {
    /// Whether it goes on with what an inline handler of this very instance began.
    pub(crate) fn is_continuation(&self) -> bool {
        !matches!(self.task, Task::Handler(_))
    }

    /// Goes to whoever stands in its plugin's place now; is refused when nobody does.
    pub(crate) fn forward(mut self) {
        let (call, step, slot) = (self.call.clone(), self.step, Arc::clone(&self.slot));
        let sent = match slot.entry(&*call.0.kernel.clock) {
            Entry::Moved(successor) => find_handler(&successor, &call).and_then(|handler| {
                self.run = handler.run;
                self.task = Task::Handler(handler);
                self.slot = Arc::clone(&successor);
                successor.gate.submit(self)
            }),
            Entry::Refused(error) => Err(error),
            Entry::Go | Entry::Wait => slot.gate.submit(self),
        };
        if let Err(error) = sent {
            resume(&call, step, Said::Broken(error), &slot, Flush::Now);
        }
    }

    /// Whether another request waits for it.
    pub(crate) fn is_nested(&self) -> bool {
        self.call.0.parent.is_some()
    }

    /// Whether session and host have room for one more that runs. One that another waits for has:
    /// the other holds a place until this one is done.
    pub(crate) fn may_run(&self) -> bool {
        let kernel = &self.call.0.kernel;
        let has_room = || self.call.0.session.may_run() && kernel.may_run();
        if self.is_nested() || has_room() {
            return true;
        }
        // Whoever ends from now on looks here; one that ended just before has made room.
        kernel.note_short_of_places(&self.slot.gate);
        has_room()
    }

    /// Drops it before it was started, on a thread where plugin code may take its time.
    pub(crate) fn discard(self) {
        let runtime = self.call.0.kernel.runtime.clone();
        runtime.spawn_blocking(move || discard("work", self.task));
    }

    /// Sends it to where it runs. Its permit is taken.
    pub(crate) fn launch(self) {
        let kernel = Arc::clone(&self.call.0.kernel);
        let is_quick = self.slot.stats.is_quick();
        // A future that ended at its first poll most likely does so again, and to call a thread of the pool
        // costs less than to call one of tokio's: 24 instead of 35 us of processor time for a whole request.
        let is_on_pool = match self.run {
            Run::Inline | Run::Pool => true,
            Run::Blocking => false,
            Run::Future => {
                is_quick && !matches!(self.task, Task::Intercept(..)) && kernel.pool.is_free()
            }
        };
        let ticket = Ticket::new(&self, is_on_pool);
        self.call.0.set_slot(Some(Arc::clone(&self.slot)));
        self.call.0.set_ticket(Some(Arc::clone(&ticket)));
        match self.run {
            Run::Blocking => {
                kernel.runtime.spawn_blocking(move || self.run_sync(&ticket, Flush::Now));
            }
            Run::Future if !is_on_pool => {
                kernel.futures().spawn(self.run_future(ticket));
            }
            _ => self.launch_on_pool(&kernel, is_quick, ticket),
        }
    }

    fn launch_on_pool(self, kernel: &Arc<Kernel>, is_quick: bool, ticket: Arc<Ticket>) {
        let (call, slot, step) = (self.call.clone(), Arc::clone(&self.slot), self.step);
        let spare = Arc::clone(&ticket);
        let run = move || match self.run {
            Run::Future => self.begin_future(&ticket),
            _ => self.run_sync(&ticket, Flush::WithBatch),
        };
        if let Err(error) = kernel.pool.spawn(is_quick, run) {
            spare.done();
            resume(&call, step, Said::Broken(error), &slot, Flush::Now);
        }
    }

    /// Polls a future once on this thread of the pool; tokio goes on with one that has to wait.
    fn begin_future(self, ticket: &Arc<Ticket>) {
        let (kernel, slot) = (Arc::clone(&self.call.0.kernel), Arc::clone(&self.slot));
        if !kernel.pool.is_free() {
            // Those before it hang: it is not to take one more thread with it.
            ticket.leave_pool();
            kernel.futures().spawn(self.run_future(Arc::clone(ticket)));
            return;
        }
        let mut future = Box::pin(self.run_future(Arc::clone(ticket)));
        let is_pending = {
            let _inside = kernel.futures().enter();
            let _about_to_look = about_to_look();
            // Nobody has to be woken: what waits is polled again below, and says then by whom.
            future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
        };
        if is_pending {
            ticket.leave_pool();
            slot.stats.note_run(Duration::MAX);
            kernel.futures().spawn(future);
        }
    }

    fn run_sync(self, ticket: &Ticket, flush: Flush) {
        let Self { call, slot, run, step, body, task } = self;
        if call.is_cancelled() || !ticket.begin() {
            discard("work", task);
            ticket.done();
            return;
        }
        let began = call.0.kernel.clock.now();
        call.0.begin(&slot, began.mono_us());
        let came = with_scratch(|scratch| {
            let result = guarded(&call, &slot, || match task {
                Task::Later(EncodedWork::Sync(_, work)) => work(&call, scratch),
                Task::Later(EncodedWork::Future(_)) | Task::Intercept(..) => {
                    Err(Error::internal("a future on a thread"))
                }
                Task::Handler(handler) => match (&handler.door, &body) {
                    (Door::Sync(door), Some(body)) => door(body.as_incoming(), &call, scratch),
                    _ => Err(Error::internal("a handler without its line")),
                },
            });
            match result {
                Ok(Ok(Ended::Later(work))) if run == Run::Inline => Inline::Later(work),
                Ok(result) => Inline::Said(said(result, || scratch.clone())),
                Err(broken) => Inline::Said(broken),
            }
        });
        // The permit goes back, and may start what waited for it.
        let is_on_pool = flush == Flush::WithBatch;
        let about_to_look = is_on_pool.then(about_to_look);
        ticket.done();
        drop(about_to_look);
        match came {
            Inline::Ended => {}
            Inline::Said(said) => {
                if is_on_pool {
                    send_with_batch(&call.0.session.sink);
                }
                resume(&call, step, said, &slot, flush);
                if let Some(ended) = call.0.ended_at() {
                    slot.stats.note_run(ended.since(began));
                }
            }
            Inline::Later(work) => {
                let task = Task::Later(work);
                let left = leave(&call, &Input::Body(None), step, task, &slot, Place::Elsewhere);
                if let Err(error) = left {
                    resume(&call, step, Said::Error(error), &slot, Flush::Now);
                }
            }
        }
    }

    async fn run_future(self, ticket: Arc<Ticket>) {
        let Self { call, slot, step, body, task, .. } = self;
        if call.is_cancelled() || !ticket.begin() {
            discard("work", task);
            ticket.done();
            return;
        }
        let task = match task {
            Task::Intercept(future, place) => {
                return intercept::run(future, place, &call, body, &slot, &ticket).await;
            }
            task => task,
        };
        let began = call.0.kernel.clock.now();
        call.0.begin(&slot, began.mono_us());
        let future = catch(|| match task {
            Task::Later(EncodedWork::Future(work)) => Some(work),
            Task::Handler(handler) => match (&handler.door, body) {
                (Door::Future(door), Some(body)) => Some(door(body, call.clone())),
                _ => None,
            },
            Task::Later(EncodedWork::Sync(..)) | Task::Intercept(..) => None,
        });
        let result = match future {
            Ok(Some(future)) => {
                let mut future = AssertUnwindSafe(future).catch_unwind();
                let result = tokio::select! {
                    result = &mut future => Some(result.map_err(text_of)),
                    () = call.cancelled() => None,
                };
                // Whatever it held is released.
                discard("future", future);
                result
            }
            Ok(None) => Some(Ok(Err(Error::internal("a handler without its line")))),
            Err(panic) => Some(Err(panic)),
        };
        ticket.done();
        let said = match result {
            Some(Ok(result)) => {
                note_end(&call, &slot, result.as_ref().err());
                match result {
                    Ok((ended, fields)) => said(Ok(ended), || fields),
                    Err(error) => Said::Error(error),
                }
            }
            Some(Err(panic)) => panicked(&call, &slot, &panic),
            None => return,
        };
        let session = Arc::clone(&call.0.session);
        let is_on_pool = ticket.is_on_pool();
        // Others of this session may be ready as well: a send for each would cost more than the work.
        let waits = is_on_pool || session.is_running();
        if is_on_pool {
            send_with_batch(&session.sink);
        }
        resume(&call, step, said, &slot, if waits { Flush::WithBatch } else { Flush::Now });
        if let Some(ended) = call.0.ended_at() {
            slot.stats.note_run(ended.since(began));
        }
        if waits && !is_on_pool {
            let kernel = &call.0.kernel;
            kernel.outgoing.send_soon(&session.sink, &kernel.runtime);
        }
    }
}

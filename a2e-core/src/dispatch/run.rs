//! Asks the handlers of a route in order, each where it wants to run.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;

use super::active::{Active, CancelReason, NEVER};
use super::call::Call;
use super::contain::{catch, discard, text_of};
use super::finish::{Flush, Terminal};
use super::fold::Said;
use super::gate::Ticket;
use super::route::RouteHandler;
use super::slot::{PluginSlot, PluginStats};
use crate::codec::{Body, Incoming};
use crate::plugin::{Door, EncodedWork, Ended, Handler, PluginScope, Run};
use crate::protocol::ErrorCode;
use crate::{Error, Result};

/// Where the dispatcher stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the reader of the session: answers go out with its batch.
    Reader,
    /// Anywhere else.
    Elsewhere,
}

thread_local! {
    /// Where handlers on this thread encode their replies; kept so that nothing is allocated per call.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A reply buffer larger than this is not kept.
const KEEP: usize = 256 * 1024;

/// Asks the first handler, and the next ones, until the request has ended or went elsewhere.
pub(crate) fn start(call: &Call, incoming: Incoming<'_>, place: Place) {
    drive(call, Input::Line(incoming), 0, place);
}

/// The line, on the reader or wherever it was moved.
enum Input<'a> {
    Line(Incoming<'a>),
    Body(Option<Body>),
}

impl Input<'_> {
    fn incoming(&self) -> Option<Incoming<'_>> {
        match self {
            Self::Line(incoming) => Some(*incoming),
            Self::Body(body) => body.as_ref().map(Body::as_incoming),
        }
    }

    fn to_body(&self) -> Option<Body> {
        match self {
            Self::Line(incoming) => Some(incoming.to_body()),
            Self::Body(body) => body.clone(),
        }
    }
}

fn drive(call: &Call, input: Input<'_>, mut step: usize, place: Place) {
    let flush = if place == Place::Reader { Flush::WithBatch } else { Flush::Now };
    let route = Arc::clone(&call.0.route);
    while let Some(entry) = route.handlers.get(step) {
        if call.0.is_cancelled() {
            return;
        }
        match ask(call, &input, step, entry, place, flush) {
            Asked::Left => return,
            Asked::Said(said) => {
                if note(call, step, said, &entry.slot, flush) {
                    return;
                }
            }
        }
        step += 1;
    }
    let verdict = call.0.chain().conclude(route.spec.fold, route.spec.is_one_way);
    call.0.conclude(verdict, flush);
}

/// What came of asking one handler.
enum Asked {
    /// The request has ended or goes on elsewhere.
    Left,
    Said(Said),
}

fn ask(
    call: &Call,
    input: &Input<'_>,
    step: usize,
    entry: &RouteHandler,
    place: Place,
    flush: Flush,
) -> Asked {
    let handler = match resolve(entry, call) {
        Ok(handler) => handler,
        Err(error) => return Asked::Said(Said::Broken(error)),
    };
    let slot = &entry.slot;
    PluginStats::add(&slot.stats.calls);
    let Some(incoming) = input.incoming() else {
        return Asked::Said(Said::Error(Error::internal("the line is gone")));
    };
    // Elsewhere than on the reader an inline handler needs a permit and a thread that is watched.
    let task = if handler.run == Run::Inline && place == Place::Reader {
        match run_inline(call, &handler, incoming, slot, flush) {
            Inline::Ended => return Asked::Left,
            Inline::Said(said) => return Asked::Said(said),
            Inline::Later(work) => Task::Later(work),
        }
    } else {
        Task::Handler(handler)
    };
    match leave(call, input, step, task, slot, place) {
        Ok(()) => Asked::Left,
        // Its queue is full or it is quarantined: the next plugin may do better.
        Err(error) => Asked::Said(Said::Broken(error)),
    }
}

/// The handler of this step, in the instance of this session where it has its own.
fn resolve(entry: &RouteHandler, call: &Call) -> Result<Arc<Handler>> {
    let slot = &entry.slot;
    if !slot.is_serving() {
        let text = format!("plugin `{}` has failed", slot.name);
        return Err(Error::new(ErrorCode::Unavailable, text));
    }
    if slot.scope == PluginScope::Host {
        return Ok(Arc::clone(&entry.handler));
    }
    let instance = call.0.session.instance(slot)?;
    match instance.handlers().get(entry.index) {
        Some(handler) => Ok(Arc::clone(handler)),
        None => Err(Error::internal("this session's instance declares other handlers")),
    }
}

enum Inline {
    /// Answered already.
    Ended,
    Said(Said),
    Later(EncodedWork),
}

/// Runs a handler on this thread. A route with this one handler is answered without a detour.
fn run_inline(
    call: &Call,
    handler: &Handler,
    incoming: Incoming<'_>,
    slot: &Arc<PluginSlot>,
    flush: Flush,
) -> Inline {
    let Door::Sync(door) = &handler.door else {
        return Inline::Said(Said::Broken(Error::internal("a future cannot run inline")));
    };
    call.0.begin_inline(slot);
    with_scratch(|scratch| {
        let result = guarded(slot, || door(incoming, call, scratch));
        match result {
            Ok(Ok(Ended::Reply(wire_type))) if call.0.route.handlers.len() == 1 => {
                call.0.finish(&Terminal::Reply(&wire_type, scratch), Some(slot), flush);
                Inline::Ended
            }
            Ok(Ok(Ended::Later(work))) => Inline::Later(work),
            Ok(result) => Inline::Said(said(result, scratch)),
            Err(broken) => Inline::Said(broken),
        }
    })
}

/// Calls plugin code; a panic becomes what a broken handler says.
fn guarded<T>(slot: &PluginSlot, work: impl FnOnce() -> T) -> Result<T, Said> {
    catch(work).map_err(|panic| panicked(slot, &panic))
}

fn panicked(slot: &PluginSlot, panic: &str) -> Said {
    PluginStats::add(&slot.stats.panics);
    // The text may hold anything: it goes to the log, not to the client.
    tracing::error!(plugin = %slot.name, panic, "handler panicked");
    Said::Broken(Error::internal(format!("plugin `{}` panicked", slot.name)))
}

fn said(result: Result<Ended>, fields: &[u8]) -> Said {
    match result {
        Ok(Ended::Reply(wire_type)) => Said::Reply(wire_type, fields.to_vec()),
        Ok(Ended::Pass(error)) => Said::Pass(error),
        Ok(Ended::Nothing) => Said::Nothing,
        Ok(Ended::Later(_)) => {
            Said::Error(Error::internal("only an inline handler may end in `Later`"))
        }
        Err(error) => Said::Error(error),
    }
}

fn with_scratch<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut scratch = SCRATCH.take();
    scratch.clear();
    let result = work(&mut scratch);
    if scratch.capacity() <= KEEP {
        SCRATCH.set(scratch);
    }
    result
}

/// Tells the chain; true when the request has ended or this step is no longer awaited.
fn note(call: &Call, step: usize, said: Said, slot: &Arc<PluginSlot>, flush: Flush) -> bool {
    let route = &call.0.route;
    let mut chain = call.0.chain();
    if chain.step != step {
        drop(chain);
        call.0.kernel.counters.late_answers.add();
        return true;
    }
    // The next handler brings its own.
    call.0.step_deadline_us.store(NEVER, Ordering::Release);
    let is_decided = chain.absorb(route.spec.fold, said, Some(Arc::clone(slot)));
    if chain.superseded > 0 {
        call.0.kernel.counters.superseded.add();
        chain.superseded = 0;
    }
    if !is_decided && chain.step < route.handlers.len() {
        return false;
    }
    let verdict = chain.conclude(route.spec.fold, route.spec.is_one_way);
    drop(chain);
    call.0.conclude(verdict, flush);
    true
}

/// What runs beyond the reader.
enum Task {
    Handler(Arc<Handler>),
    Later(EncodedWork),
}

/// One handler's run that is on its way to the pool, a blocking thread or tokio.
pub(crate) struct Job {
    pub(crate) call: Call,
    pub(crate) slot: Arc<PluginSlot>,
    pub(crate) run: Run,
    pub(super) step: usize,
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
fn leave(
    call: &Call,
    input: &Input<'_>,
    step: usize,
    task: Task,
    slot: &Arc<PluginSlot>,
    place: Place,
) -> Result<()> {
    let has_next = step + 1 < call.0.route.handlers.len();
    let needs_body = has_next || matches!(task, Task::Handler(_));
    let body = if needs_body { input.to_body() } else { None };
    if has_next && body.is_some() {
        call.0.chain().body.clone_from(&body);
    }
    if place == Place::Reader {
        if let Some(incoming) = input.incoming() {
            call.0.note_leaving(call.0.session.fingerprint(incoming.text()));
        }
        call.0.session.list(&call.0);
    }
    let run = match &task {
        Task::Handler(handler) => handler.run,
        Task::Later(EncodedWork::Sync(run, _)) => *run,
        Task::Later(EncodedWork::Future(_)) => Run::Future,
    };
    let job = Job { call: call.clone(), slot: Arc::clone(slot), run, step, body, task };
    slot.gate.submit(job)
}

impl Job {
    /// Whether session and host have room for one more that runs. One that another waits for has:
    /// the other holds a place until this one is done.
    pub(crate) fn may_run(&self) -> bool {
        if self.call.0.parent.is_some() {
            return true;
        }
        let kernel = &self.call.0.kernel;
        self.call.0.session.may_run() && kernel.may_run()
    }

    /// Drops it before it was started, on a thread where plugin code may take its time.
    pub(crate) fn discard(self) {
        let runtime = self.call.0.kernel.runtime.clone();
        runtime.spawn_blocking(move || discard("work", self.task));
    }

    /// Sends it to where it runs. Its permit is taken.
    pub(crate) fn launch(self) {
        let ticket = Ticket::new(&self);
        let active = &self.call.0;
        active.set_slot(Some(Arc::clone(&self.slot)));
        active.set_ticket(Some(Arc::clone(&ticket)));
        let kernel = Arc::clone(&active.kernel);
        match self.run {
            Run::Inline | Run::Pool => {
                let (call, slot, step) = (self.call.clone(), Arc::clone(&self.slot), self.step);
                let spare = Arc::clone(&ticket);
                if let Err(error) = kernel.pool.spawn(move || self.run_sync(&ticket)) {
                    spare.done();
                    resume(&call, step, Said::Broken(error), &slot);
                }
            }
            Run::Blocking => {
                kernel.runtime.spawn_blocking(move || self.run_sync(&ticket));
            }
            Run::Future => {
                kernel.runtime.spawn(self.run_future(ticket));
            }
        }
    }

    fn run_sync(self, ticket: &Ticket) {
        let Self { call, slot, run, step, body, task } = self;
        if call.is_cancelled() || !ticket.begin() {
            discard("work", task);
            ticket.done();
            return;
        }
        call.0.begin(&slot, call.0.kernel.clock.now().mono_us());
        let came = with_scratch(|scratch| {
            let result = guarded(&slot, || match task {
                Task::Later(EncodedWork::Sync(_, work)) => work(&call, scratch),
                Task::Later(EncodedWork::Future(_)) => Err(Error::internal("a future on a thread")),
                Task::Handler(handler) => match (&handler.door, &body) {
                    (Door::Sync(door), Some(body)) => door(body.as_incoming(), &call, scratch),
                    _ => Err(Error::internal("a handler without its line")),
                },
            });
            match result {
                Ok(Ok(Ended::Later(work))) if run == Run::Inline => Inline::Later(work),
                Ok(result) => Inline::Said(said(result, scratch)),
                Err(broken) => Inline::Said(broken),
            }
        });
        ticket.done();
        match came {
            Inline::Ended => {}
            Inline::Said(said) => resume(&call, step, said, &slot),
            Inline::Later(work) => {
                let task = Task::Later(work);
                let left = leave(&call, &Input::Body(None), step, task, &slot, Place::Elsewhere);
                if let Err(error) = left {
                    resume(&call, step, Said::Error(error), &slot);
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
        call.0.begin(&slot, call.0.kernel.clock.now().mono_us());
        let future = guarded(&slot, || match task {
            Task::Later(EncodedWork::Future(work)) => Some(work),
            Task::Handler(handler) => match (&handler.door, body) {
                (Door::Future(door), Some(body)) => Some(door(body, call.clone())),
                _ => None,
            },
            Task::Later(EncodedWork::Sync(..)) => None,
        });
        let result = match future {
            Ok(Some(future)) => {
                let mut future = AssertUnwindSafe(future).catch_unwind();
                let result = tokio::select! {
                    result = &mut future => Some(
                        result.map_err(|panic| panicked(&slot, &text_of(panic))),
                    ),
                    () = call.cancelled() => None,
                };
                // Whatever it held is released.
                discard("future", future);
                result
            }
            Ok(None) => Some(Err(Said::Error(Error::internal("a handler without its line")))),
            Err(broken) => Some(Err(broken)),
        };
        ticket.done();
        match result {
            Some(Ok(Ok((ended, fields)))) => resume(&call, step, said(Ok(ended), &fields), &slot),
            Some(Ok(Err(error))) => resume(&call, step, Said::Error(error), &slot),
            Some(Err(broken)) => resume(&call, step, broken, &slot),
            None => {}
        }
    }
}

/// A handler that ran elsewhere has ended: folds what it said and asks the next.
fn resume(call: &Call, step: usize, said: Said, slot: &Arc<PluginSlot>) {
    if !note(call, step, said, slot, Flush::Now) {
        let body = call.0.chain().body.clone();
        drive(call, Input::Body(body), step + 1, Place::Elsewhere);
    }
}

impl Active {
    /// The deadline of the handler of this step passed: it is given up, and the next is asked
    /// where the fold says so. Called by the watchdog.
    pub(crate) fn give_up_step(self: &Arc<Self>) {
        let Some(ticket) = self.ticket() else { return };
        let (step, slot) = (ticket.step, Arc::clone(&ticket.slot));
        if self.chain().step != step {
            // It has said what it had to say; the next handler's time has only begun.
            return;
        }
        ticket.abandon();
        let limit = slot.deadline.map_or(0.0, |limit| limit.as_secs_f64());
        let text = format!("plugin `{}` gave no answer within {limit:.1} s", slot.name);
        let error = Error::new(ErrorCode::Timeout, text);
        let call = Call(Arc::clone(self));
        if self.route.handlers.len() == 1 {
            self.cancel(CancelReason::Timeout);
        }
        // Plugin code never runs on the watchdog's thread.
        self.kernel.runtime.spawn(async move {
            resume(&call, step, Said::Broken(error), &slot);
        });
    }

    /// A handler begins on the reader; its session is watched meanwhile.
    fn begin_inline(self: &Arc<Self>, slot: &Arc<PluginSlot>) {
        // The acceptance is the start: nothing lies between them on the reader.
        self.begin(slot, self.accepted.mono_us());
        self.set_slot(Some(Arc::clone(slot)));
    }
}

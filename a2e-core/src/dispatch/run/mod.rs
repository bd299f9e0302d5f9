//! Asks the handlers of a route in order, each where it wants to run.

mod intercept;
mod job;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::active::{Active, CancelReason, NEVER};
use super::call::Call;
use super::contain::catch;
use super::finish::{Flush, Terminal};
use super::fold::Said;
use super::route::RouteHandler;
use super::slot::{Entry, PluginSlot, PluginStats};
use crate::codec::{Body, Incoming};
use crate::plugin::{Door, EncodedWork, Ended, Handler, PluginScope, Run};
use crate::protocol::ErrorCode;
use crate::{Error, Result};
pub(crate) use job::Job;
use job::{Task, leave};

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
    if call.0.route.interceptors.is_empty() {
        drive(call, Input::Line(incoming), 0, place);
    } else {
        intercept::enter(call, Input::Line(incoming), 0, place);
    }
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
    let route = &call.0.route;
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
    let on_reader = place == Place::Reader && entry.handler.run == Run::Inline;
    let mut moved: Option<Arc<PluginSlot>> = None;
    // The first one was said when the request began.
    let mut is_said = step == 0 && call.0.route.interceptors.is_empty();
    let has_to_wait = loop {
        let slot = moved.as_ref().unwrap_or(&entry.slot);
        if on_reader && !is_said {
            // Said before the look: who pauses the plugin looks for this after it has paused it.
            call.0.set_slot(Some(Arc::clone(slot)));
        }
        is_said = false;
        match slot.entry(&*call.0.kernel.clock) {
            Entry::Go => break false,
            Entry::Wait => break true,
            Entry::Refused(error) => return Asked::Said(Said::Broken(error)),
            Entry::Moved(successor) => moved = Some(successor),
        }
    };
    let slot = moved.as_ref().unwrap_or(&entry.slot);
    let found = match resolve(entry, slot, call) {
        Ok(found) => found,
        Err(error) => return Asked::Said(Said::Broken(error)),
    };
    let handler = found.get();
    PluginStats::add(&slot.stats.calls);
    let Some(incoming) = input.incoming() else {
        return Asked::Said(Said::Error(Error::internal("the line is gone")));
    };
    // Elsewhere than on the reader an inline handler needs a permit and a thread that is watched.
    let task = if handler.run == Run::Inline && place == Place::Reader && !has_to_wait {
        match run_inline(call, handler, incoming, slot, flush) {
            Inline::Ended => return Asked::Left,
            Inline::Said(said) => return Asked::Said(said),
            Inline::Later(work) => Task::Later(work),
        }
    } else {
        Task::Handler(Arc::clone(handler))
    };
    match leave(call, input, step, task, slot, place) {
        Ok(()) => Asked::Left,
        // Its queue is full or it is quarantined: the next plugin may do better.
        Err(error) => Asked::Said(Said::Broken(error)),
    }
}

/// The handler of this step, in the instance of this session where it has its own.
fn resolve<'a>(entry: &'a RouteHandler, slot: &Arc<PluginSlot>, call: &Call) -> Result<Found<'a>> {
    if !Arc::ptr_eq(slot, &entry.slot) {
        return find_handler(slot, call).map(Found::Other);
    }
    if slot.scope == PluginScope::Host {
        return Ok(Found::OfRoute(&entry.handler));
    }
    let instance = call.0.session.instance(slot)?;
    match instance.handlers().get(entry.index) {
        Some(handler) => Ok(Found::Other(Arc::clone(handler))),
        None => Err(Error::internal("this session's instance declares other handlers")),
    }
}

/// The handler of a step.
enum Found<'a> {
    OfRoute(&'a Arc<Handler>),
    Other(Arc<Handler>),
}

impl Found<'_> {
    fn get(&self) -> &Arc<Handler> {
        match self {
            Self::OfRoute(handler) => handler,
            Self::Other(handler) => handler,
        }
    }
}

/// The handler of the call's type in an instance that has come in another's place.
fn find_handler(slot: &Arc<PluginSlot>, call: &Call) -> Result<Arc<Handler>> {
    let wire_type = &call.0.route.spec.wire_type;
    let of = |handlers: &[Arc<Handler>]| {
        handlers.iter().find(|it| it.spec.wire_type == *wire_type).cloned()
    };
    let handler = match slot.scope {
        PluginScope::Host => of(slot.handlers()),
        PluginScope::Session => of(call.0.session.instance(slot)?.handlers()),
    };
    handler.ok_or_else(|| {
        let text =
            format!("plugin `{}` was reloaded and no longer handles `{wire_type}`", slot.name);
        Error::new(ErrorCode::Unavailable, text)
    })
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
    // The acceptance is the start: nothing lies between them on the reader.
    call.0.begin(slot, call.0.accepted.mono_us());
    with_scratch(|scratch| {
        let result = guarded(call, slot, || door(incoming, call, scratch));
        match result {
            Ok(Ok(Ended::Reply(wire_type))) if call.0.route.handlers.len() == 1 => {
                call.0.finish(&Terminal::Reply(&wire_type, scratch), Some(slot), flush);
                Inline::Ended
            }
            Ok(Ok(Ended::Later(work))) => Inline::Later(work),
            Ok(result) => Inline::Said(said(result, || scratch.clone())),
            Err(broken) => Inline::Said(broken),
        }
    })
}

/// Calls plugin code; a panic becomes what a broken handler says.
fn guarded<T>(
    call: &Call,
    slot: &Arc<PluginSlot>,
    work: impl FnOnce() -> Result<T>,
) -> Result<Result<T>, Said> {
    match catch(work) {
        Ok(result) => {
            note_end(call, slot, result.as_ref().err());
            Ok(result)
        }
        Err(panic) => Err(panicked(call, slot, &panic)),
    }
}

/// Tells the breaker how a call ended. An error that was returned is an answer like others, unless it
/// says that what stands behind the plugin is dead.
fn note_end(call: &Call, slot: &PluginSlot, error: Option<&Error>) {
    let kernel = &call.0.kernel;
    match error {
        Some(error) if *error.code() == ErrorCode::SandboxCrash => {
            slot.note_failure(kernel.clock.now());
        }
        _ => slot.note_well(&*kernel.clock),
    }
}

fn panicked(call: &Call, slot: &Arc<PluginSlot>, panic: &str) -> Said {
    PluginStats::add(&slot.stats.panics);
    // The text may hold anything: it goes to the log, not to the client.
    tracing::error!(plugin = %slot.name, panic, "handler panicked");
    let now = call.0.kernel.clock.now();
    slot.note_failure(now);
    call.0.kernel.heal(slot, slot.note_panic(now), "it panicked three times within a minute");
    Said::Broken(Error::internal(format!("plugin `{}` panicked", slot.name)))
}

fn said(result: Result<Ended>, fields: impl FnOnce() -> Vec<u8>) -> Said {
    match result {
        Ok(Ended::Reply(wire_type)) => Said::Reply(wire_type, fields()),
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

/// A handler that ran elsewhere has ended: folds what it said and asks the next.
fn resume(call: &Call, step: usize, said: Said, slot: &Arc<PluginSlot>, flush: Flush) {
    if !note(call, step, said, slot, flush) {
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
        slot.note_failure(self.kernel.clock.now());
        let call = Call(Arc::clone(self));
        if self.route.handlers.len() == 1 {
            self.cancel(CancelReason::Timeout);
        }
        // Plugin code never runs on the watchdog's thread.
        self.kernel.runtime.spawn(async move {
            resume(&call, step, Said::Broken(error), &slot, Flush::Now);
        });
    }
}

//! Interceptors before and after a request: only routes that have some come here.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use super::job::{Task, leave};
use super::{Input, Place, drive};
use crate::codec::scan::scan;
use crate::codec::{Body, Envelope, Incoming, RawJson};
use crate::dispatch::PluginSlot;
use crate::dispatch::active::Active;
use crate::dispatch::call::Call;
use crate::dispatch::contain::{catch, discard, text_of};
use crate::dispatch::finish::{Flush, Terminal};
use crate::dispatch::ticket::Ticket;
use crate::plugin::{Answered, Before, BoxFuture, Exchange};
use crate::{Error, Result};

/// The step of a run that is no handler's; no chain ever stands there.
const NO_STEP: usize = usize::MAX;

/// Asks the interceptors of the route from this place on, then the handlers.
pub(super) fn enter(call: &Call, mut input: Input<'_>, from: usize, place: Place) {
    let route = Arc::clone(&call.0.route);
    for (number, entry) in route.interceptors.iter().enumerate().skip(from) {
        let decision = {
            let Some(incoming) = input.incoming() else { break };
            let exchange = Exchange { call, text: incoming.text() };
            catch(|| entry.item.before(&exchange))
        };
        let decision = match decision {
            Ok(Before::Later(future)) => {
                let task = Task::Intercept(future, number);
                if let Err(error) = leave(call, &input, NO_STEP, task, &entry.slot, place) {
                    end(call, &error, &entry.slot, false, place);
                }
                return;
            }
            other => other,
        };
        match decide(call, decision, &entry.name) {
            Ok(None) => {}
            Ok(Some(changed)) => {
                if let Some(incoming) = input.incoming().filter(|_| place == Place::Reader) {
                    // A repeat of the request is told by the line as it came.
                    call.0.note_line(incoming.text());
                }
                input = Input::Body(Some(changed));
            }
            Err((error, is_panic)) => return end(call, &error, &entry.slot, is_panic, place),
        }
    }
    drive(call, input, 0, place);
}

/// What an interceptor said: the new line where it gave one, or why the request ends here.
fn decide(
    call: &Call,
    decision: Result<Before, String>,
    name: &str,
) -> Result<Option<Body>, (Error, bool)> {
    match decision {
        Ok(Before::Continue) => Ok(None),
        Ok(Before::Modify(body)) => match line_of(call, &body) {
            Ok(body) => Ok(Some(body)),
            Err(why) => {
                tracing::error!(interceptor = name, why, "its message cannot be used");
                Err((Error::internal(format!("interceptor `{name}`: {why}")), false))
            }
        },
        Ok(Before::Cancel(error)) => Err((error, false)),
        Ok(Before::Later(future)) => {
            discard("second future", future);
            Err((Error::internal(format!("interceptor `{name}` decides later twice")), false))
        }
        Err(panic) => {
            // It may have been a guard: what it would have refused must not go on.
            tracing::error!(interceptor = name, panic, "interceptor panicked");
            Err((Error::internal(format!("interceptor `{name}` panicked")), true))
        }
    }
}

fn end(call: &Call, error: &Error, slot: &Arc<PluginSlot>, is_panic: bool, place: Place) {
    let flush = if place == Place::Reader { Flush::WithBatch } else { Flush::Now };
    call.0.finish(&Terminal::Error(error, is_panic), Some(slot), flush);
}

/// The line that handlers see in place of the one that came.
fn line_of(call: &Call, body: &RawJson) -> Result<Body, String> {
    let fields = body.get().trim();
    let inner = fields.strip_prefix('{').and_then(|it| it.strip_suffix('}'));
    let inner = inner.ok_or("it is not an object")?.trim();
    let quoted = |text: &str| serde_json::to_string(text).map_err(|error| error.to_string());
    let (kind, id) = (quoted(&call.0.route.spec.wire_type)?, quoted(&call.0.id)?);
    let comma = if inner.is_empty() { "" } else { "," };
    let line = format!("{{\"type\":{kind},\"id\":{id}{comma}{inner}}}");
    let scanned = scan(line.as_bytes()).map_err(|error| error.to_string())?;
    if let Err(refusal) = Envelope::of(&scanned) {
        // A second `type` or `id`.
        return Err(refusal.error.message().to_owned());
    }
    Ok(Incoming::of(&scanned).to_body())
}

/// Waits for an interceptor that decides later, then goes on where the request stopped.
pub(super) async fn run(
    future: BoxFuture<Before>,
    number: usize,
    call: &Call,
    body: Option<Body>,
    slot: &Arc<PluginSlot>,
    ticket: &Ticket,
) {
    let mut future = AssertUnwindSafe(future).catch_unwind();
    let decision = tokio::select! {
        decision = &mut future => Some(decision.map_err(text_of)),
        () = call.cancelled() => None,
    };
    discard("future", future);
    ticket.done();
    let Some(decision) = decision else { return };
    let name = call.0.route.interceptors.get(number).map_or("", |it| &it.name);
    match decide(call, decision, name) {
        Ok(changed) => enter(call, Input::Body(changed.or(body)), number + 1, Place::Elsewhere),
        Err((error, is_panic)) => end(call, &error, slot, is_panic, Place::Elsewhere),
    }
}

impl Active {
    /// Tells the interceptors how the request ended, last one first.
    pub(crate) fn tell_interceptors(&self, call: &Call, terminal: &Terminal<'_>) {
        let now = self.kernel.clock.now();
        let answered = Answered {
            reply: match terminal {
                Terminal::Reply(wire_type, fields) => Some((wire_type, fields)),
                _ => None,
            },
            error: match terminal {
                Terminal::Error(error, _) => Some(error),
                _ => None,
            },
            took: now.since(self.accepted),
        };
        let exchange = Exchange { call, text: "" };
        for entry in self.route.interceptors.iter().rev() {
            if let Err(panic) = catch(|| entry.item.after(&exchange, &answered)) {
                tracing::error!(interceptor = %entry.name, panic, "interceptor panicked after the answer");
            }
        }
    }
}

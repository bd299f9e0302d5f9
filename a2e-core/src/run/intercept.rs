//! Interceptors before and after a request: only routes that have some come here.

use std::sync::Arc;

use super::runners::Parcel;
use super::walk::Walk;
use super::work::Task;
use crate::codec::scan::scan;
use crate::codec::{Body, Envelope, Incoming, RawJson};
use crate::layers::{catch, discard};
use crate::plugin::{Before, Exchange};
use crate::request::{Call, Said, Verdict};
use crate::route::Endpoint;
use crate::{Error, Result};

/// Asks the interceptors of a route, then its handlers.
pub(super) fn begin(walk: Walk, line: Option<Incoming<'_>>) {
    let route = Arc::clone(&walk.route);
    let call = Call(Arc::clone(&walk.request));
    walk.request.after_answer(Box::new(move |answered| {
        let exchange = Exchange { call: &call, text: "" };
        // The last one is told first.
        for entry in route.interceptors.iter().rev() {
            if let Err(panic) = catch(|| entry.item.after(&exchange, answered)) {
                tracing::error!(interceptor = %entry.name, panic, "interceptor panicked after the answer");
            }
        }
    }));
    enter(walk, line, 0);
}

/// Asks the interceptors from this place on, then the handlers.
fn enter(mut walk: Walk, line: Option<Incoming<'_>>, from: usize) {
    let route = Arc::clone(&walk.route);
    for (number, entry) in route.interceptors.iter().enumerate().skip(from) {
        let decision = {
            let body = walk.body.as_ref().map(Body::as_incoming);
            let Some(incoming) = body.or(line) else { break };
            let call = Call(Arc::clone(&walk.request));
            let exchange = Exchange { call: &call, text: incoming.text() };
            catch(|| entry.item.before(&exchange))
        };
        let decision = match decision {
            Ok(Before::Later(future)) => {
                let Some(endpoint) = entry.endpoint.clone() else {
                    discard("future", future);
                    return end(&walk, Error::internal("a rule decides at once"), None, false);
                };
                let task = Task::Intercept(future, number);
                if let Some((walk, Said::Broken { error, .. }, endpoint)) =
                    walk.leave(task, endpoint, None, line)
                {
                    end(&walk, error, Some(&endpoint), false);
                }
                return;
            }
            other => other,
        };
        match decide(&mut walk, decision, &entry.name) {
            Ok(None) => {}
            Ok(Some(changed)) => {
                if let Some(line) = line {
                    // A repeat of the request is told by the line as it came.
                    walk.request.note_line(line.text());
                }
                walk.body = Some(changed);
            }
            Err((error, is_panic)) => {
                return end(&walk, error, entry.endpoint.as_ref(), is_panic);
            }
        }
    }
    if !walk.rules.is_empty() {
        return wait_for_approval(walk, line);
    }
    let line = line.filter(|_| walk.body.is_none());
    walk.drive(line);
}

/// Has the request wait until a person decides, on no thread and without a permit. Every interceptor has
/// seen it: what is approved is what goes on.
fn wait_for_approval(mut walk: Walk, line: Option<Incoming<'_>>) {
    walk.leave_reader(line, true);
    let (request, rules) = (Arc::clone(&walk.request), std::mem::take(&mut walk.rules));
    let Some(body) = walk.body.clone() else {
        return end(&walk, Error::internal("a request without its line"), None, false);
    };
    let walk = Parcel::new(walk);
    let waiting = walk.clone();
    let go_on = Box::new(move |decision: Result<()>| {
        let Some(walk) = waiting.take() else { return };
        match decision {
            Ok(()) => walk.drive(None),
            Err(error) => end(&walk, error, None, false),
        }
    });
    if let Err(error) = request.wait_for_approval(&body, rules, go_on)
        && let Some(walk) = walk.take()
    {
        end(&walk, error, None, false);
    }
}

/// An interceptor that took its time has decided: goes on where the request stopped.
pub(super) fn go_on(mut walk: Walk, decision: Result<Before, String>, number: usize) {
    let Some(entry) = walk.route.interceptors.get(number).cloned() else { return };
    match decide(&mut walk, decision, &entry.name) {
        Ok(changed) => {
            walk.body = changed.or(walk.body);
            enter(walk, None, number + 1);
        }
        Err((error, is_panic)) => end(&walk, error, entry.endpoint.as_ref(), is_panic),
    }
}

/// What an interceptor said: the new line where it gave one, or why the request ends here.
fn decide(
    walk: &mut Walk,
    decision: Result<Before, String>,
    name: &str,
) -> Result<Option<Body>, (Error, bool)> {
    match decision {
        Ok(Before::Continue) => Ok(None),
        Ok(Before::Ask(rule)) => {
            walk.rules.push(rule);
            Ok(None)
        }
        Ok(Before::Modify(body)) => match line_of(walk, &body) {
            Ok(body) => {
                // What is done is what the record tells.
                walk.request.describe_anew(body.as_incoming());
                Ok(Some(body))
            }
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

fn end(walk: &Walk, error: Error, endpoint: Option<&Arc<Endpoint>>, is_panic: bool) {
    let by = endpoint.map(|endpoint| Arc::clone(&endpoint.label));
    walk.request.end(&Verdict::Error { error, by, is_panic });
}

/// The line that handlers see in place of the one that came.
fn line_of(walk: &Walk, body: &RawJson) -> Result<Body, String> {
    let fields = body.get().trim();
    let inner = fields.strip_prefix('{').and_then(|it| it.strip_suffix('}'));
    let inner = inner.ok_or("it is not an object")?.trim();
    let quoted = |text: &str| serde_json::to_string(text).map_err(|error| error.to_string());
    let (kind, id) = (quoted(&walk.request.spec.wire_type)?, quoted(&walk.request.id)?);
    let comma = if inner.is_empty() { "" } else { "," };
    let line = format!("{{\"type\":{kind},\"id\":{id}{comma}{inner}}}");
    let scanned = scan(line.as_bytes()).map_err(|error| error.to_string())?;
    if let Err(refusal) = Envelope::of(&scanned) {
        // A second `type` or `id`.
        return Err(refusal.error.message().to_owned());
    }
    Ok(Incoming::of(&scanned).to_body())
}

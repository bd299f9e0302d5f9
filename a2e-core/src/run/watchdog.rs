//! The watchdog: an OS thread with a clock of its own that gives up what takes too long.
//!
//! It only makes transitions of requests, and never waits for a plugin, a file or a transport: what
//! has to be written or started because of them is left to tasks.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::runners::Runners;
use crate::counters::Count;
use crate::layers::{NEVER, StuckMark, catch, micros};
use crate::protocol::ErrorCode;
use crate::request::{CancelReason, Request, Said, Session, SessionPhase, Watched};
use crate::{Error, Result, Time};

/// How often running calls are looked at. A deadline is met this much late at most.
const TICK: Duration = Duration::from_millis(25);

/// A reader that is in one handler for less than this is slow, not hung.
const HANG: Duration = Duration::from_secs(1);

/// No inline handler may take longer, whatever its type declares: it holds up a whole session.
const INLINE_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn start(runners: &Arc<Runners>) -> Result<()> {
    let runners: Weak<Runners> = Arc::downgrade(runners);
    std::thread::Builder::new().name("a2e-watchdog".into()).spawn(move || {
        while let Some(runners) = runners.upgrade() {
            let watch = &runners.services.watch;
            if watch.is_stopped() {
                return;
            }
            watch.sleep(TICK);
            look(&runners);
        }
    })?;
    Ok(())
}

fn look(runners: &Arc<Runners>) {
    let services = &runners.services;
    let now = services.clock.now();
    let Watched { sessions, lingering } = services.watch.take();
    if !sessions.is_empty() || !lingering.is_empty() {
        runners.futures.look(now.mono);
    }
    let mut again = Watched::default();
    let mut has_ended_some = false;
    for session in sessions {
        // Whatever goes wrong with one session, the others keep their deadlines.
        match catch(|| look_at(runners, &session, now)) {
            Ok(has_ended) => has_ended_some |= has_ended,
            Err(panic) => tracing::error!(panic, "the watchdog panicked"),
        }
        if session.stays_watched() {
            again.sessions.push(session);
        }
    }
    if has_ended_some && let Some(above) = services.above() {
        above.sweep();
    }
    for (request, until) in lingering {
        let Some(permit) = request.course.given_up().filter(StuckMark::is_held) else { continue };
        if now.mono >= until {
            runners.mark_stuck(&permit);
        } else {
            again.lingering.push((request, until));
        }
    }
    services.watch.put_back(again);
}

/// Ends what is late in this session; true when something was.
fn look_at(runners: &Arc<Runners>, session: &Arc<Session>, now: Time) -> bool {
    if session.outbox.is_held() && session.outbox.has_pending() {
        // Answers that wait behind a slow inline handler.
        session.outbox.flush_soon();
    }
    if let Some(request) = session.inline().filter(|it| !it.course.is_listed()) {
        look_at_inline(session, &request, now);
    }
    let now_us = now.mono_us();
    let mut has_ended_some = false;
    for request in session.in_flight.all() {
        let deadline_us = request.deadline_us();
        if deadline_us != NEVER && now_us >= deadline_us {
            request.end_early(CancelReason::Timeout);
            has_ended_some = true;
        } else {
            give_up_run(runners, &request, now);
        }
    }
    has_ended_some
}

/// The request whose handler runs on the reader of this session.
fn look_at_inline(session: &Arc<Session>, request: &Arc<Request>, now: Time) {
    let accepted_us = request.accepted.mono_us();
    let limit = accepted_us + micros(INLINE_LIMIT);
    let due = request.deadline_us().min(limit).min(request.course.run_until_us());
    let now_us = now.mono_us();
    if now_us < due || !session.is_open() {
        return;
    }
    if !request.has_ended() {
        request.end_early(CancelReason::Timeout);
    }
    // A deadline may be as short as its sender likes; only this long a stay is a hang. A handler whose
    // request was answered may still hang, in a hook.
    if now_us >= due.max(accepted_us + micros(HANG)) {
        cut(session, request);
    }
}

/// The reader of this session hangs in a handler: the session is cut.
fn cut(session: &Arc<Session>, request: &Request) {
    let plugin = request.course.plugin().map(|plugin| plugin.name.to_string()).unwrap_or_default();
    tracing::error!(session = %session.id(), %plugin, r#type = %request.spec.wire_type,
        "an inline handler hangs; its session is cut");
    session.services.counters.add(Count::HungReader);
    session.life.advance(SessionPhase::Closed);
    session.end_all(CancelReason::Shutdown);
    if let Some(above) = session.services.above() {
        above.reader_hangs(session);
    }
}

/// The time that a handler has for itself is over: it is given up, and the next is asked where the
/// fold says so.
fn give_up_run(runners: &Arc<Runners>, request: &Arc<Request>, now: Time) {
    let Some(lapsed) = request.course.lapse(now.mono_us()) else { return };
    if let Some(permit) = &lapsed.permit {
        runners.mark_stuck(permit);
    }
    let label = &lapsed.label;
    label.admission.note_failure(now);
    let text = format!("plugin `{}` gave no answer in the time that it has for one", label.name);
    let error = Error::new(ErrorCode::Timeout, text);
    // Plugin code never runs on the watchdog's thread.
    runners.services.runtime.spawn(async move { (lapsed.resume)(Said::broken(error)) });
}

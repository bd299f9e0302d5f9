//! One test for each fault that a review of the kernel found, named after it (B1 to B20, S1).

mod admission;
mod audit_outcome;
mod breaker;
mod disk;
mod inline;
mod nested;
mod pool;
mod reload;
#[path = "../../../a2e-core/tests/skipped/mod.rs"]
mod skipped;
mod steps;
mod threads;

use std::time::Duration;

use a2e_core::executor::HostStatus;
use a2e_core::testing::{ManualClock, TestHost, TestSession};
use serde_json::Value;

use crate::support::PATIENCE;
pub(crate) use skipped::skipped;

/// How long a run may go on after its request has ended, before its thread counts as stuck.
const GRACE: Duration = Duration::from_secs(1);

/// The next message, in time; the stream must stand.
async fn next_of(session: &mut TestSession, what: &str) -> Value {
    let message = tokio::time::timeout(PATIENCE, session.next()).await;
    message.unwrap_or_else(|_| panic!("{what} came not in time")).expect("the stream stands")
}

/// The answer to a request, in time.
async fn reply_of(session: &mut TestSession, id: &str, what: &str) -> Value {
    let reply = tokio::time::timeout(PATIENCE, session.reply_to(id)).await;
    reply.unwrap_or_else(|_| panic!("{what} was not answered in time"))
}

/// Moves the clock on, one grace at a time, until the status is as wanted.
async fn advance_until(
    host: &TestHost,
    clock: &ManualClock,
    what: &str,
    done: impl Fn(&HostStatus) -> bool,
) {
    let wait = async {
        while !done(&host.executor().status()) {
            clock.advance(GRACE);
            // The watchdog looks every 25 ms.
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, wait).await.is_ok();
    assert!(in_time, "{what} was not reached: {:#?}", host.executor().status());
}

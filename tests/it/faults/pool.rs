//! Threads that hang: in a pool that was replaced (B1), before work that waits (B3), under futures (B8).

use std::num::NonZero;
use std::time::Duration;

use a2e_core::config::PluginConfig;
use a2e_core::plugin::{Answer, Handlers, Host, Outcome, Plugin};
use a2e_core::request::Call;
use a2e_core::testing::TestSession;
use a2e_core::{Result, message, register_plugin};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{GRACE, advance_until, next_of, reply_of};
use crate::plugins::script::SOON;
use crate::probe::{Probe, Switch};
use crate::support::{clocked, counter, end, of, plugin, script, serves, settled, tuned, with};

/// The threads that poll futures, at least.
fn future_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get).max(2)
}

async fn send_many(
    session: &mut TestSession,
    kind: &str,
    body: &Value,
    count: usize,
) -> Vec<String> {
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        ids.push(session.send(kind, body.clone()).await);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn b01_threads_of_a_replaced_pool_are_counted() {
    // More permits than threads, as two plugins have together.
    let bad = tuned(script("bad", "pool", "hang"), |it| it.permits = Some(16));
    let mut config = with([bad, plugin("echo", "Echo")]);
    config.limits.max_workers = 4;
    let (host, clock) = clocked(config).await;
    let switch = Switch::new();
    let mut session = host.session();
    let hang = json!({ "probe": switch.key() });
    // Four take all threads, and four more have permits and wait for a thread.
    let running = send_many(&mut session, "script/soon/req", &hang, 4).await;
    switch.entered(4).await;
    let waiting = send_many(&mut session, "script/never/req", &hang, 4).await;
    host.until("eight in flight", |it| it.in_flight == 8).await;
    clock.advance(SOON);
    for id in running {
        assert_eq!(reply_of(&mut session, &id, "a hang").await["code"], "timeout");
    }
    let replaced = |wanted| move |it: &_| replacements(it) == wanted;
    advance_until(&host, &clock, "a new pool", replaced(1)).await;
    // The new pool takes over what waited for the old one, and all of it hangs as well.
    switch.entered(8).await;
    for id in waiting {
        session.send("cancel", json!({ "req_id": id })).await;
        assert_eq!(reply_of(&mut session, &id, "a cancel").await["code"], "cancelled");
    }
    advance_until(&host, &clock, "a third pool", replaced(2)).await;
    assert_eq!(of(&host.executor().status(), "bad").stuck, 8);
    assert!(!host.executor().status().is_degraded, "two replacements are no failure yet");
    let id = session.send("echo/pool/req", json!({ "text": "t" })).await;
    assert_eq!(reply_of(&mut session, &id, "other work").await["text"], "t");
    switch.open();
    settled(&host).await;
    assert_eq!(counter(&host, "pool_replacements"), 2);
    session.finish().await;
    end(host).await;
}

fn replacements(status: &a2e_core::executor::HostStatus) -> u64 {
    status.counters["pool_replacements"]
}

#[derive(Debug, Deserialize)]
struct Hold {
    /// `pool`, `future`.
    place: String,
    probe: String,
}
message!(Hold, "fault/hold/req" => Held, First);

#[derive(Debug, Serialize)]
struct Held {}
message!(Held, "fault/hold/resp");

/// `test.Holder`: goes on elsewhere with a load; the journal says how long the load lives.
struct Holder;

/// What the work holds, as a request holds its line.
struct Load(String);

impl Load {
    fn new(probe: &str) -> Self {
        note(probe, "held");
        Self(probe.to_owned())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        note(&self.0, "released");
    }
}

fn note(probe: &str, text: &str) {
    if let Some(probe) = Probe::of(probe) {
        probe.note(text);
    }
}

impl Holder {
    fn hold(&self, request: Hold, _: &Call) -> Answer<Held> {
        let load = Load::new(&request.probe);
        Ok(match request.place.as_str() {
            "pool" => Outcome::on_pool(move |_| {
                drop(load);
                Ok(Held {}.into())
            }),
            _ => Outcome::on_future(async move {
                drop(load);
                Ok(Held {}.into())
            }),
        })
    }
}

impl Plugin for Holder {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Holder::hold);
    }
}

#[derive(Debug, Deserialize)]
struct Nothing {}

register_plugin!(
    Holder,
    cls = "test.Holder",
    capability = "test",
    config = Nothing,
    build = |_: Nothing, _: &Host| -> Result<Holder> { Ok(Holder) }
);

/// How many loads live.
fn live(switch: &Switch) -> usize {
    let journal = switch.journal();
    let count = |text: &str| journal.iter().filter(|it| *it == text).count();
    count("held") - count("released")
}

const PERMITS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn b03_work_that_waits_for_a_thread_is_bounded_by_permits() {
    for place in ["pool", "future"] {
        let blocker = |run: &str, act: &str| -> PluginConfig {
            tuned(script(run, run, act), |it| it.permits = Some(64))
        };
        let holder = tuned(plugin("holder", "Holder"), |it| it.permits = Some(PERMITS));
        let kind =
            if place == "pool" { blocker("pool", "hang") } else { blocker("future", "block") };
        let mut config = with([kind, holder]);
        config.limits.max_workers = 1;
        let (host, clock) = clocked(config).await;
        let (long, loads) = (Switch::new(), Switch::new());
        let mut busy = host.session();
        // Work without a deadline takes every thread.
        let (count, entered) = if place == "pool" { (1, 1) } else { (64, future_threads()) };
        let body = json!({ "probe": long.key() });
        send_many(&mut busy, "script/never/req", &body, count).await;
        long.entered(entered).await;
        let mut session = host.session();
        let body = json!({ "place": place, "probe": loads.key() });
        for wave in 0..6 {
            let ids = send_many(&mut session, "fault/hold/req", &body, 2 * PERMITS).await;
            host.until("all in flight", |it| it.in_flight >= count + ids.len()).await;
            clock.advance(Duration::from_secs(30));
            for id in ids {
                let answer = reply_of(&mut session, &id, "work that waits").await;
                assert_eq!(answer["code"], "timeout", "{place} {wave}");
            }
            // By then the watchdog has given up all that it gives up after a grace.
            for _ in 0..4 {
                clock.advance(GRACE);
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
        let wait = async {
            while live(&loads) > PERMITS {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(5), wait).await.is_ok();
        let held = loads.journal().iter().filter(|it| *it == "held").count();
        assert!(in_time, "{place}: {} of {held} loads are kept, {PERMITS} permits", live(&loads));
        serves(&mut session).await;
        long.open();
        busy.finish().await;
        settled(&host).await;
        assert_eq!(live(&loads), 0, "{place}");
        let reply = session.call("fault/hold/req", body).await;
        assert_eq!(reply["type"], "fault/hold/resp", "{place}: the permits are back");
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_status_says_that_the_threads_of_futures_are_blocked() {
    let bad = tuned(script("bad", "future", "block"), |it| it.permits = Some(64));
    let (host, clock) = clocked(with([bad, plugin("echo", "Echo")])).await;
    let switch = Switch::new();
    let mut session = host.session();
    let body = json!({ "probe": switch.key() });
    let ids = send_many(&mut session, "script/soon/req", &body, 64).await;
    host.until("all in flight", |it| it.in_flight == ids.len()).await;
    switch.entered(future_threads()).await;
    clock.advance(SOON);
    for id in ids {
        assert_eq!(reply_of(&mut session, &id, "a block").await["code"], "timeout");
    }
    let blocked = |status: &_| {
        let status = serde_json::to_value(status).unwrap();
        status["blocked_future_threads"].as_u64()
    };
    advance_until(&host, &clock, "a host that says so", |it| {
        it.is_degraded && blocked(it).is_some_and(|count| count >= 2)
    })
    .await;
    // What runs elsewhere goes on.
    serves(&mut session).await;
    let id = session.send("echo/pool/req", json!({ "text": "t" })).await;
    assert_eq!(next_of(&mut session, "other work").await["req_id"], json!(id));
    switch.open();
    host.until("a host that is well", |it| !it.is_degraded && blocked(it) == Some(0)).await;
    assert_eq!(session.call("echo/future/req", json!({ "text": "t" })).await["text"], "t");
    session.finish().await;
    end(host).await;
}

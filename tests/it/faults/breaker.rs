//! A breaker's probe that tells nothing makes room for the next one at once (B12).

use std::time::Duration;

use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
use a2e_core::protocol::ErrorCode;
use a2e_core::request::Call;
use a2e_core::testing::TestSession;
use a2e_core::{Error, Result, message, register_plugin};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::reply_of;
use crate::probe::{Probe, Switch};
use crate::support::{clocked, end, of, plugin, script, settled, tuned, with};

/// This number of failures in a row opens a breaker, for a second at first.
const FAILURES: usize = 5;
const REST: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn b12_a_probe_that_is_not_awaited_is_free_at_once() {
    for how in ["cancelled", "gone", "shortened"] {
        let (host, clock) = clocked(with([script("s", "future", "reply")])).await;
        let switch = Switch::new();
        let mut session = host.session();
        let acts = |act: &str| json!({ "acts": { "s": act } });
        for _ in 0..FAILURES {
            let answer = session.call("script/first/req", acts("error sandbox_crash")).await;
            assert_eq!(answer["code"], "sandbox_crash");
        }
        assert_eq!(of(&host.executor().status(), "s").breaker, "open");
        clock.advance(REST);
        let mut prober = host.session();
        let mut probe = acts("hang");
        probe["probe"] = json!(switch.key());
        probe["timeout"] = json!(if how == "shortened" { 0.5 } else { 20.0 });
        let id = prober.send("script/timed/req", probe).await;
        switch.entered(1).await;
        let beside = session.call("script/first/req", acts("reply")).await;
        assert_eq!(beside["code"], "unavailable", "{how}: one probe at a time");
        match how {
            "cancelled" => {
                prober.send("cancel", json!({ "req_id": id })).await;
                assert_eq!(reply_of(&mut prober, &id, "a cancel").await["code"], "cancelled");
                prober.finish().await;
            }
            "gone" => drop(prober),
            _ => {
                clock.advance(Duration::from_millis(500));
                assert_eq!(reply_of(&mut prober, &id, "a probe").await["code"], "timeout");
                prober.finish().await;
            }
        }
        settled(&host).await;
        let next = session.call("script/first/req", acts("reply")).await;
        assert_eq!(next["by"], "s", "{how}: {next}");
        assert_eq!(of(&host.executor().status(), "s").breaker, "closed", "{how}");
        session.finish().await;
        end(host).await;
    }
}

macro_rules! requests {
    ($($name:ident = $wire:literal),*) => {$(
        #[derive(Debug, Deserialize)]
        struct $name {
            #[serde(default)]
            probe: String,
        }
        message!($name, $wire => Done, First);
    )*};
}
requests!(Crash = "fault/crash/req", Quick = "fault/quick/req", Work = "fault/slow/req");

#[derive(Debug, Serialize)]
struct Done {}
message!(Done, "fault/done/resp");

#[derive(Debug, Deserialize)]
struct Nothing {}

/// `test.Fragile`: crashes and answers on the reader, works on the pool.
struct Fragile;

fn hang(probe: &str) {
    if let Some(probe) = Probe::of(probe) {
        probe.hang();
    }
}

impl Fragile {
    fn crash(&self, it: Crash, _: &Call) -> Answer<Done> {
        hang(&it.probe);
        Err(Error::new(ErrorCode::SandboxCrash, "what stands behind it is gone"))
    }

    fn quick(&self, it: Quick, _: &Call) -> Answer<Done> {
        hang(&it.probe);
        Ok(Done {}.into())
    }

    fn work(&self, it: Work, _: &Call) -> Answer<Done> {
        hang(&it.probe);
        Ok(Done {}.into())
    }
}

impl Plugin for Fragile {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Fragile::crash);
        on.inline(Fragile::quick);
        on.pool(Fragile::work);
    }
}

register_plugin!(
    Fragile,
    cls = "test.Fragile",
    capability = "test",
    config = Nothing,
    build = |_: Nothing, _: &Host| -> Result<Fragile> { Ok(Fragile) }
);

async fn code(session: &mut TestSession, kind: &str) -> String {
    let answer = session.call(kind, json!({})).await;
    answer["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn b12_a_probe_that_is_refused_is_free_at_once() {
    let mut config = with([tuned(plugin("f", "Fragile"), |it| it.permits = Some(1))]);
    config.limits.max_queue = 1;
    let (host, clock) = clocked(config).await;
    let switch = Switch::new();
    let mut session = host.session();
    // One runs and one waits: the plugin takes no more work.
    let running = session.send("fault/slow/req", json!({ "probe": switch.key() })).await;
    switch.entered(1).await;
    let waiting = session.send("fault/slow/req", json!({ "probe": switch.key() })).await;
    host.until("one that waits", |it| it.waiting == 1).await;
    for _ in 0..FAILURES {
        assert_eq!(code(&mut session, "fault/crash/req").await, "sandbox_crash");
    }
    assert_eq!(code(&mut session, "fault/quick/req").await, "unavailable");
    clock.advance(REST);
    assert_eq!(code(&mut session, "fault/slow/req").await, "overloaded");
    assert_eq!(code(&mut session, "fault/quick/req").await, "", "the next one may try");
    assert_eq!(of(&host.executor().status(), "f").breaker, "closed");
    switch.open();
    for id in [running, waiting] {
        let reply = reply_of(&mut session, &id, "work").await;
        assert_eq!(reply["type"], "fault/done/resp", "{reply}");
    }
    session.finish().await;
    end(host).await;
}

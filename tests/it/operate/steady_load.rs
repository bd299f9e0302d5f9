//! Reloads and rebuilds under steady load: no call is lost, none is answered twice, no state is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use a2e_core::config::PluginConfig;
use a2e_core::protocol::PluginName;
use a2e_core::testing::{TestHost, TestSession};
use serde_json::json;

use crate::support::{end, of, plugin, script, socket, tuned, with};

const DOORS: [&str; 4] =
    ["keeper/add/req", "keeper/pool/req", "keeper/blocking/req", "keeper/future/req"];

/// Requests that a session keeps in flight.
const WINDOW: usize = 16;

/// Sends through every door until told to stop; gives how many adds were acknowledged. Every answer
/// but a reply, and every second answer, fails the test.
async fn load(mut session: TestSession, stop: Arc<AtomicBool>, added: Arc<AtomicI64>) {
    let mut awaited = std::collections::VecDeque::new();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) || !awaited.is_empty() {
        if !stop.load(Ordering::Relaxed) && awaited.len() < WINDOW {
            let door = DOORS[sent % DOORS.len()];
            sent += 1;
            awaited.push_back(session.send(door, json!({ "add": 1 })).await);
            continue;
        }
        let id = awaited.pop_front().unwrap();
        let reply = session.reply_to(&id).await;
        assert_eq!(reply["type"], "keeper/resp", "{reply}");
        added.fetch_add(1, Ordering::Relaxed);
    }
    let rest = session.finish().await;
    assert!(rest.is_empty(), "every answer was awaited once: {rest:?}");
}

fn plugins(round: usize) -> Vec<PluginConfig> {
    let keeper = plugin("keeper", "Keeper").with_setting("note", format!("{}", round / 2));
    let keeper = tuned(keeper, |it| it.priority = Some(i64::from(round.is_multiple_of(2))));
    let mut plugins = vec![keeper, plugin("echo", "Echo")];
    if round.is_multiple_of(3) {
        plugins.push(script("now and then", "pool", "reply"));
    }
    plugins
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_reloads_and_twenty_rebuilds_lose_nothing() {
    let host = TestHost::start(with(plugins(0))).await;
    let (stop, added) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let mut loads = Vec::new();
    for number in 0..4 {
        let session = if number % 2 == 0 { host.session() } else { socket(&host) };
        loads.push(tokio::spawn(load(session, Arc::clone(&stop), Arc::clone(&added))));
    }
    for round in 1..=50 {
        let report = host.executor().reload(with(plugins(round))).await.unwrap();
        assert!(report.ok);
        if round % 5 < 2 {
            let names = [PluginName::from("keeper"), PluginName::from("echo")];
            let report = host.executor().rebuild(&names).await.unwrap();
            assert_eq!(report.rebuilt, ["keeper", "echo"]);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.unwrap();
    }
    let mut session = host.session();
    let total = session.call("keeper/add/req", json!({})).await["total"].as_i64().unwrap();
    assert_eq!(total, added.load(Ordering::Relaxed), "every acknowledged add is in the state");
    assert!(total > 200, "there was load: {total}");
    host.until("old instances that are gone", |it| it.retiring.is_empty()).await;
    let status = host.executor().status();
    assert_eq!(of(&status, "keeper").rebuilds, 20 + 25);
    assert_eq!(status.counters["late_answers"], 0);
    session.finish().await;
    end(host).await;
}

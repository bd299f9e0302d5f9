//! How chains end early: deadline, cancel, a client that leaves.

use a2e_core::config::PluginMeta;
use a2e_core::testing::ManualClock;

use super::*;

fn slow(kind: &str) -> Value {
    let node = match kind {
        "tool" => {
            json!({ "node_id": "slow", "kind": "tool", "name": "work", "input": { "item": 1, "ms": 60_000 } })
        }
        _ => json!({ "node_id": "slow", "kind": "proc", "input": { "cmd": "sleep 60" } }),
    };
    let first = json!({ "node_id": "first", "kind": "tool", "name": "echo", "input": { "n": 1 }, "next_node": "slow" });
    json!({ "entry_node": "first", "nodes": [first, node] })
}

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("{what}"));
}

/// Waits until no process of the session runs, and gives back how many there were.
async fn ended(session: &mut TestSession) -> usize {
    loop {
        let status = session.call("proc/status/req", json!({})).await;
        let procs = status["procs"].as_array().unwrap();
        if procs.iter().all(|it| it["state"] != "running") {
            return procs.len();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_ends_the_node_and_keeps_what_was_done() {
    let Started { host, mut session, seen } = start().await;
    for kind in ["tool", "proc"] {
        let mut chain = slow(kind);
        chain["timeout"] = json!(1);
        let reply = session.call("chain/req", chain).await;
        assert_eq!(reply["type"], "chain/resp", "{kind}: {reply}");
        assert_eq!(
            (&reply["success"], &reply["error"]["code"]),
            (&json!(false), &json!("timeout")),
            "{kind}"
        );
        assert_eq!(reply["outputs"], json!({ "first": { "n": 1 } }), "{kind}");
        assert_eq!(
            told(&mut session),
            ["first start", "first done", "slow start", "slow error"],
            "{kind}"
        );
    }
    until("the tool stops", || seen.dropped.load(Ordering::SeqCst) == 1).await;
    assert_eq!(ended(&mut session).await, 1, "the program is ended");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_stops_the_node_that_runs() {
    let Started { host, mut session, seen } = start().await;
    for kind in ["tool", "proc"] {
        let id = session.send("chain/req", slow(kind)).await;
        loop {
            let event = session.next().await.unwrap();
            if event["type"] == "chain/event" && event["node_id"] == "slow" {
                break;
            }
        }
        if kind == "tool" {
            until("the tool runs", || seen.running.load(Ordering::SeqCst) == 1).await;
        }
        if kind == "proc" {
            loop {
                let status = session.call("proc/status/req", json!({})).await;
                if status["procs"].as_array().unwrap().iter().any(|it| it["state"] == "running") {
                    break;
                }
            }
        }
        session.send("cancel", json!({ "req_id": id })).await;
        let reply = session.reply_to(&id).await;
        assert_eq!(reply["code"], "cancelled", "{kind}: {reply}");
        assert!(told(&mut session).is_empty(), "{kind}: nothing is told after the answer");
    }
    until("the tool stops", || seen.dropped.load(Ordering::SeqCst) == 1).await;
    // None is listed where the cancel came before the reply to the spawn: that process is forgotten.
    assert!(ended(&mut session).await <= 1, "the program is ended");
    host.until("nothing is left", |it| it.in_flight == 0).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_chain_along() {
    let Started { host, session, seen } = start().await;
    drop(session);
    // The end of a session ends the items before the chain; none may begin in between.
    for round in 1..=10 {
        let mut session = host.session();
        let list: Vec<Value> = (0..20).map(|n| json!({ "item": n })).collect();
        let chain = json!({ "entry_node": "m", "initial_input": { "list": list }, "nodes": [
            { "node_id": "m", "kind": "map", "items_path": "$.list", "map_node": "w" },
            { "node_id": "w", "kind": "tool", "name": "work", "input": { "ms": 60_000 },
              "input_map": { "item": "$.item.item" } },
        ] });
        session.send("chain/req", chain).await;
        until("the items run", || seen.running.load(Ordering::SeqCst) == 8).await;
        drop(session);
        until("the items stop", || seen.running.load(Ordering::SeqCst) == 0).await;
        host.until("nothing is left", |it| it.in_flight == 0).await;
        assert_eq!(seen.calls.load(Ordering::SeqCst), 8 * round, "no further item began");
    }
    host.stop().await;
}

/// Has a chain wait for a permit, for as long as the clock moves meanwhile, and gives its reply.
async fn waited(chain: Value, time: Duration) -> Value {
    let mut metadata = PluginMeta::default();
    metadata.permits = Some(1);
    let chains = PluginConfig::new("chains", "chains", CLS)
        .with_setting("max_nodes", 100_000)
        .with_metadata(metadata);
    let clock = ManualClock::new();
    let Started { host, mut session, seen } = start_by(chains, |it| it.clock(clock.clone())).await;
    let first = session.send("chain/req", slow("tool")).await;
    until("the first chain runs", || seen.running.load(Ordering::SeqCst) == 1).await;
    let second = session.send("chain/req", chain).await;
    // Lines are read one after another: this one comes behind the chain.
    session.call("proc/status/req", json!({})).await;
    clock.advance(time);
    session.send("cancel", json!({ "req_id": first })).await;
    let reply = session.reply_to(&second).await;
    host.stop().await;
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_for_a_permit_is_not_the_time_of_a_node() {
    let chain = json!({ "entry_node": "a", "nodes": [{ "node_id": "a", "kind": "skill", "name": "left" }] });
    let reply = waited(chain, Duration::from_secs(100)).await;
    assert_eq!(reply["final_output"], json!({ "timeout": 301 }), "{reply}");
    assert_eq!(reply["duration_ms"], 0, "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_nothing_but_branches_has_its_deadline() {
    let nodes: Vec<Value> = (0..50_000)
        .map(|n| json!({ "node_id": n.to_string(), "kind": "branch", "true_node": (n + 1).to_string() }))
        .chain([json!({ "node_id": "50000", "kind": "branch" })])
        .collect();
    // Nothing is left of its ten minutes when it begins.
    let reply =
        waited(json!({ "entry_node": "0", "nodes": nodes }), Duration::from_millis(599_800)).await;
    assert_eq!(reply["error"]["code"], "timeout", "{reply}");
}

//! The audit file of the program: kill -9, full disks, several hosts of one configuration.

use std::path::Path;
use std::time::Duration;

use a2e_core::audit::{Scan, scan};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::support::program::{A2E, Host, PATIENCE, Place, a2e_at, until};
use super::support::wire::{Wire, with_envelope};

const CONFIG: &str = "
audit: {enabled: true, mode: write, path: \"{}/audit.jsonl\"}
plugins:
  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}
  - name: proc
    type: proc
    cls: a2e.caps.proc.plugin.ProcPlugin
    metadata: {allowed_commands: [sleep]}
";

/// Rounds of `kill -9`; each starts a host.
const ROUNDS: usize = 20;

fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line.get("outcome").is_some()).collect()
}

fn has(path: &Path, id: &str, outcome: &str) -> bool {
    records(path).iter().any(|it| it["req_id"] == id && it["outcome"] == outcome)
}

fn clean(path: &Path) -> Scan {
    let scan = scan(path).unwrap();
    assert!(scan.is_clean(), "{scan:?}");
    scan
}

#[test]
fn r52_after_kill_9_each_acknowledged_reply_has_its_record() {
    let place = Place::new();
    let (config, audit) = (place.config(CONFIG), place.path("audit.jsonl"));
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let (mut host, mut wire) = Host::stdio(&["-c", &config]);
        wire.handshake("victim");
        // A burst; the host is killed in the middle of answering it.
        let burst = (0..2000).map(|n| {
            let id = format!("r{round}-{n}");
            let body = json!({ "tool_name": "echo", "arguments": { "n": n } });
            with_envelope("tool/call/req", &id, body)
        });
        let burst: String = burst.collect();
        let writer = std::thread::spawn(move || {
            // The host dies meanwhile.
            let _is_whole = wire.try_send(burst.as_bytes());
            wire
        });
        let wait = Duration::from_micros(500 * (1 + round as u64 * 7 % 40));
        std::thread::sleep(wait);
        host.kill9();
        let replies = writer.join().unwrap().rest();
        let ids = replies.iter().filter(|it| it["type"] == "tool/call/resp");
        acknowledged.extend(ids.map(|it| it["req_id"].as_str().unwrap().to_owned()));
    }
    // One more start cuts a torn tail and goes on counting.
    let (mut host, mut wire) = Host::stdio(&["-c", &config]);
    wire.handshake("heir");
    wire.finish();
    assert_eq!(host.code(PATIENCE), Some(0));
    clean(&audit);
    let there: std::collections::HashSet<String> =
        records(&audit).iter().map(|it| it["req_id"].as_str().unwrap().to_owned()).collect();
    let lost: Vec<_> = acknowledged.iter().filter(|id| !there.contains(*id)).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), acknowledged.len());
    assert!(!acknowledged.is_empty(), "no reply came before a kill");
}

#[test]
fn r53_a_file_that_may_not_grow_never_stops_the_host() {
    let place = Place::new();
    let config = place.config(CONFIG);
    let script = format!("ulimit -f 8; exec {A2E} serve --stdio -c {config} --drain 0.2");
    let (mut host, mut wire) = Host::with_pipes(&mut a2e_at(Path::new("sh"), &["-c", &script]));
    wire.handshake("flood");
    for n in 0..500 {
        assert_eq!(wire.tool("echo", json!({ "n": n }))["data"]["data"]["n"], n);
    }
    host.until_logged("audit file cannot be written");
    wire.finish();
    assert!(wire.rest().is_empty());
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
    let audit = place.path("audit.jsonl");
    assert!(std::fs::metadata(&audit).unwrap().len() <= 8 * 1024);
    assert!(scan(&audit).unwrap().records > 5, "what fitted is there");
    // With room again the count goes on where the file ends.
    let (mut host, mut wire) = Host::stdio(&["-c", &config]);
    wire.handshake("roomy");
    wire.finish();
    assert_eq!(host.code(PATIENCE), Some(0));
    clean(&audit);
}

#[test]
fn r54_several_hosts_of_one_configuration_each_have_a_file() {
    let place = Place::new();
    let (config, audit) = (place.config(CONFIG), place.path("audit.jsonl"));
    let mut hosts: Vec<(Host, Wire)> = (0..4).map(|_| Host::stdio(&["-c", &config])).collect();
    for (_, wire) in &mut hosts {
        wire.handshake("one of many");
        assert_eq!(wire.tool("echo", json!({}))["data"]["success"], true);
    }
    let beside = |host: &Host| place.path(&format!("audit.jsonl.{}", host.pid()));
    let holders: Vec<_> = hosts.iter().filter(|(host, _)| !beside(host).exists()).collect();
    assert_eq!(holders.len(), 1, "one holds the configured file");
    let others: Vec<_> = hosts.iter().filter(|(host, _)| beside(host).exists()).collect();
    assert_eq!(others.len(), 3);
    for (host, _) in others {
        host.until_logged("another host holds the audit file");
    }
    let files: Vec<_> = hosts.iter().map(|(host, _)| beside(host)).collect();
    for (host, wire) in &mut hosts {
        wire.finish();
        assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
    }
    for file in files.iter().filter(|file| file.exists()).chain([&audit]) {
        let scan = clean(file);
        assert_eq!((scan.first_seq, scan.records), (Some(1), 1), "{}", file.display());
    }
}

#[test]
fn r42_who_leaves_in_mid_call_is_in_the_audit_at_once() {
    let place = Place::new();
    let (config, audit) = (place.config(CONFIG), place.path("audit.jsonl"));
    let host = Host::at_socket(&place, &["-c", &config]);
    let mut wire = Wire::connect(&place.socket());
    wire.handshake("deserter");
    let id = wire.start_tool("sleep", json!({ "ms": 60_000 }));
    wire.ping();
    drop(wire);
    until(Duration::from_secs(1), "the outcome", || has(&audit, &id, "client_gone"));
    host.stop();
    clean(&audit);
}

#[test]
fn r55_every_outcome_has_its_record_and_no_payload() {
    let place = Place::new();
    let (config, audit) = (place.config(CONFIG), place.path("audit.jsonl"));
    let (mut host, mut wire) = Host::stdio(&["-c", &config, "--drain", "0.2"]);
    wire.handshake("all of them");
    let mut expected = Vec::new();
    for (tool, outcome) in [("echo", "ok"), ("fail", "error"), ("no_such_tool", "error")] {
        let id = wire.start_tool(tool, json!({ "message": "c4nary", "text": "c4nary" }));
        wire.reply_to(&id);
        expected.push((id, outcome));
    }
    let id = wire.send("no/such/req", json!({ "text": "c4nary" }));
    assert_eq!(wire.reply_to(&id)["code"], "unknown_type");
    expected.push((id, "refused"));
    let id = wire.start_tool("sleep", json!({ "ms": 60_000 }));
    wire.send("cancel", json!({ "req_id": id }));
    assert_eq!(wire.reply_to(&id)["code"], "cancelled");
    expected.push((id, "cancelled"));
    let body = json!({ "tool_name": "sleep", "arguments": { "ms": 60_000 }, "timeout": 1 });
    let id = wire.send("tool/call/req", body);
    assert_eq!(wire.reply_to(&id)["code"], "timeout");
    expected.push((id, "timeout"));
    host.signal(Signal::SIGTERM);
    assert_eq!(host.code(PATIENCE), Some(0));
    for (id, outcome) in expected {
        assert!(has(&audit, &id, outcome), "{id} {outcome}: {:?}", records(&audit));
    }
    assert!(!std::fs::read_to_string(&audit).unwrap().contains("c4nary"));
    clean(&audit);
}

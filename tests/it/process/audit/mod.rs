//! The audit file of the program: kill -9, full disks, several hosts of one configuration.

mod commands;

use std::path::Path;
use std::time::Duration;

use a2e_core::audit::{Scan, scan, verify};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::process::support::program::{A2E, Host, PATIENCE, Place, a2e, a2e_at, outcome, until};
use crate::process::support::wire::{Wire, with_envelope};

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

/// The same hosts in another mode.
fn config_in(place: &Place, mode: &str) -> String {
    place.config(&CONFIG.replace("mode: write", mode))
}

#[test]
fn r52_in_mode_sync_too_each_acknowledged_reply_has_its_record() {
    let place = Place::new();
    let (config, audit) = (config_in(&place, "mode: sync"), place.path("audit.jsonl"));
    for round in 0..5 {
        let (mut host, mut wire) = Host::stdio(&["-c", &config]);
        assert_eq!(wire.handshake("victim")["host"]["audit"], "sync");
        let ids: Vec<_> = (0..50).map(|n| wire.start_tool("echo", json!({ "n": n }))).collect();
        for id in &ids[..=round * 10] {
            assert_eq!(wire.reply_to(id)["type"], "tool/call/resp");
        }
        host.kill9();
        let ids = ids[..=round * 10].iter().map(String::as_str);
        let replies = wire.rest();
        let late = replies.iter().filter_map(|it| it["req_id"].as_str());
        let there = records(&audit);
        let there: std::collections::HashSet<_> =
            there.iter().map(|it| it["req_id"].as_str().unwrap()).collect();
        assert!(ids.chain(late).all(|id| there.contains(id)), "round {round}");
    }
    let (mut host, mut wire) = Host::stdio(&["-c", &config]);
    wire.handshake("heir");
    wire.finish();
    assert_eq!(host.code(PATIENCE), Some(0));
    assert_eq!(verify(&audit).unwrap().findings, []);
}

#[test]
fn r52_in_mode_buffered_kill_9_takes_only_what_is_young() {
    let place = Place::new();
    let (config, audit) = (config_in(&place, "mode: buffered"), place.path("audit.jsonl"));
    let (mut host, mut wire) = Host::stdio(&["-c", &config]);
    assert_eq!(wire.handshake("victim")["host"]["audit"], "buffered");
    for _ in 0..3 {
        let ids: Vec<_> = (0..100).map(|n| wire.start_tool("echo", json!({ "n": n }))).collect();
        for id in &ids {
            wire.reply_to(id);
        }
        // Nothing more comes, and still they are written soon.
        until(Duration::from_secs(5), "the timer", || ids.iter().all(|id| has(&audit, id, "ok")));
    }
    host.kill9();
    assert_eq!(scan(&audit).unwrap().records, 300);
    let (host, mut wire) = Host::stdio(&["-c", &config]);
    wire.handshake("heir");
    wire.tool("echo", json!({}));
    host.stop();
    let found = verify(&audit).unwrap();
    assert_eq!((found.wrong, found.records, found.unsealed), (0, 301, None));
}

#[test]
fn r53_with_refuse_a_full_disk_costs_answers_and_nothing_else() {
    for mode in ["mode: write, on_error: refuse", "mode: sync"] {
        let place = Place::new();
        let (config, audit) = (config_in(&place, mode), place.path("audit.jsonl"));
        let script = format!("ulimit -f 8; exec {A2E} serve --stdio -c {config}");
        let (mut host, mut wire) = Host::with_pipes(&mut a2e_at(Path::new("sh"), &["-c", &script]));
        wire.handshake("flood");
        for n in 0..5 {
            assert_eq!(wire.tool("echo", json!({ "n": n }))["type"], "tool/call/resp");
        }
        let ids: Vec<_> = (0..400).map(|n| wire.start_tool("echo", json!({ "n": n }))).collect();
        let mut kept = Vec::new();
        let mut refused = 0;
        for id in &ids {
            let answer = wire.reply_to(id);
            if answer["type"] == "tool/call/resp" {
                kept.push(id.clone());
            } else {
                assert_eq!(answer["code"], "audit_unavailable", "{answer}");
                refused += 1;
            }
        }
        wire.ping();
        assert!(refused > 300, "{mode}: {} kept", kept.len());
        assert!(kept.iter().all(|id| has(&audit, id, "ok")), "{mode}: what was answered is there");
        wire.finish();
        assert!(wire.rest().is_empty(), "{mode}: one answer for each");
        assert_eq!(host.code(PATIENCE), Some(0), "{mode}: {}", host.log());
        // With room again it serves, and goes on where the file ends.
        let (host, mut wire) = Host::stdio(&["-c", &config]);
        wire.handshake("roomy");
        assert_eq!(wire.tool("echo", json!({}))["type"], "tool/call/resp");
        host.stop();
        clean(&audit);
        assert_eq!(verify(&audit).unwrap().findings, [], "{mode}");
    }
}

#[test]
fn r53_a_disk_that_syncs_no_more_costs_the_answers_of_mode_sync() {
    let probe = std::process::Command::new("strace").args(["-qo", "/dev/null", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        return;
    }
    let place = Place::new();
    let (config, audit) = (config_in(&place, "mode: sync"), place.path("audit.jsonl"));
    let serve = ["serve", "--stdio", "-c", &config];
    // The first two go well: one at the start, one for the first request.
    let inject = ["-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e"];
    let inject = [&inject[..], &["inject=fdatasync:error=EIO:when=2+", A2E], &serve].concat();
    let (mut host, mut wire) = Host::with_pipes(&mut a2e_at(Path::new("strace"), &inject));
    wire.handshake("sync");
    let answers: Vec<_> = (0..20).map(|n| wire.tool("echo", json!({ "n": n }))).collect();
    let place = answers.iter().position(|it| it["code"] == "audit_unavailable");
    let place = place.unwrap_or_else(|| panic!("no sync failed: {}", host.log()));
    assert!(answers[..place].iter().all(|it| it["type"] == "tool/call/resp"));
    assert!(answers[place..].iter().all(|it| it["code"] == "audit_unavailable"));
    assert_eq!(answers[place]["detail"]["has_run"], true, "{:?}", answers[place]);
    assert_eq!(answers[19]["detail"]["has_run"], false);
    host.until_logged("cannot be synced");
    wire.ping();
    wire.finish();
    assert!(wire.rest().is_empty(), "one answer for each");
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
    clean(&audit);
}

#[test]
fn r52_one_sync_serves_many_requests() {
    let probe = std::process::Command::new("strace").args(["-qo", "/dev/null", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        return;
    }
    let place = Place::new();
    let (config, calls) = (config_in(&place, "mode: sync"), place.text("calls"));
    let slow = "inject=fdatasync:delay_exit=5000";
    let args = [
        "-f",
        "-o",
        &calls,
        "-e",
        "trace=fdatasync",
        "-e",
        slow,
        A2E,
        "serve",
        "--stdio",
        "-c",
        &config,
    ];
    let (mut host, mut wire) = Host::with_pipes(&mut a2e_at(Path::new("strace"), &args));
    wire.handshake("many");
    let ids: Vec<_> = (0..500).map(|n| wire.start_tool("echo", json!({ "n": n }))).collect();
    for id in &ids {
        assert_eq!(wire.reply_to(id)["type"], "tool/call/resp");
    }
    wire.finish();
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
    let calls = std::fs::read_to_string(calls).unwrap();
    let syncs = calls.lines().filter(|line| line.contains("fdatasync(")).count();
    assert!((1..250).contains(&syncs), "{syncs} syncs for 500 requests");
}

#[test]
fn a_place_that_cannot_be_written_stops_the_start_and_is_named() {
    for place in ["/proc/a2e/audit.jsonl", "/dev/null/audit.jsonl", "/"] {
        let folder = Place::new();
        let config = folder.config(&CONFIG.replace("{}/audit.jsonl", place));
        let (code, stdout, stderr) = outcome(&mut a2e(&["serve", "--stdio", "-c", &config]));
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{place}: {stderr}");
        assert!(stderr.contains(place), "{stderr}");
    }
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

//! The memory in a file, by real hosts: kill -9, several at once, full disks.

use std::path::Path;

use serde_json::{Value, json};

use super::super::support::program::{A2E, Host, PATIENCE, Place, a2e_at};
use super::super::support::wire::Wire;
use super::{open, recall, store};

const CONFIG: &str = "
plugins:
  - name: memory
    type: memory
    cls: a2e.caps.memory.plugin.MemoryPlugin
    metadata: {backend: sqlite, path: \"{}/deep/memory.db\", episodic_limit: 5000}
";

/// Every content in the memory.
fn all(wire: &mut Wire) -> Vec<Value> {
    let memory_id = open(wire);
    let reply =
        wire.call("memory/retrieve/req", json!({ "memory_id": memory_id, "limit": 100_000 }));
    reply["entries"].as_array().unwrap().iter().map(|entry| entry["content"].clone()).collect()
}

#[test]
fn r50_kill_9_loses_nothing_that_was_answered() {
    let place = Place::new();
    let config = place.config(CONFIG);
    let mut answered = Vec::new();
    for round in 0..6 {
        let (mut host, mut wire) = Host::stdio(&["-c", &config]);
        assert_eq!(all(&mut wire), answered, "round {round}");
        let memory_id = open(&mut wire);
        for number in 0..5 {
            let content = format!("round {round} entry {number}");
            store(&mut wire, &memory_id, &content, &content);
            answered.push(json!(content));
        }
        // The next one is on its way when the host is killed: there or not, but whole.
        let entry =
            json!({ "key": { "k": "last" }, "content": "x".repeat(50_000), "tier": "working" });
        wire.send("memory/store/req", json!({ "memory_id": memory_id, "entries": [entry] }));
        host.kill9();
    }
}

#[test]
fn r54_hosts_hammer_one_file_and_lose_nothing() {
    let place = Place::new();
    let config = place.config(CONFIG);
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let config = config.clone();
            std::thread::spawn(move || {
                let (mut host, mut wire) = Host::stdio(&["-c", &config]);
                let memory_id = open(&mut wire);
                for number in 0..40 {
                    let content = format!("writer {writer} entry {number}");
                    store(&mut wire, &memory_id, &content, &content);
                    // All of them write one entry, too.
                    store(&mut wire, &memory_id, "shared", &content);
                }
                // Two are killed, one ends in order.
                if writer > 0 {
                    host.kill9();
                } else {
                    wire.finish();
                    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let (_host, mut wire) = Host::stdio(&["-c", &config]);
    assert_eq!(all(&mut wire).len(), 3 * 40 + 1);
    for (writer, number) in [(0, 0), (1, 39), (2, 20)] {
        let content = format!("writer {writer} entry {number}");
        assert_eq!(recall(&mut wire, &content), [json!(content)]);
    }
    let memory_id = open(&mut wire);
    let query = json!({ "memory_id": memory_id, "query": "\"WRITER\"" });
    assert_eq!(wire.call("memory/retrieve/req", query)["total"], 0, "no quotes are there");
    let query = json!({ "memory_id": memory_id, "query": "WRITER 39", "min_score": 1 });
    let total = wire.call("memory/retrieve/req", query)["total"].as_u64().unwrap();
    assert!((3..=4).contains(&total), "{total}: of each writer, and perhaps the shared one");
}

#[test]
fn a_full_disk_is_memory_full_and_the_host_runs_on() {
    let place = Place::new();
    let config = place.config(CONFIG);
    let (mut host, mut wire) = Host::stdio(&["-c", &config]);
    let memory_id = open(&mut wire);
    store(&mut wire, &memory_id, "a", "kept");
    wire.finish();
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
    let script = format!("ulimit -f 300; exec {A2E} serve --stdio -c {config}");
    let (mut host, mut wire) = Host::with_pipes(&mut a2e_at(Path::new("sh"), &["-c", &script]));
    let memory_id = open(&mut wire);
    let mut refused = None;
    for number in 0..40 {
        let content = format!("{number} {}", "y".repeat(20_000));
        let entry = json!({ "key": { "k": number }, "content": content, "tier": "episodic" });
        let body = json!({ "memory_id": memory_id, "entries": [entry] });
        let reply = wire.call("memory/store/req", body);
        if reply["type"] == "error" {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("the disk is never full");
    assert_eq!(refused["code"], "memory_full", "{refused}");
    assert!(refused["detail"]["path"].as_str().unwrap().ends_with("memory.db"), "{refused}");
    wire.ping();
    assert_eq!(recall(&mut wire, "a"), ["kept"], "what is there can be read");
    wire.finish();
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
    let (_host, mut wire) = Host::stdio(&["-c", &config]);
    assert_eq!(recall(&mut wire, "a"), ["kept"]);
    let memory_id = open(&mut wire);
    store(&mut wire, &memory_id, "b", "there is room again");
}

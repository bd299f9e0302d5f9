//! What plugins remember outlives the host: kill -9, full disks, damaged files, shared folders (R50).

mod commands;
mod memory;
mod resume;

use std::fs;
use std::path::{Path, PathBuf};

use a2e_core::snapshot::{SnapshotStore, SqliteStore};
use serde_json::{Value, json};

use super::support::program::{A2E, Host, PATIENCE, Place, a2e_at, until};
use super::support::wire::Wire;

const CONFIG: &str = "
snapshot_store: {type: file, config: {root: \"{}/state\"}}
snapshot_interval_s: 1
plugins:
  - {name: memory, type: memory, cls: a2e.caps.memory.plugin.MemoryPlugin}
  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}
";

/// The store of a configuration that has none of files.
const SQLITE: &str = "{type: sqlite, config: {db_path: \"{}/deep/state.db\"}}";

fn open(wire: &mut Wire) -> Value {
    wire.handshake("keeper");
    wire.call("memory/init/req", json!({ "namespace": "n" }))["memory_id"].clone()
}

fn store(wire: &mut Wire, memory_id: &Value, key: &str, content: &str) {
    let entry = json!({ "key": { "k": key }, "content": content, "tier": "episodic" });
    let reply =
        wire.call("memory/store/req", json!({ "memory_id": memory_id, "entries": [entry] }));
    assert_eq!(reply["errors"], json!([]), "{reply}");
}

/// The contents under a key.
fn recall(wire: &mut Wire, key: &str) -> Vec<Value> {
    let memory_id = open(wire);
    let body = json!({ "memory_id": memory_id, "keys": [{ "k": key }] });
    let reply = wire.call("memory/retrieve/req", body);
    reply["entries"].as_array().unwrap().iter().map(|entry| entry["content"].clone()).collect()
}

/// The files of the current generation.
fn snapshots(place: &Place) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(place.path("state")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|it| it == "snap")).collect()
}

/// Waits until a snapshot holds this text.
fn until_saved(place: &Place, text: &str) {
    let has_text = |path: &PathBuf| {
        fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
    };
    until(PATIENCE, "the snapshot", || snapshots(place).iter().any(has_text));
}

/// One host that stores one entry and ends in order.
fn remember(place: &Place, config: &str, key: &str, content: &str) {
    let (mut host, mut wire) = Host::stdio(&["-c", config]);
    let memory_id = open(&mut wire);
    store(&mut wire, &memory_id, key, content);
    wire.finish();
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
    until_saved(place, content);
}

#[test]
fn r50_what_was_saved_survives_kill_9() {
    let place = Place::new();
    let config = place.config(CONFIG);
    let (mut host, mut wire) = Host::stdio(&["-c", &config]);
    let memory_id = open(&mut wire);
    store(&mut wire, &memory_id, "a", "first words");
    until_saved(&place, "first words");
    host.kill9();
    let (mut host, mut wire) = Host::stdio(&["-c", &config]);
    assert_eq!(recall(&mut wire, "a"), ["first words"]);
    wire.finish();
    assert_eq!(host.code(PATIENCE), Some(0));
}

#[test]
fn r50_kill_9_at_any_moment_loses_nothing_that_was_saved() {
    let place = Place::new();
    let config = place.config(CONFIG);
    remember(&place, &config, "base", "always there");
    for round in 0..10_u64 {
        // The end of each session saves: kill in the middle of that.
        let (host, mut wire) = Host::stdio(&["-c", &config]);
        let memory_id = open(&mut wire);
        store(&mut wire, &memory_id, "round", &"x".repeat(60_000));
        wire.finish();
        std::thread::sleep(std::time::Duration::from_micros(700 * round));
        // Kills it, if it has not ended by then.
        drop(host);
    }
    let (_host, mut wire) = Host::stdio(&["-c", &config]);
    assert_eq!(recall(&mut wire, "base"), ["always there"]);
}

#[test]
fn r50_the_end_in_order_saves() {
    let place = Place::new();
    let config = place.config(CONFIG);
    remember(&place, &config, "a", "farewell");
    let (_host, mut wire) = Host::stdio(&["-c", &config]);
    assert_eq!(recall(&mut wire, "a"), ["farewell"]);
}

#[test]
fn r50_a_full_disk_leaves_the_old_generation() {
    let place = Place::new();
    let config = place.config(CONFIG);
    remember(&place, &config, "a", "kept");
    let script = format!("ulimit -f 16; exec {A2E} serve --stdio -c {config}");
    let (mut host, mut wire) = Host::with_pipes(&mut a2e_at(Path::new("sh"), &["-c", &script]));
    let memory_id = open(&mut wire);
    store(&mut wire, &memory_id, "large", &"y".repeat(50_000));
    host.until_logged("state not saved");
    wire.ping();
    wire.finish();
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
    let (_host, mut wire) = Host::stdio(&["-c", &config]);
    assert_eq!(recall(&mut wire, "a"), ["kept"]);
    assert!(recall(&mut wire, "large").is_empty());
}

#[test]
fn r50_a_damaged_snapshot_is_told_and_never_believed() {
    fn torn(bytes: Vec<u8>) -> Vec<u8> {
        bytes[..bytes.len() / 2].to_vec()
    }
    fn flipped(mut bytes: Vec<u8>) -> Vec<u8> {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    }
    fn foreign(_: Vec<u8>) -> Vec<u8> {
        b"not a snapshot at all".to_vec()
    }
    fn empty(_: Vec<u8>) -> Vec<u8> {
        Vec::new()
    }
    for damage in [torn, flipped, foreign, empty] {
        let place = Place::new();
        let config = place.config(CONFIG);
        remember(&place, &config, "a", "older");
        remember(&place, &config, "a", "newer");
        let current = snapshots(&place).pop().unwrap();
        let previous = current.with_extension("snap.prev");
        // The current one is damaged: the previous one is taken, and that is said.
        fs::write(&current, damage(fs::read(&current).unwrap())).unwrap();
        let kept = fs::read(&previous).unwrap();
        let is_newer = String::from_utf8_lossy(&kept).contains("newer");
        let (mut host, mut wire) = Host::stdio(&["-c", &config]);
        assert_eq!(recall(&mut wire, "a"), [if is_newer { "newer" } else { "older" }]);
        host.until_logged("state of the previous generation");
        host.kill9();
        // Both are: the plugin starts empty, and that is said.
        fs::write(&current, "damaged").unwrap();
        fs::write(&previous, "also damaged").unwrap();
        let (mut host, mut wire) = Host::stdio(&["-c", &config]);
        assert!(recall(&mut wire, "a").is_empty());
        host.until_logged("state not restored");
        wire.ping();
        host.kill9();
    }
}

#[test]
fn r51_hosts_may_share_a_folder() {
    let place = Place::new();
    let config = place.config(CONFIG);
    let mut hosts: Vec<(Host, Wire)> = (0..3).map(|_| Host::stdio(&["-c", &config])).collect();
    for (number, (_, wire)) in hosts.iter_mut().enumerate() {
        let memory_id = open(wire);
        store(wire, &memory_id, "who", &format!("host {number}"));
    }
    for (host, wire) in &mut hosts {
        wire.finish();
        assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
    }
    let (_host, mut wire) = Host::stdio(&["-c", &config]);
    assert_eq!(recall(&mut wire, "who"), ["host 2"], "the last save wins");
    let left: Vec<_> = fs::read_dir(place.path("state")).unwrap().collect();
    let is_leftover = |it: &&std::io::Result<fs::DirEntry>| {
        it.as_ref().unwrap().path().extension().is_some_and(|it| it == "tmp")
    };
    assert_eq!(left.iter().filter(is_leftover).count(), 0, "{left:?}");
}

#[test]
fn r50_a_host_keeps_its_state_in_sqlite() {
    let place = Place::new();
    let yaml = CONFIG.replace("{type: file, config: {root: \"{}/state\"}}", SQLITE);
    let config = place.config(&yaml);
    let (mut host, mut wire) = Host::stdio(&["-c", &config]);
    let memory_id = open(&mut wire);
    store(&mut wire, &memory_id, "a", "first words");
    let saved = || {
        let store = SqliteStore::open_beside(place.path("deep/state.db")).unwrap();
        !store.keys(None).unwrap().is_empty()
    };
    until(PATIENCE, "the first save", || place.path("deep/state.db").exists() && saved());
    host.kill9();
    // Several hosts on one file, each with a save of its own at its end.
    let mut hosts: Vec<(Host, Wire)> = (0..3).map(|_| Host::stdio(&["-c", &config])).collect();
    for (_, wire) in &mut hosts {
        assert_eq!(recall(wire, "a"), ["first words"]);
    }
    for (host, wire) in &mut hosts {
        wire.finish();
        assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
        assert!(!host.log().contains("state not saved"), "{}", host.log());
    }
    let (_host, mut wire) = Host::stdio(&["-c", &config]);
    assert_eq!(recall(&mut wire, "a"), ["first words"]);
}

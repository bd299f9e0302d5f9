//! Sessions that outlive the program: a Unix socket, files, kill -9, two users (R50, R64, R65).

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::super::support::program::{
    A2E, Host, PATIENCE, Place, a2e_at, example, until, until_some,
};
use super::super::support::wire::Wire;

const CONFIG: &str = "
snapshot_store: {type: file, config: {root: \"{}/state\"}}
snapshot_interval_s: 1
plugins:
  - {name: own, type: test, cls: test.Tally, metadata: {scope: session}}
";

/// Another user, if there is one to be had.
const NOBODY: u32 = 65_534;

fn greet(wire: &mut Wire, id: &str, last_seq: u64) -> Value {
    let resume = json!({ "session_id": id, "last_seq": last_seq });
    let answer = wire.call("handshake/req", json!({ "agent_id": "a", "resume": resume }));
    assert_eq!(answer["ok"], true, "{answer}");
    answer
}

fn add(wire: &mut Wire, add: i64) -> i64 {
    wire.call("tally/add/req", json!({ "add": add }))["total"].as_i64().unwrap()
}

fn begin(wire: &mut Wire) -> String {
    greet(wire, "", 0)["session_id"].as_str().unwrap().to_owned()
}

/// The files of a session in the store.
fn files(place: &Place, id: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(place.path("state")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_str().unwrap().contains(id)).collect()
}

/// Waits until the file of the plugin's part of a session holds this number.
fn until_saved(place: &Place, id: &str, total: i64) {
    let file = place.path("state").join(format!("own.state.{id}.snap"));
    until(PATIENCE, "the state of the session", || {
        std::fs::read(&file).is_ok_and(|bytes| bytes.ends_with(total.to_string().as_bytes()))
    });
}

#[test]
fn r50_a_session_survives_kill_9_of_the_host() {
    let place = Place::new();
    let config = place.config(CONFIG);
    let mut host = Host::at_socket(&place, &["-c", &config]);
    let mut wire = Wire::connect(&place.socket());
    let id = begin(&mut wire);
    for round in 1..=3 {
        // Saved on schedule, while the session lives.
        assert_eq!(add(&mut wire, 7), 7 * round);
        until_saved(&place, &id, 7 * round);
        host.kill9();
        assert!(wire.next().is_none());
        host = Host::at_socket(&place, &["-c", &config]);
        wire = Wire::connect(&place.socket());
        let answer = greet(&mut wire, &id, 1);
        let said = (&answer["resumed"], &answer["gap"], &answer["session_id"]);
        assert_eq!(said, (&json!(true), &json!(-1), &json!(id)));
        assert_eq!(add(&mut wire, 0), 7 * round);
    }
    // Counting began again: this life has sent one line.
    drop(wire);
    let mut wire = Wire::connect(&place.socket());
    let answer = greet(&mut wire, &id, 0);
    assert_eq!((&answer["resumed"], &answer["gap"]), (&json!(true), &json!(0)));
    assert_eq!(wire.next().unwrap()["total"], 21, "sent again");
    host.stop();
}

#[test]
fn r44_a_session_survives_the_end_in_order_without_a_schedule() {
    let place = Place::new();
    let config =
        place.config(&CONFIG.replace("snapshot_interval_s: 1", "snapshot_interval_s: 3600"));
    let host = Host::at_socket(&place, &["-c", &config]);
    let mut wires: Vec<(Wire, String)> = Vec::new();
    for number in 0..20 {
        let mut wire = Wire::connect(&place.socket());
        let id = begin(&mut wire);
        add(&mut wire, number);
        wires.push((wire, id));
    }
    // Half of them live when the host is told to end.
    wires.truncate(20);
    let ids: Vec<String> = wires.iter().map(|(_, id)| id.clone()).collect();
    wires.drain(..10);
    host.stop();
    let _host = Host::at_socket(&place, &["-c", &config]);
    for (number, id) in ids.iter().enumerate() {
        let mut wire = Wire::connect(&place.socket());
        assert_eq!(greet(&mut wire, id, 0)["resumed"], true, "{number}");
        assert_eq!(add(&mut wire, 0), i64::try_from(number).unwrap(), "R65");
    }
}

#[test]
fn r50_a_session_over_stdio_is_resumed_through_the_store() {
    let place = Place::new();
    let config = place.config(CONFIG);
    let (mut host, mut wire) = Host::stdio(&["-c", &config]);
    let id = begin(&mut wire);
    add(&mut wire, 5);
    wire.finish();
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
    let (mut host, mut wire) = Host::stdio(&["-c", &config]);
    assert_eq!(greet(&mut wire, &id, 1)["resumed"], true);
    assert_eq!(add(&mut wire, 1), 6);
    wire.send("shutdown", json!({}));
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
    let (_host, mut wire) = Host::stdio(&["-c", &config]);
    assert_eq!(greet(&mut wire, &id, 1)["resumed"], true);
    assert_eq!(add(&mut wire, 1), 7);
}

#[test]
fn r50_what_nobody_resumed_is_gone_after_a_restart() {
    let place = Place::new();
    let config = place.config(&format!("session_ttl: 2\n{CONFIG}"));
    let mut host = Host::at_socket(&place, &["-c", &config]);
    let mut wire = Wire::connect(&place.socket());
    let id = begin(&mut wire);
    add(&mut wire, 5);
    until_saved(&place, &id, 5);
    host.kill9();
    assert!(files(&place, &id).len() >= 2);
    let _host = Host::at_socket(&place, &["-c", &config]);
    until(PATIENCE, "its files gone", || files(&place, &id).is_empty());
    let mut wire = Wire::connect(&place.socket());
    assert_eq!(greet(&mut wire, &id, 0)["resumed"], false);
    assert_eq!(add(&mut wire, 0), 0);
}

#[test]
fn r50_a_damaged_record_is_told_and_the_session_is_not_resumed() {
    let place = Place::new();
    let config = place.config(CONFIG);
    let mut host = Host::at_socket(&place, &["-c", &config]);
    let mut wire = Wire::connect(&place.socket());
    let id = begin(&mut wire);
    add(&mut wire, 5);
    until_saved(&place, &id, 5);
    host.kill9();
    for name in ["snap", "snap.prev"] {
        std::fs::write(place.path("state").join(format!("kernel.resume.{id}.{name}")), "x")
            .unwrap();
    }
    let host = Host::at_socket(&place, &["-c", &config]);
    let mut wire = Wire::connect(&place.socket());
    assert_eq!(greet(&mut wire, &id, 0)["resumed"], false);
    host.until_logged("record of a session not read");
    wire.ping();
}

/// A connection of another user. Ended when dropped.
struct Carrier(Child);

impl Drop for Carrier {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn as_user(program: &Path, place: &Place, uid: u32) -> (Carrier, Wire) {
    let socket = place.text("a2e.sock");
    let mut command = a2e_at(program, &["__carry", &socket]);
    command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.uid(uid).gid(uid).spawn().unwrap();
    let wire = Wire::pipes(child.stdin.take().unwrap(), child.stdout.take().unwrap());
    (Carrier(child), wire)
}

#[test]
fn r64_another_user_cannot_resume_a_session_of_ours() {
    if !nix::unistd::geteuid().is_root() {
        // Nobody else can be played.
        return;
    }
    let place = Place::new();
    let config = place.config(CONFIG);
    // The host is nobody's, so it lets in nobody and root.
    let program = place.path("a2e-copy");
    std::fs::copy(A2E, &program).unwrap();
    let folder = program.parent().unwrap();
    nix::unistd::chown(folder, Some(NOBODY.into()), Some(NOBODY.into())).unwrap();
    let start = || {
        let socket = place.socket();
        let mut command = a2e_at(&program, &["serve", "-c", &config, "--listen", &socket]);
        let host = Host::start(command.current_dir("/").uid(NOBODY).gid(NOBODY));
        host.addresses(1);
        host
    };
    let mut host = start();
    let (carrier, mut owner) = as_user(&program, &place, NOBODY);
    let id = begin(&mut owner);
    assert_eq!(add(&mut owner, 11), 11);
    until_saved(&place, &id, 11);
    let steal = |when: &str| {
        let mut root = Wire::connect(&place.socket());
        let answer = greet(&mut root, &id, 0);
        assert_eq!((&answer["resumed"], &answer["gap"]), (&json!(false), &json!(-1)), "{when}");
        assert_ne!(answer["session_id"], json!(id));
        assert_eq!(add(&mut root, 0), 0, "R65 {when}");
    };
    steal("while it lives");
    assert_eq!(add(&mut owner, 0), 11, "its owner notices nothing");
    drop((carrier, owner));
    std::thread::sleep(Duration::from_millis(100));
    steal("while it waits");
    host.kill9();
    let host = start();
    steal("after a restart");
    let (_carrier, mut owner) = as_user(&program, &place, NOBODY);
    assert_eq!(greet(&mut owner, &id, 0)["resumed"], true);
    assert_eq!(add(&mut owner, 0), 11);
    host.signal(Signal::SIGTERM);
    host.until_logged("draining");
}

#[test]
fn the_example_of_the_contributing_page_keeps_its_totals() {
    let place = Place::new();
    let config = place.config(
        "
snapshot_store: {type: file, config: {root: \"{}/state\"}}
plugins: [{name: tally, type: test, cls: examples.Tally}]
",
    );
    let serve = || {
        let socket = place.socket();
        let host =
            Host::start(example("tally").args(["serve", "-c", &config, "--listen", &socket]));
        host.addresses(1);
        host
    };
    let host = serve();
    let mut wire = Wire::connect(&place.socket());
    let id = begin(&mut wire);
    assert_eq!(add(&mut wire, 7), 7);
    let mut other = Wire::connect(&place.socket());
    begin(&mut other);
    assert_eq!(add(&mut other, 1), 1, "each session its own");
    // A resume, and one after a restart.
    drop(wire);
    let mut wire = until_some(PATIENCE, "the host has noticed, and saved", || {
        let mut wire = Wire::connect(&place.socket());
        (greet(&mut wire, &id, 1)["resumed"] == true).then_some(wire)
    });
    assert_eq!(add(&mut wire, 3), 10);
    drop(wire);
    host.stop();
    let _host = serve();
    let mut wire = Wire::connect(&place.socket());
    assert_eq!(greet(&mut wire, &id, 2)["resumed"], true);
    assert_eq!(add(&mut wire, 0), 10);
}

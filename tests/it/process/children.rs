//! No child outlives its host, whatever ends it and whatever the child does (R35).

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use super::support::proc_fs::{carrying, descriptors, sleepers, token};
use super::support::program::{A2E, Host, PATIENCE, Place, a2e_at, until};
use super::support::wire::Wire;

const CONFIG: &str = "
plugins:
  - name: proc
    type: proc
    cls: a2e.caps.proc.plugin.ProcPlugin
    metadata: {allowed_commands: [sh, sleep, cat]}
";

const SECOND: Duration = Duration::from_secs(1);

/// A program with a plain descendant, one with a session of its own and one that was forked twice
/// and has a session of its own.
fn tree(token: &str) -> String {
    format!(
        "sleep {token} & setsid sleep {token} & (setsid sh -c 'sleep {token} & ' &); \
         exec sleep {token}"
    )
}

const TREE_SIZE: usize = 4;

/// Starts this many trees, and waits until all of them stand.
fn plant(wire: &mut Wire, token: &str, trees: usize) {
    wire.handshake("parent");
    let script = tree(token);
    for _ in 0..trees {
        wire.spawn(&["sh", "-c", &script]);
    }
    until(PATIENCE, "the trees stand", || sleepers(token).len() == trees * TREE_SIZE);
}

/// Nothing of them is left; guards carry no token, so they are looked for by their host's program.
fn felled(token: &str) {
    until(SECOND, "nothing is left", || carrying(token).is_empty());
}

fn kill9_leaves_nothing(command: &mut Command) {
    let token = token();
    let (mut host, mut wire) = Host::with_pipes(command);
    plant(&mut wire, &token, 20);
    host.kill9();
    felled(&token);
}

#[test]
fn r35_kill_9_of_the_host_leaves_no_child() {
    let place = Place::new();
    let config = place.config(CONFIG);
    let args = ["serve", "--stdio", "-c", &config];
    kill9_leaves_nothing(&mut a2e_at(Path::new(A2E), &args));
}

#[test]
fn r35_kill_9_leaves_no_child_of_an_ordinary_user() {
    if !nix::unistd::geteuid().is_root() {
        // The test above ran as an ordinary user already.
        return;
    }
    let place = Place::new();
    let config = place.config(CONFIG);
    let program = place.path("a2e");
    std::fs::copy(A2E, &program).unwrap();
    let everyone = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(program.parent().unwrap(), everyone).unwrap();
    let mut command = a2e_at(&program, &["serve", "--stdio", "-c", &config]);
    kill9_leaves_nothing(command.uid(65534).gid(65534).current_dir("/"));
    until(SECOND, "no guard is left", || carrying(program.to_str().unwrap()).is_empty());
}

#[test]
fn r35_the_end_of_input_leaves_no_child() {
    let (token, place) = (token(), Place::new());
    let config = place.config(CONFIG);
    let (mut host, mut wire) = Host::stdio(&["-c", &config, "--drain", "0.2"]);
    plant(&mut wire, &token, 5);
    wire.finish();
    wire.rest();
    assert_eq!(host.code(Duration::from_secs(3)), Some(0), "{}", host.log());
    felled(&token);
}

#[test]
fn r35_sigterm_and_a_second_one_leave_no_child() {
    for (second, code) in [(false, 0), (true, 1)] {
        let (token, place) = (token(), Place::new());
        let config = place.config(CONFIG);
        let drain = if second { "60" } else { "0.2" };
        let (mut host, mut wire) = Host::stdio(&["-c", &config, "--drain", drain]);
        plant(&mut wire, &token, 5);
        host.signal(Signal::SIGTERM);
        if second {
            host.until_logged("draining");
            host.signal(Signal::SIGTERM);
        }
        assert_eq!(host.code(PATIENCE), Some(code), "{}", host.log());
        felled(&token);
    }
}

#[test]
fn r42_a_session_takes_its_children_with_it_and_no_others() {
    let (mine, others, place) = (token(), token(), Place::new());
    let config = place.config(CONFIG);
    let host = Host::at_socket(&place, &["-c", &config]);
    let mut wire = Wire::connect(&place.socket());
    let mut other = Wire::connect(&place.socket());
    plant(&mut other, &others, 2);
    let before = descriptors(host.pid());
    plant(&mut wire, &mine, 5);
    drop(wire);
    // A moment for the host to notice, a moment for the children to end.
    until(2 * SECOND, "nothing is left", || carrying(&mine).is_empty());
    assert_eq!(sleepers(&others).len(), 2 * TREE_SIZE, "the other session keeps its own");
    until(SECOND, "descriptors are given back", || descriptors(host.pid()) < before);
    other.ping();
    host.stop();
    felled(&others);
}

#[test]
fn a_process_is_fed_and_read_over_the_wire() {
    let place = Place::new();
    let config = place.config(CONFIG);
    let (mut host, mut wire) = Host::stdio(&["-c", &config]);
    wire.handshake("talker");
    let proc_id = wire.spawn(&["cat"])["proc_id"].clone();
    for line in ["one", "two", "three"] {
        let body = json!({ "proc_id": proc_id, "data": format!("{line}\n") });
        assert_eq!(wire.call("proc/write/req", body)["ok"], true);
        assert_eq!(next_event(&mut wire)["data"]["text"], format!("{line}\n"));
    }
    wire.call("proc/write/req", json!({ "proc_id": proc_id, "data": "", "eof": true }));
    assert_eq!(next_event(&mut wire)["data"]["code"], 0);
    wire.finish();
    assert!(wire.rest().is_empty());
    assert_eq!(host.code(Duration::from_secs(3)), Some(0));
}

fn next_event(wire: &mut Wire) -> serde_json::Value {
    let event = wire.next().expect("an event");
    assert_eq!(event["type"], "proc/read/event", "{event}");
    event
}

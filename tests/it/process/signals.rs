//! SIGTERM and SIGINT end a host in order, the second one at once (R44).

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use super::support::program::{Host, PATIENCE, Place, until};
use super::support::wire::{Wire, with_envelope};

#[test]
fn r44_sigterm_finishes_what_runs_and_takes_nothing_new() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let place = Place::new();
        let mut host = Host::at_socket(&place, &["--drain", "60"]);
        let mut wire = Wire::connect(&place.socket());
        wire.handshake("worker");
        let id = wire.start_tool("sleep", json!({ "ms": 3000 }));
        wire.ping();
        host.signal(signal);
        let socket = place.path("a2e.sock");
        until(PATIENCE, "no new connections", || UnixStream::connect(&socket).is_err());
        assert_eq!(wire.call("tool/list/req", json!({}))["code"], "shutting_down");
        assert_eq!(wire.reply_to(&id)["data"]["success"], true, "{signal}");
        assert!(wire.rest().is_empty());
        assert_eq!(host.code(PATIENCE), Some(0), "{signal}: {}", host.log());
        assert!(!socket.exists(), "the socket goes with its host");
    }
}

#[test]
fn r44_what_runs_on_after_the_drain_is_answered_shutting_down() {
    let place = Place::new();
    let mut host = Host::at_socket(&place, &["--drain", "0.3"]);
    let mut wire = Wire::connect(&place.socket());
    wire.handshake("worker");
    let id = wire.start_tool("sleep", json!({ "ms": 60_000 }));
    wire.ping();
    host.signal(Signal::SIGTERM);
    assert_eq!(wire.reply_to(&id)["code"], "shutting_down");
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
}

#[test]
fn r44_an_idle_host_ends_at_once() {
    let place = Place::new();
    let mut host = Host::at_socket(&place, &["--drain", "60"]);
    let mut wire = Wire::connect(&place.socket());
    wire.handshake("idle");
    host.signal(Signal::SIGTERM);
    assert!(wire.rest().is_empty());
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
}

#[test]
fn r44_a_second_signal_ends_at_once() {
    for (first, second) in [(Signal::SIGTERM, Signal::SIGTERM), (Signal::SIGINT, Signal::SIGTERM)] {
        let place = Place::new();
        let mut host = Host::at_socket(&place, &["--drain", "60"]);
        let mut wire = Wire::connect(&place.socket());
        wire.handshake("worker");
        wire.start_tool("sleep", json!({ "ms": 60_000 }));
        wire.ping();
        host.signal(first);
        host.until_logged("draining");
        host.signal(second);
        assert_eq!(host.code(PATIENCE), Some(1), "{}", host.log());
        assert!(host.log().contains("second signal"), "{}", host.log());
    }
}

#[test]
fn r44_sigterm_on_stdio_ends_in_order() {
    let (mut host, mut wire) = Host::stdio(&["--drain", "60"]);
    wire.handshake("worker");
    let id = wire.start_tool("sleep", json!({ "ms": 300 }));
    wire.ping();
    host.signal(Signal::SIGTERM);
    assert_eq!(wire.reply_to(&id)["data"]["success"], true);
    assert!(wire.rest().is_empty());
    assert_eq!(host.code(PATIENCE), Some(0), "its input is still open: {}", host.log());
}

#[test]
fn r44_a_client_that_does_not_read_does_not_hold_up_the_end() {
    let mut host = Host::serve(&["--listen", "tcp://127.0.0.1:0", "--drain", "1"]);
    let address = host.addresses(1).remove(0);
    let mut deaf = TcpStream::connect(address.strip_prefix("tcp://").unwrap()).unwrap();
    deaf.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let body = json!({ "tool_name": "echo", "arguments": { "text": "z".repeat(64 * 1024) } });
    let line = with_envelope("tool/call/req", "deaf", body);
    while deaf.write_all(line.as_bytes()).is_ok() {}
    host.signal(Signal::SIGTERM);
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
}

#[test]
fn r44_shutdown_over_a_socket_ends_its_session_only() {
    let place = Place::new();
    let host = Host::at_socket(&place, &[]);
    let mut other = Wire::connect(&place.socket());
    other.handshake("stays");
    let mut wire = Wire::connect(&place.socket());
    wire.handshake("leaves");
    let id = wire.start_tool("sleep", json!({ "ms": 200 }));
    wire.send("shutdown", json!({ "timeout": 5 }));
    assert_eq!(wire.call("ping", json!({}))["code"], "shutting_down");
    assert_eq!(wire.reply_to(&id)["data"]["success"], true);
    assert!(wire.rest().is_empty(), "the session ends when nothing is left");
    other.ping();
    Wire::connect(&place.socket()).handshake("comes");
    host.stop();
}

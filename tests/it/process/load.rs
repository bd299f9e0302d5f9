//! Peers that misbehave, and a host without descriptors: the others never notice (R21, R24, R25).

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::support::proc_fs::{cpu_ticks, descriptors, resident};
use super::support::program::{A2E, Host, PATIENCE, Place, a2e_at, now, until};
use super::support::wire::{Wire, with_envelope};

const SECOND: Duration = Duration::from_secs(1);

/// The start of a message that never ends.
fn half_a_message() -> Vec<u8> {
    let mut half = br#"{"type":"tool/call/req","id":"half","arguments":{"text":""#.to_vec();
    half.resize(64 * 1024, b'x');
    half
}

#[test]
fn r25_two_hundred_that_leave_in_mid_message_leave_nothing_behind() {
    let place = Place::new();
    let host = Host::serve(&["--listen", &place.socket(), "--listen", "tcp://127.0.0.1:0"]);
    let addresses = host.addresses(2);
    let mut other = Wire::connect(&addresses[0]);
    other.handshake("stays");
    // The threads of futures and their descriptors come with the first and stay.
    other.tool("sleep", json!({ "ms": 1 }));
    let before = descriptors(host.pid());
    for address in &addresses {
        let mut leaving = Vec::new();
        for number in 0..100 {
            let mut wire = Wire::connect(address);
            wire.ping();
            if number % 2 == 0 {
                wire.handshake("leaves");
            }
            // A call that goes on, where the end is seen at once.
            if number % 4 == 0 && address.starts_with("unix") {
                wire.start_tool("sleep", json!({ "ms": 60_000 }));
            }
            assert!(wire.try_send(&half_a_message()));
            leaving.push(wire);
        }
        assert!(descriptors(host.pid()) >= before + 100, "all of them are served");
        drop(leaving);
        until(SECOND, "their descriptors are given back", || descriptors(host.pid()) <= before);
        other.ping();
    }
    // Nothing in flight holds up the end.
    let start = now();
    drop(other);
    host.stop();
    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
}

#[test]
fn r24_a_host_without_descriptors_waits_and_recovers() {
    const LIMIT: usize = 64;
    let place = Place::new();
    let (socket, path) = (place.socket(), place.path("a2e.sock"));
    let script = format!("ulimit -n {LIMIT}; exec {A2E} serve --listen {socket}");
    let host = Host::start(&mut a2e_at(Path::new("sh"), &["-c", &script]));
    host.addresses(1);
    let mut first = Wire::connect(&socket);
    first.handshake("first");
    // They are connected as soon as they are in the queue of the socket.
    let crowd: Vec<_> = (0..100).map(|_| UnixStream::connect(&path).unwrap()).collect();
    host.until_logged("accept failed");
    let (ticks, start) = (cpu_ticks(host.pid()), now());
    let mut pings = 0;
    while start.elapsed() < SECOND {
        first.ping();
        pings += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    let ticks = cpu_ticks(host.pid()) - ticks;
    assert!(ticks < 20, "{ticks} ticks in a second are spinning ({pings} pings)");
    assert!(host.log().matches("accept failed").count() < 20, "{}", host.log());
    assert!(
        !host.log().contains("cannot be served"),
        "every peer that was accepted: {}",
        host.log()
    );
    drop(crowd);
    let mut late = Wire::connect(&socket);
    late.handshake("late");
    first.ping();
    host.stop();
}

#[test]
fn r21_a_reader_that_stops_is_held_back_then_cut() {
    let host = Host::serve(&["--listen", "tcp://127.0.0.1:0"]);
    let address = host.addresses(1).remove(0);
    let mut other = Wire::connect(&address);
    other.handshake("reads");
    let before = descriptors(host.pid());
    let memory = resident(host.pid());

    let mut deaf = TcpStream::connect(address.strip_prefix("tcp://").unwrap()).unwrap();
    deaf.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let body = json!({ "tool_name": "echo", "arguments": { "text": "z".repeat(64 * 1024) } });
    let mut sent = 0_usize;
    // Until nothing goes any more.
    let sent = loop {
        let line = with_envelope("tool/call/req", &format!("d{sent}"), body.clone());
        match deaf.write_all(line.as_bytes()) {
            Ok(()) => sent += line.len(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break sent;
            }
            Err(error) => panic!("cut too early: {error}"),
        }
        assert!(sent < 1 << 30, "it is never held back");
    };
    let start = now();
    let mut most = 0;
    while descriptors(host.pid()) > before {
        assert!(start.elapsed() < PATIENCE, "it is never cut");
        let asked = now();
        other.ping();
        assert_eq!(other.tool("echo", json!({ "n": 1 }))["data"]["data"]["n"], 1);
        assert!(asked.elapsed() < SECOND, "others wait {:?}", asked.elapsed());
        most = most.max(resident(host.pid()));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(start.elapsed() > 8 * SECOND, "cut after {:?} already", start.elapsed());
    let grown = most.saturating_sub(memory);
    assert!(grown < 64 << 20, "{grown} bytes more for {sent} that were sent");
    other.ping();
    host.stop();
}

#[test]
fn r10_an_endless_line_costs_no_memory() {
    let (mut host, mut wire) = Host::stdio(&[]);
    wire.handshake("endless");
    let memory = resident(host.pid());
    let block = vec![b'x'; 1 << 20];
    for _ in 0..100 {
        assert!(wire.try_send(&block));
    }
    assert!(wire.try_send(b"\n"));
    let error = wire.next().unwrap();
    assert_eq!((&error["code"], &error["req_id"]), (&json!("line_too_long"), &json!("")));
    wire.ping();
    let grown = resident(host.pid()).saturating_sub(memory);
    assert!(grown < 48 << 20, "{grown} bytes more");
    wire.finish();
    assert!(wire.rest().is_empty());
    assert_eq!(host.code(PATIENCE), Some(0));
}

#[test]
fn an_idle_host_rests() {
    let place = Place::new();
    let host = Host::at_socket(&place, &[]);
    let mut wires: Vec<Wire> = (0..20).map(|_| Wire::connect(&place.socket())).collect();
    for wire in &mut wires {
        wire.handshake("idle");
        assert_eq!(wire.tool("sleep", json!({ "ms": 1 }))["data"]["success"], true);
    }
    let (ticks, start) = (cpu_ticks(host.pid()), now());
    until(PATIENCE, "a second of rest", || start.elapsed() > SECOND);
    let ticks = cpu_ticks(host.pid()) - ticks;
    assert!(ticks <= 3, "{ticks} ticks in a second of rest");
    host.stop();
}

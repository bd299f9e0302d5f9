//! Whatever ends: no server is left, and no call without an answer (R35).

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{config, program};
use crate::process::support::proc_fs::{carrying, token};
use crate::process::support::program::{Host, PATIENCE, Place, until};
use crate::process::support::wire::Wire;

/// A host over stdio with two servers that carry this token.
fn host(place: &Place, token: &str) -> (Host, Wire) {
    let program = program();
    let server = |mode: &str| format!("{{command: [python3, {program:?}, {mode}, {token:?}]}}");
    let servers = format!("{{one: {}, two: {}}}", server("well"), server("stubborn"));
    let (host, mut wire) = Host::stdio(&["-c", &place.config(&config(&servers))]);
    wire.handshake("killer");
    for id in ["one", "two"] {
        let reply = wire.tool(&format!("{id}__echo"), json!({ "text": "x" }));
        assert_eq!(reply["data"]["data"]["text"], "x", "{reply}");
    }
    (host, wire)
}

/// The processes of a server; guards carry no token.
fn pid_of(wire: &mut Wire, id: &str) -> i32 {
    let reply = wire.tool(&format!("{id}__env"), json!({}));
    let told: Value =
        serde_json::from_str(reply["data"]["data"]["text"].as_str().unwrap()).unwrap();
    i32::try_from(told["pid"].as_i64().unwrap()).unwrap()
}

/// Has a call under way that goes on for hours.
fn under_way(wire: &mut Wire) -> String {
    let body = json!({ "tool_name": "one__slow", "arguments": { "steps": 1_000_000 },
                       "streaming": true, "timeout": 300 });
    let id = wire.send("tool/call/req", body);
    loop {
        let told = wire.next().expect("its progress");
        if (&told["type"], &told["req_id"]) == (&json!("tool/event"), &json!(id)) {
            return id;
        }
    }
}

#[test]
fn r35_kill_9_of_the_host_leaves_no_server() {
    let (token, place) = (token(), Place::new());
    let (mut host, mut wire) = host(&place, &token);
    wire.start_tool("one__never", json!({}));
    assert!(carrying(&token).len() >= 2, "they run");
    host.kill9();
    until(PATIENCE, "no server is left", || carrying(&token).is_empty());
}

#[test]
fn r35_the_end_of_the_agent_leaves_no_server() {
    let (token, place) = (token(), Place::new());
    let (mut host, wire) = host(&place, &token);
    drop(wire);
    host.wait(PATIENCE);
    until(PATIENCE, "no server is left", || carrying(&token).is_empty());
}

#[test]
fn every_call_is_answered_when_a_server_is_killed_again_and_again() {
    let (token, place) = (token(), Place::new());
    let (_host, mut wire) = host(&place, &token);
    for _ in 0..3 {
        let pid = pid_of(&mut wire, "one");
        let calls: Vec<String> = (0..5).map(|_| under_way(&mut wire)).collect();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        for id in calls {
            let reply = wire.reply_to(&id);
            assert_eq!(
                (&reply["code"], &reply["retryable"]),
                (&json!("mcp_server_unavailable"), &json!(true)),
                "{reply}"
            );
        }
        // The other one has seen nothing of it.
        let reply = wire.tool("two__echo", json!({ "text": "y" }));
        assert_eq!(reply["data"]["data"]["text"], "y");
    }
}

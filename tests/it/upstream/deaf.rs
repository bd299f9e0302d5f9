//! A server that stops reading its input: calls end all the same, nothing piles up, the others go on.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{PATIENCE, config, program};
use crate::process::support::proc_fs::{carrying, resident, token};
use crate::process::support::program::{Host, Place, until, workspace};
use crate::process::support::wire::Wire;

/// Calls that are made of it while it reads nothing, and bytes of each: far more than may be kept.
const CALLS: usize = 250;
const BYTES: usize = 1 << 20;

/// What may be kept: 16 MiB for the server, 16 MiB of the session in flight, and their copies as values.
const MOST: u64 = 96 << 20;

/// A server over HTTP, killed when dropped.
struct Far(Child, String);

impl Far {
    fn start(token: &str) -> Self {
        let script = workspace().join("a2e-caps/src/mcp/tests/upstream_http.py");
        let mut command = Command::new("python3");
        command.arg(script).args(["well", "", token]).stdout(Stdio::piped());
        let mut child = command.env("PYTHONDONTWRITEBYTECODE", "1").spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self(child, format!("http://127.0.0.1:{}/mcp", port.trim()))
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn ends(wire: &mut Wire, id: &str, code: &str) {
    let reply = wire.reply_to(id);
    assert_eq!((&reply["type"], &reply["code"]), (&json!("error"), &json!(code)), "{reply}");
}

fn other_goes_on(wire: &mut Wire) {
    let reply = wire.tool("other__echo", json!({ "text": "x" }));
    assert_eq!(reply["data"]["data"]["text"], "x", "{reply}");
}

/// Stops the process with this token, and looks at what the host does.
fn goes_deaf(server: &str, token: &str) {
    let place = Place::new();
    let other = format!("{{command: [python3, {:?}, well]}}", program());
    let servers = format!("{{one: {server}, other: {other}}}");
    let (host, mut wire) = Host::stdio(&["-c", &place.config(&config(&servers))]);
    wire.handshake("patient");
    for id in ["one", "other"] {
        let reply = wire.tool(&format!("{id}__echo"), json!({ "text": "x" }));
        assert_eq!(reply["data"]["data"]["text"], "x", "{reply}");
    }
    let stopped = carrying(token);
    let signal = |signal: Signal| {
        for pid in &stopped {
            // It may have been cut off and replaced.
            let _gone = kill(Pid::from_raw(*pid), signal);
        }
    };
    signal(Signal::SIGSTOP);
    let call = |text: &str, more: Value| {
        let arguments = json!({ "text": text });
        let mut body = json!({ "tool_name": "one__echo", "arguments": arguments });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    // By its deadline, and by a cancel.
    let late = wire.send("tool/call/req", call("x", json!({ "timeout": 1 })));
    ends(&mut wire, &late, "timeout");
    let text = "x".repeat(BYTES);
    let before = resident(host.pid());
    for number in 0..CALLS {
        let id = wire.send("tool/call/req", call(&text, json!({})));
        if number % 50 == 0 {
            other_goes_on(&mut wire);
        }
        wire.send("cancel", json!({ "req_id": id }));
        ends(&mut wire, &id, "cancelled");
        let now = resident(host.pid());
        assert!(now < before + MOST, "{} MiB more after {number}", (now - before) >> 20);
    }
    other_goes_on(&mut wire);
    // It reads again; or was cut off meanwhile, and another is started.
    signal(Signal::SIGCONT);
    until(PATIENCE, "it answers again", || {
        let reply = wire.tool("one__echo", json!({ "text": "again" }));
        reply["data"]["data"]["text"] == "again"
    });
    host.stop();
}

#[test]
fn a_server_that_stops_reading_holds_up_nobody_over_stdio() {
    let token = token();
    let server = format!("{{command: [python3, {:?}, well, {token:?}]}}", program());
    goes_deaf(&server, &token);
    until(PATIENCE, "no server is left", || carrying(&token).is_empty());
}

#[test]
fn a_server_that_stops_reading_holds_up_nobody_over_http() {
    let token = token();
    let far = Far::start(&token);
    goes_deaf(&format!("{{url: {:?}}}", far.1), &token);
}

#[test]
fn a_server_that_asks_without_end_and_reads_no_answer_is_held_back() {
    let place = Place::new();
    let server = format!("{{one: {{command: [python3, {:?}, well]}}}}", program());
    // 10 KiB in each answer: 500 MiB, if all of them were kept.
    let root = format!("{{uri: \"file:///srv\", name: {:?}}}", "x".repeat(10 << 10));
    let settings = format!("{}\n      roots: [{root}]\n", config(&server).trim_end());
    let (host, mut wire) = Host::stdio(&["-c", &place.config(&settings)]);
    wire.handshake("patient");
    let before = resident(host.pid());
    let flood = wire.start_tool("one__flood", json!({}));
    let (mut last, mut same) = (Value::Null, 0);
    // It asks until it is held back, or has asked all.
    while same < 40 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let now = resident(host.pid());
        assert!(now < before + MOST, "{} MiB more", (now - before) >> 20);
        let told = wire.call("mcp/server/list/req", json!({}))["servers"][0]["stderr"].clone();
        same = if told == last { same + 1 } else { 0 };
        last = told;
    }
    wire.send("cancel", json!({ "req_id": flood }));
    ends(&mut wire, &flood, "cancelled");
    host.stop();
}

#[test]
fn a_host_ends_while_a_server_reads_nothing() {
    let (token, place) = (token(), Place::new());
    let server = format!("{{one: {{command: [python3, {:?}, well, {token:?}]}}}}", program());
    let (host, mut wire) = Host::stdio(&["-c", &place.config(&config(&server))]);
    wire.handshake("patient");
    let text = "x".repeat(BYTES);
    wire.start_tool("one__deaf", json!({}));
    let more = wire.start_tool("one__echo", json!({ "text": text }));
    wire.ping();
    host.stop();
    assert_eq!(wire.reply_to(&more)["type"], "error");
    until(PATIENCE, "no server is left", || carrying(&token).is_empty());
}

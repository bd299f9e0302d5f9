//! `a2e serve --stdio`: a whole session in, a whole session out, whatever stdin and stdout are.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::program::{Host, PATIENCE, Place, a2e, now, run, workspace};
use super::support::wire::{Wire, is_terminal, with_envelope};

const CONFIG: &str = "a2e-server/examples/minimal.yaml";
const SESSION: &str = "a2e-server/examples/session.ndjson";

fn session() -> String {
    std::fs::read_to_string(workspace().join(SESSION)).unwrap()
}

fn example() -> Command {
    a2e(&["serve", "--stdio", "-c", CONFIG])
}

fn messages(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// What the example session must have got.
fn check(messages: &[Value]) {
    let reply = |id: &str| {
        let is_reply = |it: &&Value| it["req_id"] == id && is_terminal(it);
        let found: Vec<_> = messages.iter().filter(is_reply).collect();
        assert_eq!(found.len(), 1, "exactly one answer to {id}: {found:?}");
        found[0]
    };
    assert_eq!((&reply("1")["type"], &reply("1")["ok"]), (&"handshake/resp".into(), &true.into()));
    let names: Vec<_> = reply("2")["tools"].as_array().unwrap().iter().collect();
    assert!(names.iter().any(|tool| tool["name"] == "read_file"), "{names:?}");
    let licence = std::fs::read_to_string(workspace().join("LICENSE")).unwrap();
    assert!(reply("3")["data"].to_string().contains(licence.lines().next().unwrap()));
    assert_eq!(reply("4")["data"]["data"]["sent"], 3);
    let of_stream = messages.iter().filter(|it| it["req_id"] == "4" && !is_terminal(it));
    let seq: Vec<_> = of_stream.map(|event| event["seq"].clone()).collect();
    assert_eq!(seq, [0, 1, 2]);
    assert_eq!(reply("5")["memory_id"].as_str().map(str::len), Some(32));
    let stored = reply("6");
    assert_eq!(stored["stored"], json!([{ "city": "Oslo" }]), "{stored}");
    let found = reply("7");
    assert_eq!(found["entries"][0]["content"], "rain on Monday", "{found}");
    assert_eq!(reply("8")["ok"], true);
    let output = messages.iter().filter(|it| it["type"] == "proc/read/event");
    let output: Vec<_> = output.map(|it| (&it["data"], &it["stream_type"])).collect();
    for (data, stream) in [
        (json!({ "text": "one\n" }), "stdout"),
        (json!({ "text": "two\n" }), "stderr"),
        (json!({ "code": 3 }), "stderr"),
    ] {
        assert!(output.contains(&(&data, &stream.into())), "{data} in {output:?}");
    }
    assert_eq!(output.len(), 3);
    assert_eq!(reply("9")["code"], "unknown_tool");
    assert_eq!(reply("10")["type"], "pong");
    let terminal = messages.iter().filter(|it| is_terminal(it)).count();
    assert_eq!(terminal, 10, "one answer for each request");
}

#[test]
fn r17_the_example_session_from_a_file_to_a_pipe() {
    let start = now();
    let output = run(example().stdin(File::open(workspace().join(SESSION)).unwrap()));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    check(&messages(std::str::from_utf8(&output.stdout).unwrap()));
    for line in std::str::from_utf8(&output.stderr).unwrap().lines() {
        let _log: Value = serde_json::from_str(line).expect("logs are JSON where nobody looks on");
    }
}

#[test]
fn r17_the_example_session_from_a_file_to_a_file() {
    let place = Place::new();
    let out = place.path("out");
    let input = File::open(workspace().join(SESSION)).unwrap();
    let mut host = Host::start(example().stdin(input).stdout(File::create(&out).unwrap()));
    assert_eq!(host.code(Duration::from_secs(3)), Some(0), "{}", host.log());
    check(&messages(&std::fs::read_to_string(out).unwrap()));
}

#[test]
fn r17_the_example_session_over_pipes() {
    let (mut host, mut wire) = Host::with_pipes(&mut example());
    assert!(wire.try_send(session().as_bytes()));
    wire.finish();
    check(&wire.rest());
    assert_eq!(host.code(Duration::from_secs(3)), Some(0), "{}", host.log());
}

#[test]
fn r17_the_example_session_over_one_socket_pair() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stdin = OwnedFd::from(theirs.try_clone().unwrap());
    let mut command = example();
    command.stdin(Stdio::from(stdin)).stdout(Stdio::from(OwnedFd::from(theirs)));
    let mut host = Host::start(&mut command);
    // The command holds the host's end open.
    drop(command);
    let mut wire = Wire::unix_stream(ours);
    assert!(wire.try_send(session().as_bytes()));
    wire.finish();
    check(&wire.rest());
    assert_eq!(host.code(Duration::from_secs(3)), Some(0), "{}", host.log());
}

#[test]
fn r15_a_stderr_that_nobody_reads_holds_nothing_up() {
    let mut command = example();
    command.env("A2E_LOG", "trace").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut wire = Wire::pipes(child.stdin.take().unwrap(), child.stdout.take().unwrap());
    wire.handshake("quiet");
    // Far more than the pipe of the log holds.
    for round in 0..10 {
        let ids: Vec<_> = (0..500).map(|n| wire.start_tool("echo", json!({ "n": n }))).collect();
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(wire.reply_to(id)["data"]["data"]["n"], n, "round {round}");
        }
    }
    let start = now();
    wire.finish();
    assert!(wire.rest().is_empty());
    let status =
        super::support::program::until_some(PATIENCE, "the end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn r15_a_closed_stderr_holds_nothing_up() {
    let mut command = example();
    command.env("A2E_LOG", "trace").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    let mut wire = Wire::pipes(child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for _ in 0..500 {
        wire.ping();
    }
    wire.finish();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn r17_at_the_end_of_input_what_runs_on_is_answered_shutting_down() {
    let (mut host, mut wire) = Host::stdio(&[]);
    wire.handshake("hasty");
    for _ in 0..20 {
        wire.start_tool("sleep", json!({ "ms": 60_000 }));
    }
    wire.ping();
    let start = now();
    wire.finish();
    let rest = wire.rest();
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
    assert!(start.elapsed() > Duration::from_millis(1900), "{:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(rest.len(), 20);
    assert!(rest.iter().all(|it| it["code"] == "shutting_down"), "{rest:?}");
}

#[test]
fn r17_at_the_end_of_input_what_ends_in_time_is_answered() {
    let (mut host, mut wire) = Host::stdio(&[]);
    wire.handshake("patient");
    let id = wire.start_tool("sleep", json!({ "ms": 300 }));
    wire.finish();
    assert_eq!(wire.reply_to(&id)["data"]["success"], true);
    assert_eq!(host.code(Duration::from_secs(3)), Some(0));
}

#[test]
fn r17_the_drain_is_as_long_as_asked_for() {
    for (drain, ms, expected) in [("0", 5000, "shutting_down"), ("0.2", 5000, "shutting_down")] {
        let (mut host, mut wire) = Host::stdio(&["--drain", drain]);
        wire.handshake("drained");
        let id = wire.start_tool("sleep", json!({ "ms": ms }));
        wire.ping();
        let start = now();
        wire.finish();
        assert_eq!(wire.reply_to(&id)["code"], expected, "--drain {drain}");
        assert_eq!(host.code(PATIENCE), Some(0));
        assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
    }
}

#[test]
fn r44_shutdown_finishes_what_runs_and_ends_the_process() {
    let (mut host, mut wire) = Host::stdio(&[]);
    wire.handshake("polite");
    let short = wire.start_tool("sleep", json!({ "ms": 200 }));
    let long = wire.start_tool("sleep", json!({ "ms": 60_000 }));
    wire.send("shutdown", json!({ "timeout": 1 }));
    let refused = wire.call("tool/list/req", json!({}));
    assert_eq!(refused["code"], "shutting_down");
    assert_eq!(wire.reply_to(&short)["data"]["success"], true);
    assert_eq!(wire.reply_to(&long)["code"], "shutting_down");
    assert!(wire.rest().is_empty());
    assert_eq!(host.code(Duration::from_secs(3)), Some(0), "its input is still open");
}

#[test]
fn r17_the_end_of_input_wins_over_a_longer_shutdown() {
    let (mut host, mut wire) = Host::stdio(&["--drain", "0.3"]);
    wire.handshake("both");
    let id = wire.start_tool("sleep", json!({ "ms": 60_000 }));
    wire.send("shutdown", json!({ "timeout": 60 }));
    let start = now();
    wire.finish();
    assert_eq!(wire.reply_to(&id)["code"], "shutting_down");
    assert_eq!(host.code(Duration::from_secs(3)), Some(0));
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
}

#[test]
fn r40_an_id_may_be_used_again_as_soon_as_its_answer_is_there() {
    let place = Place::new();
    for run in ["inline", "pool", "blocking", "future"] {
        let config = place.config(&format!(
            "plugins: [{{name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin, \
             metadata: {{run: {run}}}}}]\n"
        ));
        let (mut host, mut wire) = Host::stdio(&["-c", &config]);
        wire.handshake("thrifty");
        // Long enough that the answer leaves before the batch is complete.
        let text = "x".repeat(4096);
        for n in 0..500 {
            let arguments = json!({ "n": n, "text": text });
            let body = json!({ "tool_name": "echo", "arguments": arguments });
            assert!(wire.try_send(with_envelope("tool/call/req", "same", body).as_bytes()));
            let reply = wire.next().unwrap();
            assert_eq!(
                (&reply["req_id"], &reply["data"]["data"]["n"]),
                (&"same".into(), &n.into())
            );
        }
        wire.finish();
        assert_eq!(host.code(PATIENCE), Some(0));
    }
}

#[test]
fn r17_a_reader_that_stops_does_not_keep_the_process() {
    let mut child = example()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Several answers, each longer than a pipe holds; nobody reads them.
    for n in 0..3 {
        let arguments = json!({ "text": "x".repeat(200_000) });
        let body = json!({ "tool_name": "echo", "arguments": arguments });
        let line = with_envelope("tool/call/req", &n.to_string(), body);
        std::io::Write::write_all(&mut stdin, line.as_bytes()).unwrap();
    }
    let start = now();
    drop(stdin);
    let status =
        super::support::program::until_some(PATIENCE, "the end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn streams_that_are_closed_or_go_away_end_the_host() {
    for script in [
        "exec \"$0\" serve --stdio <&-",
        "echo '{\"type\":\"ping\",\"id\":\"1\"}' | \"$0\" serve --stdio >&-",
        "\"$0\" serve --stdio </dev/null 2>&-",
        "(while echo '{\"type\":\"ping\"}'; do :; done) | \"$0\" serve --stdio | head -n 1 >/dev/null",
    ] {
        let mut command = Command::new("bash");
        command.args(["-c", script, super::support::program::A2E]).current_dir(workspace());
        let output = run(command.stdin(Stdio::null()));
        assert_eq!(output.status.code(), Some(0), "{script}: {output:?}");
    }
}

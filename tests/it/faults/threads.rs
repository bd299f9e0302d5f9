//! A host that can start no more threads answers, and serves again when it can (B15).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::PATIENCE;

const A2E: &str = env!("CARGO_BIN_EXE_a2e-under-test");

/// A user that runs nothing else: the limit counts all threads of a user, and not those of root.
const NOBODY_ELSE: u32 = 54_321;

/// The program over stdio, as an ordinary user.
struct Program {
    child: Child,
    lines: Receiver<String>,
    next_id: usize,
}

/// A command that runs as an ordinary user.
fn ordinary(program: &str) -> Command {
    let mut command = Command::new(program);
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY_ELSE).gid(NOBODY_ELSE);
    }
    command.current_dir("/").stdin(Stdio::null()).stderr(Stdio::null());
    command
}

impl Program {
    fn start(config: &str) -> Self {
        let mut command = ordinary(A2E);
        command.args(["serve", "--stdio", "-c", config]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, next_id: 1 }
    }

    /// Sends a request and gives its answer; `None` at the end of the stream.
    fn call(&mut self, kind: &str, mut body: Value) -> Option<Value> {
        let id = format!("q{}", self.next_id);
        self.next_id += 1;
        body["type"] = json!(kind);
        body["id"] = json!(id);
        writeln!(self.child.stdin.as_mut()?, "{body}").ok()?;
        loop {
            let line = self.lines.recv_timeout(PATIENCE).ok()?;
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["req_id"] == json!(id) {
                return Some(message);
            }
        }
    }

    fn echo(&mut self) -> Option<Value> {
        let body = json!({ "tool_name": "echo", "arguments": { "n": 1 }, "timeout": 5 });
        self.call("tool/call/req", body)
    }

    /// How many threads the user of the program may have; `unlimited` for as many as ever.
    fn limit_threads(&self, count: &str) -> bool {
        let (pid, limit) = (self.child.id().to_string(), format!("--nproc={count}:"));
        let set = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
        set.is_ok_and(|status| status.success())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended before.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Why it cannot be tried here.
fn obstacle() -> Option<&'static str> {
    let runs = |command: &mut Command| {
        command.stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if !runs(Command::new("prlimit").arg("--version")) {
        return Some("no `prlimit` here");
    }
    (!runs(ordinary(A2E).arg("--version"))).then_some("no ordinary user may run the program")
}

#[test]
fn b15_a_host_without_threads_answers_and_recovers() {
    if let Some(why) = obstacle() {
        println!("skipped: {why}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // The ordinary user reads it, too.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let file = folder.path().join("a2e.yaml");
    for run in ["blocking", "pool", "future"] {
        let config = format!(
            "plugins:\n  - name: demo\n    type: tools\n    \
             cls: a2e.caps.demo.plugin.DemoToolPlugin\n    \
             metadata: {{run: {run}, permits: 2}}\n"
        );
        std::fs::write(&file, config).unwrap();
        let mut program = Program::start(file.to_str().unwrap());
        let pong = program.call("ping", json!({})).expect("it serves");
        assert_eq!(pong["type"], "pong");
        if !program.limit_threads("1") {
            println!("skipped: the limit of another process cannot be set");
            return;
        }
        // More than there are permits, so that one that is lost is missed.
        for number in 0..6 {
            let answer = program.echo();
            let answer = answer.unwrap_or_else(|| panic!("{run}: {number} got no answer"));
            let is_refused = answer["type"] == "error" && answer["code"] != "timeout";
            let is_served = answer["type"] == "tool/call/resp";
            assert!(is_served || is_refused, "{run} {number}: {answer}");
        }
        let pong = program.call("ping", json!({})).expect("it serves");
        assert_eq!(pong["type"], "pong", "{run}");
        assert!(program.limit_threads("unlimited"));
        for number in 0..6 {
            let answer = program.echo().unwrap_or_else(|| panic!("{run}: no answer afterwards"));
            assert_eq!(answer["type"], "tool/call/resp", "{run} {number} afterwards: {answer}");
        }
        drop(program.child.stdin.take());
        let mut rest = String::new();
        while let Ok(line) = program.lines.recv_timeout(Duration::from_secs(5)) {
            rest.push_str(&line);
        }
        assert_eq!(rest, "", "{run}: nothing comes unasked");
    }
}

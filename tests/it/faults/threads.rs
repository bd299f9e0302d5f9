//! A host that can start no more threads answers, and serves again when it can (B15).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use super::skipped;
use crate::support::PATIENCE;

const A2E: &str = env!("CARGO_BIN_EXE_a2e-under-test");

/// A user without other processes: the limit counts all threads of a user, and none of root.
const ORDINARY_USER: u32 = 54_321;

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
        command.uid(ORDINARY_USER).gid(ORDINARY_USER);
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

    /// How many threads the user of the program may have, as far as the program is concerned.
    fn limit_threads(&self, count: &str) -> bool {
        let (pid, limit) = (self.child.id().to_string(), format!("--nproc={count}:"));
        // By the same user: in a container not even root may do that to another.
        let set = ordinary("prlimit").args(["--pid", &pid, &limit]).status();
        set.is_ok_and(|status| status.success())
    }

    /// The most that may be set.
    fn most_threads(&self) -> String {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let line = limits.lines().find(|it| it.starts_with("Max processes")).unwrap();
        line.split_whitespace().nth(3).unwrap().to_owned()
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

/// As long as an idle thread for blocking work is kept, and a little: the next one has to be made.
const IDLE: Duration = Duration::from_secs(11);

#[test]
fn b15_a_host_without_threads_answers_and_recovers() {
    if let Some(why) = obstacle() {
        skipped(why);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // The ordinary user reads it, too.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // All at once, because each waits.
    let runs = ["blocking", "pool", "future"].map(|run| {
        let file = folder.path().join(format!("{run}.yaml"));
        std::thread::spawn(move || one_kind(run, &file))
    });
    let failed: Vec<String> = runs
        .into_iter()
        .filter_map(|run| run.join().err())
        .map(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
        .collect();
    assert_eq!(failed, [""; 0]);
}

fn one_kind(run: &str, file: &Path) {
    let config = format!(
        "plugins:\n  - name: demo\n    type: tools\n    \
         cls: a2e.caps.demo.plugin.DemoToolPlugin\n    metadata: {{run: {run}, permits: 2}}\n"
    );
    std::fs::write(file, config).unwrap();
    let mut program = Program::start(file.to_str().unwrap());
    let pong = program.call("ping", json!({})).expect("it serves");
    assert_eq!(pong["type"], "pong");
    std::thread::sleep(IDLE);
    let most = program.most_threads();
    if !program.limit_threads("1") {
        skipped("the limit of another process cannot be set");
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
    let pong = program.call("ping", json!({})).unwrap_or_else(|| panic!("{run}: no pong"));
    assert_eq!(pong["type"], "pong", "{run}");
    assert!(program.limit_threads(&most));
    for number in 0..6 {
        let answer = program.echo().unwrap_or_else(|| panic!("{run}: no answer afterwards"));
        assert_eq!(answer["type"], "tool/call/resp", "{run} {number} afterwards: {answer}");
    }
}

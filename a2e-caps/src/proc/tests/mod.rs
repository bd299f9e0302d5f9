//! `proc/*` from client to process and back, with real processes.

#![allow(clippy::print_stdout, reason = "measured figures, shown with --nocapture")]

#[cfg(feature = "client")]
mod client;
mod early;
mod ends;
mod flow;
mod input;
mod isolation;
mod limits;
mod output;
mod spawn;

use std::path::PathBuf;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};

const CLS: &str = "a2e.caps.proc.plugin.ProcPlugin";

/// What must happen, happens within this.
const PATIENCE: Duration = Duration::from_secs(10);

/// The example `guard`, which `cargo test` builds beside the test programs.
fn guard() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().parent().unwrap().join("examples/guard");
    assert!(path.exists(), "build it first: cargo build -p a2e-caps --example guard");
    path
}

/// The plugin with programs that the tests need.
fn plugin() -> PluginConfig {
    let allowed = ["sh", "bash", "python3", "sleep", "cat", "ls", "env", "no-such-program"];
    PluginConfig::new("runner", "proc", CLS).with_setting("allowed_commands", allowed)
}

async fn host() -> TestHost {
    host_with(plugin()).await
}

async fn host_with(plugin: PluginConfig) -> TestHost {
    start(HostConfig::new().plugin(plugin)).await
}

async fn start(config: HostConfig) -> TestHost {
    TestHost::build(Executor::builder(config).guard(guard()).lenient()).await.unwrap()
}

fn sh(script: &str) -> Value {
    json!({ "cmd": ["sh", "-c", script] })
}

/// Starts a process that must start; gives its id.
async fn spawn(session: &mut TestSession, request: Value) -> String {
    let reply = session.call("proc/spawn/req", request).await;
    assert_eq!(reply["type"], "proc/spawn/resp", "{reply}");
    assert_eq!((&reply["ok"], &reply["error"]), (&json!(true), &json!("")), "{reply}");
    assert_eq!(reply["code"], json!(null), "{reply}");
    reply["proc_id"].as_str().unwrap().to_owned()
}

/// Starts nothing; gives the reason.
async fn refusal(session: &mut TestSession, request: Value) -> String {
    let reply = session.call("proc/spawn/req", request).await;
    assert_eq!(reply["type"], "proc/spawn/resp", "{reply}");
    assert_eq!(
        (&reply["ok"], &reply["proc_id"], &reply["pid"]),
        (&json!(false), &json!(""), &json!(0)),
        "{reply}"
    );
    let why = reply["error"].as_str().unwrap();
    let codes = [
        ("Empty command", "schema_violation"),
        ("Command not allowed", "tool_denied"),
        ("Too many processes", "proc_limit"),
    ];
    let code =
        codes.iter().find(|(text, _)| why.starts_with(text)).map_or("runtime_error", |it| it.1);
    assert_eq!(reply["code"], code, "{reply}");
    why.to_owned()
}

async fn status(session: &mut TestSession, id: &str) -> String {
    let reply = session.call("proc/status/req", json!({ "proc_id": id })).await;
    assert_eq!(reply["proc_id"], id, "{reply}");
    reply["status"].as_str().unwrap().to_owned()
}

async fn write(session: &mut TestSession, id: &str, data: &str, eof: bool) -> Value {
    let request = json!({ "proc_id": id, "data": data, "eof": eof });
    session.call("proc/write/req", request).await
}

async fn kill(session: &mut TestSession, id: &str, signal: &str) -> Value {
    session.call("proc/kill/req", json!({ "proc_id": id, "signal": signal })).await
}

/// The next event of this process; of others, none may come.
async fn event(session: &mut TestSession, id: &str) -> Value {
    let event = session.next().await.expect("the session stands");
    assert_eq!(event["type"], "proc/read/event", "{event}");
    assert_eq!(event["proc_id"], id, "{event}");
    event
}

/// All that a process has told when it has ended.
#[derive(Debug, Default, PartialEq)]
struct Told {
    stdout: Vec<String>,
    stderr: Vec<String>,
    /// `None`: killed.
    code: Option<i64>,
}

/// Reads events until the end of this process, and checks the rules that hold for all.
async fn told(session: &mut TestSession, id: &str) -> Told {
    told_from(session, id, 0).await
}

async fn told_from(session: &mut TestSession, id: &str, mut seq: u64) -> Told {
    let mut told = Told::default();
    loop {
        let event = event(session, id).await;
        assert_eq!(event["seq"], seq, "{event}");
        seq += 1;
        let stream = event["stream_type"].as_str().unwrap();
        match (event["data"]["text"].as_str(), event["data"]["code"].as_i64()) {
            (Some(text), None) if stream == "stdout" => told.stdout.push(text.to_owned()),
            (Some(text), None) if stream == "stderr" => told.stderr.push(text.to_owned()),
            (None, Some(code)) => {
                assert_eq!(stream, if code == 0 { "stdout" } else { "stderr" }, "{event}");
                told.code = Some(code);
                return told;
            }
            (None, None) => {
                assert_eq!((stream, &event["data"]), ("killed", &json!({})), "{event}");
                return told;
            }
            _ => panic!("{event}"),
        }
    }
}

/// Runs a script to its end.
async fn run(session: &mut TestSession, script: &str) -> Told {
    let id = spawn(session, sh(script)).await;
    told(session, &id).await
}

/// A number of seconds that no other process sleeps.
fn token() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(100);
    format!("6{:07}{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// How many processes sleep this many seconds.
fn sleepers(token: &str) -> usize {
    let line = format!("sleep\0{token}\0");
    let entries = std::fs::read_dir("/proc").unwrap();
    let sleeps = |path: PathBuf| std::fs::read(path).is_ok_and(|it| it == line.as_bytes());
    entries.filter(|entry| sleeps(entry.as_ref().unwrap().path().join("cmdline"))).count()
}

/// Waits until this holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "never: {what}");
}

//! `multi_agent/*` and `SUBAGENT_*`, with the built-in worker and with real programs.

mod bad_input;
#[cfg(feature = "client")]
mod client;
mod ends;
mod program;
mod tasks;

use std::path::PathBuf;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};

const CLS: &str = "a2e.caps.subagents.plugin.SubagentPlugin";

/// What must happen, happens within this.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program for tasks whose instruction says what it does; it speaks A2E with nothing but the standard library.
const WORKER: &str = r#"
import itertools, json, os, sys, time
ids = itertools.count()
def send(it): print(json.dumps(it), flush=True)
def ask(kind, **fields):
    own = "own%d" % next(ids)
    send({"type": kind, "id": own, **fields})
    for line in iter(sys.stdin.readline, ""):
        it = json.loads(line)
        if it.get("req_id") == own: return it
notes = []
for line in iter(sys.stdin.readline, ""):
    it = json.loads(line)
    if it["type"] == "SUBAGENT_EVENT": notes.append(it["content"])
    if it["type"] != "SUBAGENT_DELEGATE_REQ": continue
    what, me = it["task"]["instruction"], it["subagent_id"]
    done = {"type": "SUBAGENT_AWAIT_RESP", "req_id": it["id"], "subagent_id": me}
    if what == "fail": send({**done, "status": "FAILED", "error": "no luck"})
    elif what == "hang": time.sleep(600)
    elif what == "crash": print("last words", file=sys.stderr, flush=True); os._exit(7)
    elif what == "garbage": print("{nonsense", flush=True); send({**done, "status": "COMPLETED"})
    elif what == "flood":
        for n in range(20000): print("x" * 100, flush=False)
        send({**done, "status": "COMPLETED", "result": {"flooded": True}})
    elif what == "wrong": send({**done, "status": "RUNNING"})
    elif what == "odd": send({**done, "result": {}})
    elif what == "error": send({"type": "error", "req_id": it["id"], "code": "runtime_error", "message": "refused"})
    elif what == "huge": send({**done, "status": "COMPLETED", "result": {"x": "x" * 300000}})
    elif what == "notes": send({**done, "status": "COMPLETED", "result": {"notes": notes}})
    elif what.startswith("{"):
        asked = json.loads(what)
        send({**done, "status": "COMPLETED", "result": {"reply": ask(asked.pop("type"), **asked)}})
    else:
        result = {"echo": it["task"], "agent": it["agent"], "pid": os.getpid(), "env": os.environ["A2E_SUBAGENT_ID"]}
        send({**done, "status": "COMPLETED", "result": result})
"#;

/// The example `guard`, which `cargo test` builds beside the test programs.
fn guard() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().unwrap().parent().unwrap().join("examples/guard")
}

fn plugin() -> PluginConfig {
    PluginConfig::new("agents", "multi_agent", CLS)
}

fn program() -> PluginConfig {
    plugin().with_setting("command", ["python3", "-c", WORKER])
}

async fn start(plugin: PluginConfig) -> (TestHost, TestSession) {
    let others = [
        PluginConfig::new("demo", "tools", "a2e.caps.demo.plugin.DemoToolPlugin"),
        PluginConfig::new("memory", "memory", "a2e.caps.memory.plugin.MemoryPlugin"),
        PluginConfig::new("proc", "proc", "a2e.caps.proc.plugin.ProcPlugin"),
    ];
    let config = others.into_iter().fold(HostConfig::new().plugin(plugin), HostConfig::plugin);
    let host = TestHost::build(Executor::builder(config).guard(guard())).await.unwrap();
    let session = host.session();
    (host, session)
}

/// Spawns what must be spawned.
async fn spawn(session: &mut TestSession, more: Value) -> String {
    let mut agent = json!({ "name": "n", "model": "m" });
    agent.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let reply = session.call("SUBAGENT_SPAWN_REQ", json!({ "agent": agent })).await;
    assert_eq!(
        (&reply["type"], &reply["status"]),
        (&json!("SUBAGENT_SPAWN_RESP"), &json!("READY")),
        "{reply}"
    );
    let id = reply["subagent_id"].as_str().unwrap();
    assert!(id.starts_with("sub_"), "{id}");
    id.to_owned()
}

async fn delegate(session: &mut TestSession, id: &str, instruction: &str) -> Value {
    let task = json!({ "name": "t", "instruction": instruction });
    session.call("SUBAGENT_DELEGATE_REQ", json!({ "subagent_id": id, "task": task })).await
}

async fn settled(session: &mut TestSession, id: &str) -> Value {
    let reply = session.call("SUBAGENT_AWAIT_REQ", json!({ "subagent_id": id })).await;
    assert_eq!(
        (&reply["type"], &reply["subagent_id"]),
        (&json!("SUBAGENT_AWAIT_RESP"), &json!(id)),
        "{reply}"
    );
    reply
}

/// Gives a task that must be taken and waits for its end.
async fn done(session: &mut TestSession, id: &str, instruction: &str) -> Value {
    let reply = delegate(session, id, instruction).await;
    assert_eq!(
        (&reply["accepted"], &reply["status"]),
        (&json!(true), &json!("RUNNING")),
        "{reply}"
    );
    settled(session, id).await
}

/// The events of a subagent that came so far.
fn events(session: &mut TestSession, id: &str) -> Vec<String> {
    let all = session.others().into_iter();
    let own = all.filter(|it| it["type"] == "SUBAGENT_EVENT" && it["subagent_id"] == id);
    own.map(|it| it["event"].as_str().unwrap().to_owned()).collect()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("{what}"));
}

fn is_alive(pid: &Value) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

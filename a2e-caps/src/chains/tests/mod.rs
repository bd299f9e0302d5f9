//! `chain/*` from client to nodes and back.

#[cfg(feature = "client")]
mod client;
mod ends;
mod offered;
mod refusals;
mod runs;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::executor::Builder;
use a2e_core::plugin::{Declared, Handlers, Host, Plugin, RawReply};
use a2e_core::request::TypeSpec;
use a2e_core::testing::{TestHost, TestSession};
use a2e_core::{Error, Executor, Result};
use serde_json::{Value, json};

use crate::tools::contract::{Tool, ToolCall, ToolSet};

const CLS: &str = "a2e.caps.chains.plugin.ChainPlugin";

/// What must happen, happens within this.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the tools of the tests have done.
#[derive(Debug, Default)]
struct Seen {
    calls: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
    dropped: AtomicUsize,
}

/// Counts a call as running until it is dropped.
struct Counted(Arc<Seen>, bool);

impl Counted {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.calls.fetch_add(1, Ordering::SeqCst);
        let running = seen.running.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(running, Ordering::SeqCst);
        Self(Arc::clone(seen), false)
    }

    fn finish(mut self) {
        self.1 = true;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        if !self.1 {
            self.0.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Work {
    item: i64,
    #[serde(default)]
    ms: u64,
}

/// `work` gives its item times ten after some time, and fails at negative ones.
fn tools(seen: &Arc<Seen>) -> ToolSet {
    let seen = Arc::clone(seen);
    ToolSet::new([Tool::future("work", "", move |it: Work, _: ToolCall| {
        let counted = Counted::new(&seen);
        async move {
            tokio::time::sleep(Duration::from_millis(it.ms)).await;
            counted.finish();
            match it.item {
                0.. => Ok(it.item * 10),
                _ => Err(Error::runtime(format!("{} is negative", it.item))),
            }
        }
    })])
}

/// Answers `skill/call/req` as a skill plugin does.
struct Skills;

impl Plugin for Skills {
    fn handlers(_: &mut Handlers<Self>) {}

    fn start(&self, host: &Host) -> Result<()> {
        let spec = TypeSpec::request("skill/call/req", "skill/call/resp");
        host.declare(Declared::new().future(spec, |body, _call| async move {
            let request: Value = serde_json::from_str(body.text()).unwrap();
            let reply = match request["name"].as_str().unwrap() {
                "greet" => json!({ "name": "greet", "data": {
                    "success": true, "duration_ms": 0, "events": [],
                    "data": { "text": format!("hello {}", request["arguments"]["who"].as_str().unwrap()) },
                } }),
                "refuses" => json!({ "data": { "success": false, "duration_ms": 0, "events": [],
                    "error": "not today", "error_code": "skill_error" } }),
                "breaks" => json!({ "data": null, "error": { "code": "skill_error", "message": "broken" } }),
                "left" => json!({ "data": { "success": true, "duration_ms": 0, "events": [],
                    "data": { "timeout": request["timeout"] } } }),
                "garbage" => json!({ "data": 5 }),
                _ => return Err(Error::new(a2e_core::protocol::ErrorCode::UnknownSkill, "unknown")),
            };
            Ok(RawReply::new("skill/call/resp", &reply)?.into())
        }))
    }
}

/// The example `guard`, which `cargo test` builds beside the test programs.
fn guard() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().unwrap().parent().unwrap().join("examples/guard")
}

struct Started {
    host: TestHost,
    session: TestSession,
    seen: Arc<Seen>,
}

async fn start_with(chains: PluginConfig) -> Started {
    start_by(chains, |it| it).await
}

async fn start_by(chains: PluginConfig, by: impl FnOnce(Builder) -> Builder) -> Started {
    let seen = Arc::new(Seen::default());
    let demo = PluginConfig::new("demo", "tools", "a2e.caps.demo.plugin.DemoToolPlugin");
    let tools_plugin = PluginConfig::new("tools", "tools", "a2e.caps.tools.plugin.ToolPlugin");
    let proc = PluginConfig::new("proc", "proc", "a2e.caps.proc.plugin.ProcPlugin")
        .with_setting("allowed_commands", ["sh", "sleep", "cat"]);
    let config =
        [tools_plugin, demo, proc, chains].into_iter().fold(HostConfig::new(), HostConfig::plugin);
    let builder = Executor::builder(config).guard(guard()).plugin(tools(&seen)).plugin(Skills);
    let host = TestHost::build(by(builder)).await.unwrap();
    let session = host.session();
    Started { host, session, seen }
}

async fn start() -> Started {
    start_with(PluginConfig::new("chains", "chains", CLS)).await
}

/// The events of the last chain as `node phase`, in the order in which they came.
fn told(session: &mut TestSession) -> Vec<String> {
    let events = session.others().into_iter().filter(|it| it["type"] == "chain/event");
    let mut seq = 0;
    let told = events.map(|it| {
        assert_eq!((&it["seq"], &it["kind"]), (&json!(seq), &json!("status")), "{it}");
        assert!(it["data"].is_object(), "{it}");
        seq += 1;
        format!("{} {}", it["node_id"].as_str().unwrap(), it["phase"].as_str().unwrap())
    });
    told.collect()
}

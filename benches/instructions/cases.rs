//! The cases: small fixed pieces of work, each repeated.

use std::hint::black_box;
use std::time::Duration;

use a2e_core::audit::{AuditConfig, AuditLog, AuditRecord};
use a2e_core::codec::scan::scan;
use a2e_core::codec::{RawJson, encode_fields};
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::transport::Connection;
use a2e_core::{Clock, Executor, SystemClock};
use benches::Requests;
use serde_json::json;
use tokio::io::AsyncReadExt;

/// A piece of work, done `count` times, and three times as often.
#[derive(Debug)]
pub struct Case {
    pub name: &'static str,
    pub count: u64,
}

pub const ALL: [Case; 14] = [
    Case { name: "codec: check 200 B", count: 2_000 },
    Case { name: "codec: check 64 KiB rows", count: 20 },
    Case { name: "codec: encode 200 B", count: 2_000 },
    Case { name: "codec: encode 64 KiB rows", count: 20 },
    Case { name: "audit: record", count: 4_000 },
    Case { name: "control: ping", count: 500 },
    Case { name: "route: no handler", count: 500 },
    Case { name: "dispatch: inline 200 B", count: 500 },
    // The start of 200 plugins differs by a million instructions from run to run, hence the many messages.
    Case { name: "dispatch: inline 200 B, 200 plugins", count: 4_000 },
    Case { name: "dispatch: inline 200 B, 10,000 sessions", count: 4_000 },
    Case { name: "dispatch: inline 200 B, 100,000 before", count: 4_000 },
    Case { name: "dispatch: pool 200 B", count: 1_000 },
    Case { name: "dispatch: future 200 B", count: 1_000 },
    Case { name: "dispatch: future 200 B, 999 wait", count: 4_000 },
];

/// What a host is given to do.
struct Load {
    plugins: usize,
    /// Sessions besides the one that works, which only sends one message each.
    sessions: usize,
    /// Messages of the session before those that are counted.
    before: u64,
    /// How the messages begin; none for those of the echo tool.
    head: Option<&'static str>,
    /// Where the echo tool runs.
    run: &'static str,
    /// Requests that are in flight at a time, and how many of them may run.
    window: u64,
    may_run: usize,
}

const INLINE: Load = Load {
    plugins: 1,
    sessions: 0,
    before: 0,
    head: None,
    run: "inline",
    window: 50,
    may_run: 256,
};

pub fn run(case: &str, count: u64) -> Result<(), String> {
    match case {
        "codec: check 200 B" => check(&line(&json!({ "text": "x".repeat(120) })), count),
        "codec: check 64 KiB rows" => check(&line(&rows()), count),
        "codec: encode 200 B" => encode(&json!({ "text": "x".repeat(120) }), count),
        "codec: encode 64 KiB rows" => encode(&rows(), count),
        "audit: record" => audit(count),
        "control: ping" => {
            exchange(&Load { head: Some(r#"{"type":"ping","id":"#), ..INLINE }, count)
        }
        "route: no handler" => {
            exchange(&Load { head: Some(r#"{"type":"not/there/req","id":"#), ..INLINE }, count)
        }
        "dispatch: inline 200 B" => exchange(&INLINE, count),
        "dispatch: inline 200 B, 200 plugins" => exchange(&Load { plugins: 200, ..INLINE }, count),
        "dispatch: inline 200 B, 10,000 sessions" => {
            exchange(&Load { sessions: 10_000, ..INLINE }, count)
        }
        "dispatch: inline 200 B, 100,000 before" => {
            exchange(&Load { before: 100_000, ..INLINE }, count)
        }
        "dispatch: pool 200 B" => exchange(&Load { run: "pool", ..INLINE }, count),
        "dispatch: future 200 B" => exchange(&Load { run: "future", ..INLINE }, count),
        "dispatch: future 200 B, 999 wait" => {
            exchange(&Load { run: "future", window: 1_000, may_run: 1, ..INLINE }, count)
        }
        _ => Err(format!("no case is named `{case}`")),
    }
}

fn line(arguments: &serde_json::Value) -> Vec<u8> {
    json!({ "type": "tool/call/req", "id": "0", "tool_name": "echo", "arguments": arguments })
        .to_string()
        .into_bytes()
}

fn rows() -> serde_json::Value {
    let row = |n| json!({ "id": n, "name": format!("row {n}"), "score": 0.5, "tags": ["a", "b"] });
    json!({ "rows": (0..1100).map(row).collect::<Vec<_>>() })
}

fn check(line: &[u8], count: u64) -> Result<(), String> {
    (0..count)
        .all(|_| scan(black_box(line)).is_ok())
        .then_some(())
        .ok_or_else(|| "a line is refused".to_owned())
}

fn encode(body: &serde_json::Value, count: u64) -> Result<(), String> {
    let raw = RawJson::parse(body.to_string()).map_err(|error| error.to_string())?;
    let fields = std::collections::BTreeMap::from([("data", raw)]);
    let mut out = Vec::new();
    for _ in 0..count {
        out.clear();
        encode_fields(black_box(&fields), &mut out).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Records of small requests, as many to a write as a busy session has answers in a batch.
fn audit(count: u64) -> Result<(), String> {
    const BATCH: u64 = 25;

    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let config = AuditConfig::new(folder.path().join("audit.jsonl"));
    let log = AuditLog::open(config).map_err(|error| error.to_string())?;
    let clock = SystemClock::new();
    for number in 0..count {
        let record = AuditRecord {
            session_id: "3f2a9c5b7d1e4860a1b2c3d4e5f60718",
            req_id: "00000042",
            kind: "tool/call/req",
            plugin: Some("demo"),
            input_bytes: 200,
            output_bytes: 400,
            ..AuditRecord::at(clock.now())
        };
        log.append(black_box(&record));
        if number % BATCH == 0 && !log.commit() {
            return Err("the audit file cannot be written".to_owned());
        }
    }
    Ok(())
}

/// Sends messages to a whole host in this thread.
fn exchange(load: &Load, count: u64) -> Result<(), String> {
    a2e_caps::link();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("a runtime: {error}"))?;
    runtime.block_on(async {
        let mut config = HostConfig::new().plugin(
            PluginConfig::new("demo", "tools", "a2e.caps.demo.plugin.DemoToolPlugin")
                .with_setting("priority", 10)
                .with_setting("run", load.run),
        );
        config.limits.max_in_flight = load.may_run;
        for number in 1..load.plugins {
            let cls = "a2e.caps.memory.plugin.MemoryPlugin";
            config = config.plugin(PluginConfig::new(format!("memory{number}"), "memory", cls));
        }
        let started = Executor::builder(config).start().await;
        let executor = started.map_err(|error| format!("a host: {error}"))?;
        let mut others = Vec::new();
        for _ in 0..load.sessions {
            let mut other = executor.connect();
            answered(&mut other, b"{\"type\":\"ping\",\"id\":\"1\"}\n", 1).await?;
            others.push(other);
        }
        let mut connection = executor.connect();
        let mut requests = Requests::echo(200);
        for round in 0..(load.before + count) / load.window {
            let mut lines = Vec::new();
            for number in 0..load.window {
                match load.head {
                    None => lines.extend_from_slice(requests.take(1)),
                    Some(head) => {
                        let id = round * load.window + number;
                        lines.extend_from_slice(format!("{head}\"{id:08}\"}}\n").as_bytes());
                    }
                }
            }
            answered(&mut connection, &lines, load.window).await?;
        }
        drop((connection, others));
        executor.shutdown(Duration::ZERO).await;
        Ok(())
    })
}

/// Sends a window of lines, which fits into the transport, and waits for as many answers.
async fn answered(
    connection: &mut Connection,
    lines: &[u8],
    mut missing: u64,
) -> Result<(), String> {
    let written = connection.sink.try_write(lines).map_err(|error| error.to_string())?;
    if written != lines.len() {
        return Err("a window does not fit into the transport".to_owned());
    }
    let mut block = vec![0; 64 * 1024];
    while missing > 0 {
        let read = connection.source.read(&mut block).await.map_err(|error| error.to_string())?;
        if read == 0 {
            return Err("the host has ended".to_owned());
        }
        let bytes = block.get(..read).unwrap_or_default();
        missing = missing.saturating_sub(memchr::memchr_iter(b'\n', bytes).count() as u64);
    }
    Ok(())
}

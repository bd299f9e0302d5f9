//! Clients of MCP that stop reading, over stdio.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::PATIENCE;
use crate::process::support::proc_fs::{lives, resident};
use crate::process::support::program::{A2E, Place, a2e_at, until};

/// Calls, and bytes of each answer: several times what may be kept.
const CALLS: usize = 3000;
const BYTES: usize = 200_000;

/// What may be kept: 448 answers with their copies on the way are 200 MiB, and as much for what the allocator keeps.
/// All answers would be 600 MiB and their copies.
const MOST: u64 = 400 << 20;

const CONFIG: &str = "
plugins:
  - {name: tools, type: tools, cls: a2e.caps.tools.plugin.ToolPlugin, metadata: {roots: [\"{}\"]}}
";

/// A client that asks and does not read.
struct Deaf {
    host: Child,
    output: BufReader<ChildStdout>,
    asked: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
    /// Gives back the input, whose end would be that of the host.
    asks: Option<JoinHandle<ChildStdin>>,
}

impl Deaf {
    fn start(place: &Place) -> Self {
        std::fs::write(place.path("long.txt"), "x".repeat(BYTES)).unwrap();
        let args = ["serve", "--mcp", "-c", &place.config(CONFIG)];
        let mut command = a2e_at(Path::new(A2E), &args);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut host = command.spawn().unwrap();
        let mut input = host.stdin.take().unwrap();
        let output = BufReader::new(host.stdout.take().unwrap());
        let client = json!({ "name": "deaf", "version": "1" });
        let params =
            json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
        let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
        writeln!(input, "{hello}").unwrap();
        let (asked, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, is_over) = (Arc::clone(&asked), Arc::clone(&enough));
        let asks = std::thread::spawn(move || {
            for id in 1..=CALLS {
                let params = json!({ "name": "read_file", "arguments": { "path": "long.txt" } });
                let call =
                    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
                // An error: the host has ended.
                if is_over.load(Ordering::Acquire) || writeln!(input, "{call}").is_err() {
                    break;
                }
                count.store(id, Ordering::Release);
            }
            input
        });
        Self { host, output, asked, enough, asks: Some(asks) }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.host.id()).unwrap()
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the host has ended");
        serde_json::from_str(&line).unwrap()
    }

    /// Waits until the host takes no more calls, or has taken all.
    fn held_back(&self) {
        let before = resident(self.pid());
        let (mut last, mut same) = (0, 0);
        while same < 40 {
            std::thread::sleep(Duration::from_millis(50));
            let now = resident(self.pid());
            assert!(now < before + MOST, "{} MiB more after {last} calls", (now - before) >> 20);
            let asked = self.asked.load(Ordering::Acquire);
            same = if asked == last { same + 1 } else { 0 };
            last = asked;
        }
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Release);
        let _gone = self.host.kill();
        let _reaped = self.host.wait();
        drop(self.asks.take().unwrap().join());
    }
}

#[test]
fn r21_a_client_that_stops_reading_is_held_back_and_answered_when_it_reads() {
    let place = Place::new();
    let mut client = Deaf::start(&place);
    client.held_back();
    client.enough.store(true, Ordering::Release);
    let mut answered = vec![0; CALLS + 1];
    let mut count = 0;
    loop {
        let is_last = client.asks.as_ref().unwrap().is_finished();
        if count == client.asked.load(Ordering::Acquire) {
            if is_last {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let answer = client.next();
        let Some(id) = answer["id"].as_u64().filter(|id| *id > 0) else { continue };
        answered[usize::try_from(id).unwrap()] += 1;
        count += 1;
        // Refused, retryable, where too many were asked at once.
        assert!(answer["result"].is_object(), "{answer}");
    }
    assert!(
        answered.iter().skip(1).take(count).all(|times| *times == 1),
        "each call has one answer"
    );
}

#[test]
fn r44_a_host_ends_though_its_client_reads_nothing() {
    let place = Place::new();
    let client = Deaf::start(&place);
    client.held_back();
    let pid = client.pid();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    until(PATIENCE, "the host ends", || !lives(pid));
}

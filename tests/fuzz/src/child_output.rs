//! What a child writes, as `proc/read/event` tells it: every byte, in order, in lines of text.
//!
//! One child copies a named pipe to its output, so that an input costs no start of a process; some
//! inputs get a child of their own and end without a newline. The first byte of an input says how
//! much stands before the rest, so that the longest line is cut at any byte of it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::children::Tail;
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::random::Random;
use crate::scratch;

/// Bytes of one line; a longer one is told in parts.
const MAX_LINE: usize = 64 << 10;

/// Ends the output of one input.
const END: &str = "-- the end of this input --\n";

/// A host, a session with the child that copies, and the other end of its pipe.
struct Bench {
    runtime: Runtime,
    _host: TestHost,
    wire: Mutex<Wire>,
    file: PathBuf,
    _folder: TempDir,
}

struct Wire {
    session: TestSession,
    pipe: File,
    /// The id of the request that started the child, which its events carry.
    spawn: String,
    seq: u64,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    a2e_caps::link();
    let folder = scratch::folder();
    let (fifo, file) = (folder.path().join("pipe"), folder.path().join("file"));
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo makes a named pipe");
    let runtime = scratch::runtime();
    let proc = PluginConfig::new("proc", "proc", "a2e.caps.proc.plugin.ProcPlugin")
        .with_setting("allowed_commands", json!(["cat"]));
    let builder = Executor::builder(HostConfig::new().plugin(proc));
    let host = runtime.block_on(TestHost::build(builder.drain(Duration::from_millis(20))));
    let host = host.expect("the host starts");
    let mut session = host.session();
    let spawn = runtime.block_on(spawn(&mut session, &fifo));
    let pipe = OpenOptions::new().write(true).open(&fifo).expect("the child reads");
    let wire = Mutex::new(Wire { session, pipe, spawn, seq: 0 });
    Bench { runtime, _host: host, wire, file, _folder: folder }
});

/// Starts `cat` over a file; returns the id of the request.
async fn spawn(session: &mut TestSession, file: &std::path::Path) -> String {
    let body = json!({ "cmd": ["cat", file], "stdin_mode": "null" });
    let id = session.send("proc/spawn/req", body).await;
    let answer = session.reply_to(&id).await;
    assert_eq!(answer["ok"], true, "{answer}");
    id
}

/// Has a child write the input.
pub fn run(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else { return };
    let mut output = match first {
        0..=223 => Vec::new(),
        224..=239 => vec![b'x'; MAX_LINE - usize::from(first - 224)],
        _ => "€".repeat((MAX_LINE - usize::from(first - 240)) / 3).into_bytes(),
    };
    output.extend_from_slice(rest);
    tails(&output);

    let bench = &*BENCH;
    let mut wire = bench.wire.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(first, 127 | 255) {
        fs::write(&bench.file, &output).expect("the scratch folder can be written");
        let lines = bench.runtime.block_on(wire.one_child(&bench.file));
        told(&output, &lines);
        return;
    }
    let mut random = Random::of(data);
    let longest = [output.len().max(1), 9000, 7][random.below(3)];
    // A pipe holds 64 KiB; what does not fit waits until the host has read.
    let lines = std::thread::scope(|scope| {
        let Wire { session, pipe, spawn, seq } = &mut *wire;
        let mut pipe = &*pipe;
        let mut pieces = random.pieces(&output, longest.max(output.len() / 64));
        pieces.extend([&b"\n"[..], END.as_bytes()]);
        let writer = move || pieces.iter().try_for_each(|piece| pipe.write_all(piece));
        let writer = scope.spawn(writer);
        let lines = bench.runtime.block_on(until_end(session, spawn, seq));
        writer.join().expect("no panic").expect("the child reads");
        lines
    });
    output.push(b'\n');
    told(&output, &lines);
}

/// The lines of the child that copies, up to the end of this input.
async fn until_end(session: &mut TestSession, spawn: &str, seq: &mut u64) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let event = session.next().await.expect("the host tells");
        let text = text(&event, spawn, seq).expect("the child runs");
        if text == END {
            return lines;
        }
        lines.push(text);
    }
}

/// The line of an event, or none at the end of the child.
fn text(event: &Value, spawn: &str, seq: &mut u64) -> Option<String> {
    assert_eq!((&event["type"], &event["req_id"]), (&json!("proc/read/event"), &json!(spawn)));
    assert_eq!(event["seq"], *seq, "{event}");
    assert_eq!(event["stream_type"], "stdout", "{event}");
    *seq += 1;
    let text = event["data"]["text"].as_str().map(str::to_owned);
    assert!(text.is_some() || event["data"]["code"] == 0, "{event}");
    text
}

impl Wire {
    /// All lines of a child that writes a file and ends.
    async fn one_child(&mut self, file: &std::path::Path) -> Vec<String> {
        let (id, mut seq) = (spawn(&mut self.session, file).await, 0);
        let mut lines = Vec::new();
        loop {
            let event = self.session.next().await.expect("the host tells");
            match text(&event, &id, &mut seq) {
                Some(line) => lines.push(line),
                None => return lines,
            }
        }
    }
}

/// Whether the lines say what the child wrote.
fn told(output: &[u8], lines: &[String]) {
    let mut parts = lines.iter();
    for line in output.split_inclusive(|byte| *byte == b'\n') {
        // Cut at the bound, up to three bytes before it where a character goes over it; anywhere
        // between characters where the rest came late.
        let mut rest = line;
        while !rest.is_empty() {
            let part = parts.next().expect("each part is told");
            let end = length_of(rest, part.chars().count());
            assert!((1..=MAX_LINE).contains(&end), "another part: {part:?}");
            assert_eq!(*part, String::from_utf8_lossy(&rest[..end]));
            // A cut that splits a character would show as two marks of what is no text.
            let before = String::from_utf8_lossy(&rest[..end]).into_owned();
            let whole = before + &String::from_utf8_lossy(&rest[end..]);
            assert_eq!(whole, String::from_utf8_lossy(rest), "a character was cut");
            rest = &rest[end..];
        }
    }
    assert_eq!(parts.next(), None, "nothing else is told");
}

/// The bytes of the first characters, of which each piece that is no text is one.
fn length_of(bytes: &[u8], characters: usize) -> usize {
    let pieces = bytes.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid().chars().map(char::len_utf8);
        valid.chain(Some(chunk.invalid().len()).filter(|length| *length > 0))
    });
    pieces.take(characters).sum()
}

/// What keeps only the last lines of what comes.
fn tails(output: &[u8]) {
    let mut random = Random::of(output);
    let (whole, split) = (Tail::default(), Tail::default());
    whole.push(output);
    random.pieces(output, 400).into_iter().for_each(|piece| split.push(piece));
    assert_eq!(whole.lines(), split.lines(), "pieces change nothing");
}

//! A client's lines at a host in memory, with the plugins `demo`, `tools` and `memory`.
//!
//! Each line that is owed an answer gets exactly one, each line of the host is strict JSON with a
//! text for a type, no event follows the answer of its request, and the host answers a ping at the
//! end. `@MEMORY@` in an input stands for the id of a memory that was opened for it.

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::codec::scan::{Key, Scanned, scan};
use a2e_core::codec::{Envelope, Incoming, decode};
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::protocol::{Cancel, Shutdown};
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::random::Random;
use crate::scratch;

/// The id of the ping behind each script.
const LAST_ID: &str = "ping-behind-the-script";

/// The host of all inputs of a process.
struct Bench {
    runtime: Runtime,
    host: TestHost,
    _folder: TempDir,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    a2e_caps::link();
    let folder = scratch::folder();
    std::fs::write(folder.path().join("notes.txt"), "one\ntwo\nthree\n").expect("a file");
    std::fs::write(folder.path().join("raw.bin"), [0, 159, 146, 150]).expect("a file");
    std::fs::create_dir(folder.path().join("sub")).expect("a folder");
    let plugin = |name: &str, kind: &str, cls: &str| {
        PluginConfig::new(name, kind, format!("a2e.caps.{name}.plugin.{cls}"))
    };
    let roots = json!([folder.path()]);
    let mut config = HostConfig::new()
        .plugin(plugin("demo", "tools", "DemoToolPlugin"))
        .plugin(plugin("tools", "tools", "ToolPlugin").with_setting("roots", roots))
        .plugin(plugin("memory", "memory", "MemoryPlugin"));
    // Sessions that can be resumed would pile up.
    config.session_ttl = Duration::ZERO;
    let runtime = scratch::runtime();
    let builder = Executor::builder(config).drain(Duration::from_millis(2));
    let host = runtime.block_on(TestHost::build(builder)).expect("the host starts");
    Bench { runtime, host, _folder: folder }
});

/// Plays the input to the host, in a session of its own.
pub fn run(data: &[u8]) {
    let bench = &*BENCH;
    bench.runtime.block_on(play(&bench.host, data));
}

async fn play(host: &TestHost, data: &[u8]) {
    let mut session = host.session();
    let mut script = data.to_vec();
    if let Some(text) = std::str::from_utf8(data).ok().filter(|text| text.contains("@MEMORY@")) {
        let opened = session.call("memory/init/req", json!({ "namespace": "fuzz" })).await;
        let id = opened["memory_id"].as_str().expect("a memory");
        script = text.replace("@MEMORY@", id).into_bytes();
    }
    let ping = json!({ "type": "ping", "id": LAST_ID });
    script.extend_from_slice(format!("\n{ping}\n").as_bytes());

    let mut due = Due::default();
    script.split(|byte| *byte == b'\n').for_each(|line| due.add(line));
    let mut random = Random::of(data);
    let pieces = match random.below(3) {
        1 if !due.has_ended => random.pieces(&script, 200),
        2 if !due.has_ended => random.pieces(&script, 20),
        // A session that ends may be gone before a second piece.
        _ => vec![&*script],
    };
    for piece in pieces {
        session.send_bytes(piece).await;
        tokio::task::yield_now().await;
    }
    let mut messages = Vec::new();
    if !due.has_ended {
        let answer = session.reply_to(LAST_ID).await;
        assert!(answer["type"] == "pong" || due.ids[LAST_ID].1 > 1, "{answer}");
        messages.push(answer);
    }
    messages.extend(session.finish().await);
    due.check(&messages);
    alive(host.session()).await;
}

async fn alive(mut session: TestSession) {
    let pong = session.call("ping", json!({})).await;
    assert_eq!(pong["type"], "pong", "{pong}");
    session.finish().await;
}

/// What the lines of a script are owed.
#[derive(Debug, Default)]
struct Due {
    /// How many answers come under an id, at least and at most. The empty one is for those that tell
    /// no id of the script: to lines without one, and to lines in which none can be trusted.
    ids: BTreeMap<String, (usize, usize)>,
    /// Lines that were seen: a repeat may be absorbed.
    seen: HashSet<Vec<u8>>,
    /// Whether a line ended the session; what comes behind it may stay without an answer.
    has_ended: bool,
}

impl Due {
    /// Notes what a line is owed. The target `line` checks what is used of the codec here.
    fn add(&mut self, line: &[u8]) {
        if line.iter().all(|byte| b" \t\r".contains(byte)) {
            return;
        }
        let (id, least, most) = match scan(line) {
            Err(_) => (String::new(), 1, 1),
            Ok(scanned) => self.of_object(&scanned),
        };
        let is_new = self.seen.insert(line.to_vec());
        let least = if is_new && !self.has_ended { least } else { 0 };
        let due = self.ids.entry(id).or_default();
        *due = (due.0 + least, due.1 + most);
    }

    fn of_object(&mut self, scanned: &Scanned<'_>) -> (String, usize, usize) {
        let is_error = scanned.get(Key::Kind).as_text() == Some("error");
        let envelope = match Envelope::of(scanned) {
            Ok(envelope) => envelope,
            Err(refused) => return (refused.req_id, usize::from(!is_error), 1),
        };
        let incoming = Incoming::of(scanned);
        let is_silent = match &*envelope.kind {
            "error" => true,
            "cancel" => decode::<Cancel>(incoming).is_ok(),
            "shutdown" => {
                let is_good = decode::<Shutdown>(incoming).is_ok();
                self.has_ended |= is_good;
                is_good
            }
            _ => false,
        };
        let count = usize::from(!is_silent);
        (envelope.id.unwrap_or_default().into_owned(), count, count)
    }

    /// Compares all that came, in its order, with what was owed.
    fn check(&self, messages: &[Value]) {
        let mut counts = BTreeMap::<&str, usize>::new();
        for message in messages {
            let id = self.id_of(message);
            let kind = message["type"].as_str().unwrap_or_default();
            if kind.ends_with("/push") {
                continue;
            }
            let answers = counts.entry(id).or_default();
            if kind.ends_with("/event") {
                let is_only = !id.is_empty() && self.ids[id].1 == 1;
                assert!(!is_only || *answers == 0, "behind its answer: {message}");
                continue;
            }
            *answers += 1;
        }
        for (id, (least, most)) in &self.ids {
            let count = counts.remove(id.as_str()).unwrap_or_default();
            let is_owed = (*least..=*most).contains(&count);
            assert!(is_owed, "{id:?}: {count} answers, {least} to {most} are due: {messages:#?}");
        }
        assert!(counts.is_empty(), "answers that no line asked for: {counts:?} of {messages:#?}");
    }

    /// The id of the script that a message is about, or none of them.
    fn id_of<'a>(&self, message: &'a Value) -> &'a str {
        let req_id = message["req_id"].as_str().unwrap_or_default();
        // Under an id that is in use an error would end the other request.
        let told = if req_id.is_empty() { message["detail"]["id"].as_str() } else { Some(req_id) };
        told.filter(|id| self.ids.contains_key(*id)).unwrap_or_default()
    }
}

//! Streams that nobody reads, and peers that are gone without a word.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{LONG, host, metric, rested};
use crate::faults::skipped;
use crate::network::raw::{Event, Site};
use crate::process::support::proc_fs::{descriptors, resident};
use crate::process::support::program::{Host, PATIENCE, Place, until};

fn echo(text: &str) -> Value {
    json!({ "tool_name": "echo", "arguments": { "text": text } })
}

#[test]
fn r21_a_stream_that_is_never_read_holds_its_own_session_back_and_is_cut() {
    let place = Place::new();
    let (host, site, operator) = host(&place, "");
    let (session, other) = (site.open(), site.open());
    let mut reads = site.stream(&other, None);
    let memory = resident(host.pid());
    let deaf = site.stream(&session, None);
    let with_deaf = rested(&host);
    let text = "z".repeat(64 * 1024);
    let mut taken = 0_u64;
    let refused = loop {
        let reply = site.send(&session, "tool/call/req", &taken.to_string(), echo(&text));
        if reply.status != 200 {
            break reply;
        }
        taken += 1;
        assert!(taken < 4_000, "it is never held back");
        assert_eq!(site.send(&other, "ping", &taken.to_string(), json!({})).status, 200);
        assert_eq!(reads.next().unwrap().message["req_id"], taken.to_string());
    };
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.detail().contains("read its stream"), "{refused:?}");
    assert!(refused.head.to_lowercase().contains("retry-after"), "{refused:?}");
    let grown = resident(host.pid()).saturating_sub(memory);
    assert!(grown < 64 << 20, "{grown} bytes more for {taken} answers");
    assert!(metric(&operator, "a2e_http_answers_total{status=\"503\"}") >= 1);
    // What was kept waits for a stream that is read; what was not is one gap. The last post was refused, and taken in part.
    let mut again = site.stream(&session, Some(0));
    let first = again.next().unwrap();
    let mut last = first.id.unwrap();
    if first.message["type"] == "session/gap/push" {
        assert_eq!(first.message["lost"], last);
    } else {
        assert_eq!(last, 1);
    }
    while last < taken {
        let event = again.next().unwrap();
        last += 1;
        assert_eq!(
            (event.id, &event.message["req_id"]),
            (Some(last), &json!((last - 1).to_string()))
        );
    }
    // Once there is room the same post is taken, and runs once.
    assert_eq!(site.send(&session, "tool/call/req", &taken.to_string(), echo(&text)).status, 200);
    assert_eq!(again.next().unwrap().message["req_id"], taken.to_string());
    drop(again);
    until(LONG, "the deaf stream is cut", || descriptors(host.pid()) < with_deaf);
    drop(deaf);
    host.stop();
}

/// Connects and greets, then lets the system drop every packet that comes: no acknowledgement, no FIN, no reset.
const MUTE: &str = r#"
import ctypes, socket, struct, sys, time
(http, tcp, session), mute = sys.argv[1:], []
stream = socket.create_connection(("127.0.0.1", int(http)))
stream.sendall(f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{http}\r\nX-Session-Id: {session}\r\n\r\n".encode())
frames = socket.create_connection(("127.0.0.1", int(http)))
frames.sendall(f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{http}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
lines = socket.create_connection(("127.0.0.1", int(tcp)))
lines.sendall(b'{"type":"ping","id":"p"}\n')
drop_all = (ctypes.c_char * 8)(*struct.pack("HBBI", 6, 0, 0, 0))
for peer in (stream, frames, lines):
    assert peer.recv(1)
    peer.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HL", 1, ctypes.addressof(drop_all)))
print("mute", flush=True)
time.sleep(600)
"#;

struct Mute(Child);

impl Mute {
    fn start(http: &str, tcp: &str, session: &str) -> Option<Self> {
        let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
        let mut command = Command::new("python3");
        command.args(["-c", MUTE, &port(http), &port(tcp), session]).stdout(Stdio::piped());
        let Ok(mut child) = command.spawn() else {
            skipped("no python3");
            return None;
        };
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "mute\n");
        Some(Self(child))
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn r21_peers_that_vanish_without_a_word_are_noticed_and_nothing_is_lost() {
    let place = Place::new();
    let yaml = format!("operator_token: {}", super::OPERATOR);
    let listen = ["--listen", "http://127.0.0.1:0", "--listen", "tcp://127.0.0.1:0"];
    let host = Host::serve(&[&["-c", &place.config(&yaml)][..], &listen].concat());
    let addresses = host.addresses(2);
    let at = |scheme: &str| addresses.iter().find(|it| it.starts_with(scheme)).unwrap();
    let site = Site::at(at("http"));
    let operator = Site { address: site.address.clone(), token: Some(super::OPERATOR) };
    let session = site.open();
    let sessions = metric(&operator, "a2e_sessions");
    let before = rested(&host);
    let Some(mute) = Mute::start(at("http"), at("tcp"), &session) else { return };
    until(PATIENCE, "all are served", || metric(&operator, "a2e_sessions") == sessions + 2);
    for id in ["a", "b"] {
        assert_eq!(site.send(&session, "ping", id, json!({})).status, 200);
    }
    // The one is sent to, the others are silent: the host asks their system by itself.
    until(LONG, "all three are let go", || descriptors(host.pid()) <= before);
    until(PATIENCE, "two sessions end", || metric(&operator, "a2e_sessions") == sessions);
    let kept: Vec<Event> = site.stream(&session, Some(0)).take(2);
    let ids: Vec<&Value> = kept.iter().map(|it| &it.message["req_id"]).collect();
    assert_eq!(ids, ["a", "b"]);
    drop(mute);
    host.stop();
}

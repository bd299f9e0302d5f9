//! `/ws`: frames as messages, resumed sessions, closes, frames that are none of ours.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::host;
use super::raw::Site;
use crate::process::support::program::{PATIENCE, Place, until};

pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

#[test]
fn r21_a_peer_that_reads_nothing_is_cut_behind_frames_too() {
    let place = Place::new();
    let (host, site) = host(&place, "");
    let mut socket = Socket::open(&site);
    socket.0.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let ping = json!({ "type": "ping", "id": "x".repeat(100) }).to_string();
    // Neither side takes more after some megabytes; when the host gives up, its system says so.
    until(6 * PATIENCE, "the host has cut it", || {
        (0..1000).any(|_| {
            let error = socket.0.write_all(&frame(TEXT, true, ping.as_bytes())).err();
            error.is_some_and(|it| {
                matches!(it.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
            })
        })
    });
    host.stop();
}

/// One frame, masked with zeros.
fn frame(kind: u8, is_last: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![if is_last { 0x80 } else { 0 } | kind];
    match u16::try_from(payload.len()) {
        Ok(length) if length < 126 => frame.push(0x80 | u8::try_from(length).unwrap()),
        Ok(length) => {
            frame.push(0x80 | 0x7e);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 0x7f);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// A WebSocket, frame by frame.
pub(super) struct Socket(TcpStream);

impl Socket {
    pub(super) fn open(site: &Site) -> Self {
        Self::open_at(site, "/ws")
    }

    pub(super) fn open_at(site: &Site, path: &str) -> Self {
        let mut stream = site.connect();
        let headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        stream.write_all(site.head(&format!("GET {path}"), &headers).as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        Self(stream)
    }

    /// Sends one frame.
    pub(super) fn frame(&mut self, kind: u8, is_last: bool, payload: &[u8]) {
        // The host may have closed it before it has read all.
        let _sent = self.0.write_all(&frame(kind, is_last, payload));
    }

    pub(super) fn say(&mut self, wire_type: &str, id: &str, mut body: Value) {
        body["type"] = json!(wire_type);
        body["id"] = json!(id);
        self.frame(TEXT, true, body.to_string().as_bytes());
    }

    /// The next frame; `None` when the connection has ended.
    pub(super) fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut start = [0; 2];
        self.0.read_exact(&mut start).ok()?;
        assert_eq!(start[0] & 0x80, 0x80, "whole frames");
        let mut length = u64::from(start[1]);
        if length == 126 {
            let mut more = [0; 2];
            self.0.read_exact(&mut more).ok()?;
            length = u64::from(u16::from_be_bytes(more));
        } else if length == 127 {
            let mut more = [0; 8];
            self.0.read_exact(&mut more).ok()?;
            length = u64::from_be_bytes(more);
        }
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).ok()?;
        Some((start[0] & 0x0f, payload))
    }

    pub(super) fn message(&mut self) -> Value {
        let (kind, payload) = self.next().expect("a message");
        assert_eq!(kind, TEXT, "{}", String::from_utf8_lossy(&payload));
        serde_json::from_slice(&payload).unwrap()
    }

    /// The code of the close frame that comes next.
    pub(super) fn closed(&mut self) -> u16 {
        let (kind, payload) = self.next().expect("a close frame");
        assert_eq!(kind, CLOSE, "{}", String::from_utf8_lossy(&payload));
        u16::from_be_bytes([payload[0], payload[1]])
    }
}

#[test]
fn a_frame_is_a_message() {
    let place = Place::new();
    let (host, site) = host(&place, "");
    let mut socket = Socket::open(&site);
    socket.say("handshake/req", "h", json!({ "agent_caps": ["tools"] }));
    assert_eq!(socket.message()["accepted_caps"][0]["capability"], "tools");
    // Newlines between tokens are blanks, and fragments are one message.
    socket.frame(TEXT, true, b"{\n\"type\": \"ping\",\r\n\"id\": \"a\"\n}");
    assert_eq!(socket.message()["req_id"], "a");
    socket.frame(TEXT, false, br#"{"type":"ping","#);
    socket.frame(PING, true, b"are you there");
    socket.frame(0, true, br#""id":"b"}"#);
    let (kind, payload) = socket.next().unwrap();
    assert_eq!((kind, payload.as_slice()), (PONG, &b"are you there"[..]));
    assert_eq!(socket.message()["req_id"], "b");
    socket.frame(TEXT, true, b"{");
    assert_eq!(socket.message()["code"], "parse_error");
    let long = "x".repeat(200_000);
    socket.say("tool/call/req", "c", json!({ "tool_name": "echo", "arguments": { "text": long } }));
    let reply = socket.message();
    assert_eq!(reply["data"]["data"]["text"].as_str().map(str::len), Some(long.len()));
    socket.frame(CLOSE, true, &1000_u16.to_be_bytes());
    assert_eq!(socket.closed(), 1000);
    assert!(socket.next().is_none());
    host.stop();
}

#[test]
fn frames_that_are_no_messages_end_the_connection_with_the_reason() {
    let place = Place::new();
    let (host, site) = host(&place, "global_limits: {max_line_bytes: 65536}");
    let rows: [(u8, Vec<u8>, u16); 3] = [
        (BINARY, b"{}".to_vec(), 1003),
        (TEXT, vec![b' '; 70_000], 1009),
        (TEXT, vec![0xff, 0xfe], 1009),
    ];
    for (kind, payload, code) in rows {
        let mut socket = Socket::open(&site);
        socket.frame(kind, true, &payload);
        assert_eq!(socket.closed(), code, "{kind} {}", payload.len());
    }
    host.stop();
}

#[test]
fn r42_calls_of_a_socket_that_is_gone_are_cancelled() {
    let place = Place::new();
    let audit = "audit: {enabled: true, path: '{}/audit.jsonl'}";
    let (host, site) = host(&place, audit);
    let audit = || std::fs::read_to_string(place.path("audit.jsonl")).unwrap_or_default();
    for is_told in [true, false] {
        let before = audit().matches("client_gone").count();
        let mut socket = Socket::open(&site);
        socket.say(
            "tool/call/req",
            "s",
            json!({ "tool_name": "sleep", "arguments": { "ms": 60_000 } }),
        );
        socket.say("ping", "p", json!({}));
        assert_eq!(socket.message()["req_id"], "p");
        if is_told {
            socket.frame(CLOSE, true, b"");
        }
        drop(socket);
        until(PATIENCE, "the call is cancelled", || {
            audit().matches("client_gone").count() > before
        });
    }
    host.stop();
}

#[test]
fn a_session_is_resumed_over_the_next_socket() {
    let place = Place::new();
    let (host, site) = host(&place, "");
    let mut socket = Socket::open(&site);
    socket.say("handshake/req", "h", json!({ "resume": { "session_id": "", "last_seq": 0 } }));
    let session = socket.message()["session_id"].clone();
    for id in ["a", "b"] {
        socket.say("ping", id, json!({}));
        assert_eq!(socket.message()["req_id"], id);
    }
    drop(socket);
    let mut again = Socket::open(&site);
    let resume = json!({ "session_id": session, "last_seq": 1 });
    again.say("handshake/req", "h", json!({ "resume": resume }));
    let reply = again.message();
    assert_eq!((&reply["resumed"], &reply["session_id"]), (&json!(true), &session), "{reply}");
    assert_eq!(again.message()["req_id"], "b", "what was not received comes again");
    host.stop();
}

#[test]
fn sigterm_closes_sockets_in_order() {
    let place = Place::new();
    let (mut host, site) = host(&place, "");
    let mut socket = Socket::open(&site);
    socket.say("ping", "p", json!({}));
    socket.message();
    host.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(socket.closed(), 1000);
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
}

//! A client that speaks raw HTTP/1.1: what is sent is what the test says, byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::{Value, json};

use crate::process::support::program::{PATIENCE, now};

/// The end of a head.
const END: &[u8] = b"\r\n\r\n";

/// One host over HTTP.
pub(super) struct Site {
    pub(super) address: String,
    /// Sent with each request.
    pub(super) token: Option<&'static str>,
}

/// A whole response.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The reason of a refusal, where the reference puts it.
    pub(super) fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap_or_default().to_owned()
    }
}

impl Site {
    /// `http://127.0.0.1:4711`.
    pub(super) fn at(url: &str) -> Self {
        Self { address: url.strip_prefix("http://").unwrap().to_owned(), token: None }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        // Longer than the host lets a post wait.
        stream.set_read_timeout(Some(4 * PATIENCE)).unwrap();
        stream
    }

    /// The head of a request with what every client sends.
    pub(super) fn head(&self, line: &str, headers: &[(&str, &str)]) -> String {
        let mut lines = vec![format!("{line} HTTP/1.1")];
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            lines.push(format!("Host: {}", self.address));
        }
        if let Some(token) = self.token {
            lines.push(format!("Authorization: Bearer {token}"));
        }
        for (name, value) in headers {
            lines.push(format!("{name}: {value}"));
        }
        lines.join("\r\n") + "\r\n\r\n"
    }

    /// Sends raw bytes on a connection of their own, and reads until the end of the response.
    pub(super) fn exchange(&self, bytes: &[u8]) -> Reply {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        read_reply(&mut stream)
    }

    pub(super) fn request(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let length = body.len().to_string();
        let all =
            [headers, &[("Content-Length", length.as_str()), ("Connection", "close")]].concat();
        let mut bytes = self.head(line, &all).into_bytes();
        bytes.extend_from_slice(body);
        self.exchange(&bytes)
    }

    pub(super) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.request(&format!("GET {path}"), headers, b"")
    }

    /// Opens a session and gives its id.
    pub(super) fn open(&self) -> String {
        let reply = self.request("POST /session", &[], b"");
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["session_id"].as_str().unwrap().to_owned()
    }

    /// Sends one message in a session.
    pub(super) fn send(&self, session: &str, wire_type: &str, id: &str, mut body: Value) -> Reply {
        body["type"] = json!(wire_type);
        body["id"] = json!(id);
        self.send_text(session, &body.to_string())
    }

    pub(super) fn send_text(&self, session: &str, text: &str) -> Reply {
        let headers = [("X-Session-Id", session), ("Content-Type", "text/plain")];
        self.request("POST /send", &headers, text.as_bytes())
    }

    /// Opens the stream of a session; `last` is `Last-Event-ID`.
    pub(super) fn stream(&self, session: &str, last: Option<u64>) -> Events {
        let mut headers = vec![("X-Session-Id", session)];
        let last = last.map(|last| last.to_string());
        if let Some(last) = &last {
            headers.push(("Last-Event-ID", last));
        }
        let mut stream = self.connect();
        stream.write_all(self.head("GET /stream", &headers).as_bytes()).unwrap();
        let (head, rest) = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        Events { stream, head, raw: rest, text: String::new() }
    }
}

fn read_head(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut block = [0; 4096];
    loop {
        if let Some(at) = bytes.windows(END.len()).position(|window| window == END) {
            let rest = bytes.split_off(at + END.len());
            return (String::from_utf8(bytes).unwrap(), rest);
        }
        match stream.read(&mut block) {
            Ok(0) => return (String::from_utf8(bytes).unwrap(), Vec::new()),
            Ok(read) => bytes.extend_from_slice(&block[..read]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return (String::from_utf8(bytes).unwrap(), Vec::new());
            }
            Err(error) => panic!("no head: {error}"),
        }
    }
}

/// Reads one response with a `Content-Length`; status 0 when the host just closed.
pub(super) fn read_reply(stream: &mut TcpStream) -> Reply {
    let (head, mut body) = read_head(stream);
    let field = |name: &str| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with(name))?;
        Some(line.split_once(':').unwrap().1.trim().to_owned())
    };
    let length = field("content-length").map_or(0, |length| length.parse().unwrap());
    let mut block = [0; 4096];
    while body.len() < length {
        match stream.read(&mut block) {
            Ok(0) | Err(_) => break,
            Ok(read) => body.extend_from_slice(&block[..read]),
        }
    }
    let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
    Reply { status, head, body: String::from_utf8(body).unwrap() }
}

/// A stream of server-sent events.
pub(super) struct Events {
    stream: TcpStream,
    pub(super) head: String,
    /// Bytes of chunks that are not whole yet.
    raw: Vec<u8>,
    /// Text of events that are not whole yet.
    text: String,
}

/// A look at what was read.
enum Chunk {
    /// More has to be read.
    Part,
    Whole(String),
    Last,
}

/// One event: its number and its message.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) id: Option<u64>,
    pub(super) message: Value,
}

impl Events {
    /// The next event; `None` at the end of the stream.
    pub(super) fn next(&mut self) -> Option<Event> {
        let start = now();
        loop {
            // Comments come as well, so a limit of each read is not enough.
            assert!(start.elapsed() < PATIENCE, "no event in time");
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                match parse(&event) {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            match self.chunk() {
                Chunk::Whole(text) => self.text.push_str(&text),
                Chunk::Last => return None,
                Chunk::Part => {
                    let mut block = [0; 4096];
                    match self.stream.read(&mut block) {
                        Ok(0) => return None,
                        Ok(read) => self.raw.extend_from_slice(&block[..read]),
                        Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                        Err(error) => panic!("no event in time: {error}"),
                    }
                }
            }
        }
    }

    fn chunk(&mut self) -> Chunk {
        let Some(at) = self.raw.windows(2).position(|window| window == b"\r\n") else {
            return Chunk::Part;
        };
        let size = std::str::from_utf8(&self.raw[..at]).unwrap();
        let size = usize::from_str_radix(size, 16).expect("chunked");
        let (from, end) = (at + 2, at + 2 + size);
        if self.raw.len() < end + 2 {
            return Chunk::Part;
        }
        let chunk: Vec<u8> = self.raw.drain(..end + 2).skip(from).take(size).collect();
        if size == 0 { Chunk::Last } else { Chunk::Whole(String::from_utf8(chunk).unwrap()) }
    }

    /// Leaves, and waits until the host has noticed: what it sends from now on waits for the next stream.
    pub(super) fn leave(mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
        while self.next().is_some() {}
    }

    /// The next messages, in order.
    pub(super) fn take(&mut self, count: usize) -> Vec<Event> {
        (0..count).map(|_| self.next().expect("the stream goes on")).collect()
    }
}

/// An event, or nothing for a comment.
fn parse(text: &str) -> Option<Event> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let data = field("data: ")?;
    let id = field("id: ").map(|id| id.parse().unwrap());
    Some(Event { id, message: serde_json::from_str(data).unwrap() })
}

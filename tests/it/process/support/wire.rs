//! An agent that speaks raw lines over pipes and sockets, and sees every line that comes back.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use super::program::PATIENCE;

/// The way to the host.
enum Out {
    Pipe(ChildStdin),
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// One connection.
pub(crate) struct Wire {
    out: Option<Out>,
    lines: Receiver<String>,
    aside: VecDeque<Value>,
    next_id: u32,
}

impl Wire {
    pub(crate) fn pipes(stdin: ChildStdin, stdout: ChildStdout) -> Self {
        Self::over(Out::Pipe(stdin), stdout)
    }

    pub(crate) fn unix_stream(stream: UnixStream) -> Self {
        let read = stream.try_clone().unwrap();
        Self::over(Out::Unix(stream), read)
    }

    /// Connects to an address as `--listen` writes it.
    pub(crate) fn connect(address: &str) -> Self {
        if let Some(path) = address.strip_prefix("unix://") {
            return Self::unix_stream(UnixStream::connect(path).unwrap());
        }
        let stream = TcpStream::connect(address.strip_prefix("tcp://").unwrap()).unwrap();
        stream.set_nodelay(true).unwrap();
        let read = stream.try_clone().unwrap();
        Self::over(Out::Tcp(stream), read)
    }

    fn over(out: Out, read: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(read).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { out: Some(out), lines, aside: VecDeque::new(), next_id: 0 }
    }

    /// Sends bytes as they are; false when the host is gone.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        let sent = match self.out.as_mut().unwrap() {
            Out::Pipe(out) => out.write_all(bytes),
            Out::Unix(out) => out.write_all(bytes),
            Out::Tcp(out) => out.write_all(bytes),
        };
        sent.is_ok()
    }

    /// Sends a message and gives its id.
    pub(crate) fn send(&mut self, wire_type: &str, body: Value) -> String {
        self.next_id += 1;
        let id = format!("q{}", self.next_id);
        let line = with_envelope(wire_type, &id, body);
        assert!(self.try_send(line.as_bytes()), "the host is gone");
        id
    }

    /// The next message; `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Value> {
        match self.aside.pop_front() {
            Some(message) => Some(message),
            None => self.read(),
        }
    }

    fn read(&mut self) -> Option<Value> {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(serde_json::from_str(&line).expect("each line is JSON")),
            Err(Disconnected) => None,
            Err(Timeout) => panic!("nothing came"),
        }
    }

    /// The answer to this request; what comes before it is kept for [`next`](Self::next).
    pub(crate) fn reply_to(&mut self, id: &str) -> Value {
        self.try_reply_to(id).expect("an answer before the end of the stream")
    }

    /// As [`reply_to`](Self::reply_to); `None` when the connection ends before it.
    pub(crate) fn try_reply_to(&mut self, id: &str) -> Option<Value> {
        let is_reply = |message: &Value| message["req_id"] == id && is_terminal(message);
        if let Some(place) = self.aside.iter().position(is_reply) {
            return self.aside.remove(place);
        }
        loop {
            let message = self.read()?;
            if is_reply(&message) {
                return Some(message);
            }
            self.aside.push_back(message);
        }
    }

    /// A request and its answer.
    pub(crate) fn call(&mut self, wire_type: &str, body: Value) -> Value {
        let id = self.send(wire_type, body);
        self.reply_to(&id)
    }

    /// The handshake of an agent of this name.
    pub(crate) fn handshake(&mut self, agent: &str) -> Value {
        let body = json!({ "agent_id": agent, "agent_caps": ["tools", "memory", "proc"] });
        let reply = self.call("handshake/req", body);
        assert_eq!((&reply["type"], &reply["ok"]), (&json!("handshake/resp"), &json!(true)));
        reply
    }

    /// Starts a tool and gives the id of the request.
    pub(crate) fn start_tool(&mut self, tool: &str, arguments: Value) -> String {
        self.send("tool/call/req", json!({ "tool_name": tool, "arguments": arguments }))
    }

    /// Runs a tool.
    pub(crate) fn tool(&mut self, tool: &str, arguments: Value) -> Value {
        let id = self.start_tool(tool, arguments);
        self.reply_to(&id)
    }

    /// Starts a program; gives its id within the session.
    pub(crate) fn spawn(&mut self, cmd: &[&str]) -> Value {
        let reply = self.call("proc/spawn/req", json!({ "cmd": cmd }));
        assert_eq!(reply["ok"], true, "{reply}");
        reply
    }

    /// Checks that the host serves.
    pub(crate) fn ping(&mut self) {
        assert_eq!(self.call("ping", json!({}))["type"], "pong");
    }

    /// Ends our output; the host may still answer.
    pub(crate) fn finish(&mut self) {
        match self.out.take().unwrap() {
            Out::Pipe(out) => drop(out),
            Out::Unix(out) => out.shutdown(Shutdown::Write).unwrap(),
            Out::Tcp(out) => out.shutdown(Shutdown::Write).unwrap(),
        }
    }

    /// Everything that still comes, to the end of the stream.
    pub(crate) fn rest(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// A socket stays open for its reader's copy otherwise.
impl Drop for Wire {
    fn drop(&mut self) {
        match &self.out {
            Some(Out::Unix(out)) => drop(out.shutdown(Shutdown::Both)),
            Some(Out::Tcp(out)) => drop(out.shutdown(Shutdown::Both)),
            _ => {}
        }
    }
}

/// One line of the wire.
pub(crate) fn with_envelope(wire_type: &str, id: &str, mut body: Value) -> String {
    body["type"] = wire_type.into();
    body["id"] = id.into();
    format!("{body}\n")
}

/// Whether a message ends its request.
pub(crate) fn is_terminal(message: &Value) -> bool {
    let wire_type = message["type"].as_str().unwrap();
    !wire_type.ends_with("/event") && !wire_type.ends_with("/push")
}

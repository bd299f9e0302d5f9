//! The connection of `connect`: lines out and in, and the handshake.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::codec::{LineBuffer, LineItem};
use a2e_core::protocol::{CapabilityName, HandshakeResponse};
use a2e_core::transport::{ByteSink, ByteSource, Connection, Identity, from_child};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::Failure;
use crate::commands::target::{Target, TargetArgs, start_own, words};

/// The longest line that is read: the ceiling of the protocol.
const MAX_LINE: usize = 64 << 20;

/// A connection to a host.
pub(super) struct Link {
    source: ByteSource,
    sink: Arc<dyn ByteSink>,
    lines: LineBuffer,
    last_read: usize,
    /// A host inside this process.
    own: Option<Executor>,
    /// A host that was started.
    child: Option<Child>,
}

/// One message of the host.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) text: String,
    pub(super) value: Value,
}

impl Message {
    pub(super) fn kind(&self) -> &str {
        self.text_of("type")
    }

    pub(super) fn req_id(&self) -> &str {
        self.text_of("req_id")
    }

    /// The text in a field; empty where there is none.
    pub(super) fn text_of(&self, key: &str) -> &str {
        self.value.get(key).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Opens the connection.
pub(super) async fn open(args: &TargetArgs) -> Result<Link, Failure> {
    let (mut own, mut child) = (None, None);
    let Connection { source, sink, .. } = match args.target() {
        Target::Running(address) => {
            let opening = tokio::time::timeout(args.limit(), a2e_client::dial(&address)).await;
            let late = || Failure::late(format_args!("cannot reach {address}: no answer in time"));
            opening.map_err(|_| late())??
        }
        Target::Spawned(command) => {
            let (program, words) = words(command)?;
            let mut command = Command::new(program);
            if std::env::var_os("A2E_LOG").is_none() {
                // It shares our stderr, where a healthy host has nothing to say.
                command.env("A2E_LOG", "warn");
            }
            command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
            let failed =
                |error: std::io::Error| Failure::refused(format_args!("{program}: {error}"));
            let child = child.insert(command.spawn().map_err(failed)?);
            let no_pipe = || Failure::internal("a child without its pipes");
            let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
            from_child(stdout.ok_or_else(no_pipe)?, stdin.ok_or_else(no_pipe)?, program)
                .map_err(failed)?
        }
        Target::Own => own.insert(start_own(&args.config).await?).connect_as(Identity::operator()),
    };
    Ok(Link { source, sink, lines: LineBuffer::new(MAX_LINE), last_read: 0, own, child })
}

impl Link {
    /// Shakes hands; what the host says of itself.
    pub(super) async fn greet(
        &mut self,
        token: &str,
        limit: Duration,
    ) -> Result<HandshakeResponse, Failure> {
        let caps: Vec<&str> = CapabilityName::all().collect();
        let hello = json!({
            "type": "handshake/req", "id": "connect", "agent_id": "a2e-connect",
            "agent_caps": caps, "auth_token": token, "client_features": ["early_events"],
        });
        let late = || Failure::late(format_args!("no handshake within {} s", limit.as_secs_f64()));
        let greeted = async {
            let gone = || Failure::refused("the host went away before the handshake");
            // What it said before it went is read below.
            let is_sent = self.send(&hello.to_string()).await.is_ok();
            loop {
                let message = self.next().await?.filter(|_| is_sent).ok_or_else(gone)?;
                if message.kind() == "handshake/resp" || message.req_id() == "connect" {
                    return Ok::<_, Failure>(message);
                }
            }
        };
        let answer = tokio::time::timeout(limit, greeted).await.map_err(|_| late())??;
        if answer.kind() == "error" {
            return Err(Failure::of_error(&answer.text));
        }
        let response: HandshakeResponse =
            serde_json::from_value(answer.value).map_err(Failure::refused)?;
        if !response.ok {
            let text = format!("the host refused the handshake: {}", response.reason);
            return Err(Failure::refused(text));
        }
        Ok(response)
    }

    /// Sends a line.
    pub(super) async fn send(&self, line: &str) -> Result<(), Failure> {
        let lost =
            |error: std::io::Error| Failure::refused(format_args!("connection lost: {error}"));
        let bytes = [line.as_bytes(), b"\n"].concat();
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.sink.try_write(rest) {
                Ok(taken) => sent += taken,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.sink.ready().await.map_err(lost)?;
                }
                Err(error) => return Err(lost(error)),
            }
        }
        Ok(())
    }

    /// The next message; `None` when the host has ended the connection. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, Failure> {
        loop {
            match self.lines.next_item() {
                Some(LineItem::Line(length)) => {
                    let message = read(self.lines.front(length));
                    self.lines.consume(length);
                    return message.map(Some);
                }
                Some(LineItem::TooLong) => {
                    return Err(Failure::refused("the host sent a line that is too long"));
                }
                None => {}
            }
            self.lines.prepare(self.last_read);
            match self.source.read_buf(self.lines.buffer()).await {
                Ok(0) => return Ok(None),
                Ok(read) => self.last_read = read,
                // A host that ends may reset what it did not read.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Ok(None);
                }
                Err(error) => {
                    return Err(Failure::refused(format_args!("connection lost: {error}")));
                }
            }
        }
    }

    /// Nothing more is sent; the host finishes what it accepted.
    pub(super) fn finish(&self) {
        self.sink.close();
    }

    /// Ends a host of our own.
    pub(super) async fn end(mut self, patience: Duration) {
        self.sink.close();
        drop(self.source);
        if let Some(own) = self.own.take() {
            own.shutdown(Duration::ZERO).await;
        }
        if let Some(mut child) = self.child.take() {
            // It was told by the end of its input.
            let ended = async {
                while matches!(child.try_wait(), Ok(None)) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let _in_time = tokio::time::timeout(patience, ended).await;
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}

fn read(line: &[u8]) -> Result<Message, Failure> {
    let broken = |why: &dyn std::fmt::Display| {
        Failure::refused(format_args!("the host sent a line that is no message: {why}"))
    };
    let text = std::str::from_utf8(line).map_err(|error| broken(&error))?;
    let value = serde_json::from_str(text).map_err(|error| broken(&error))?;
    Ok(Message { text: text.trim_end_matches('\r').to_owned(), value })
}

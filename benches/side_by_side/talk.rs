//! How one asks each kind of server for an echo: requests ready to be sent, openings, framings.

use std::io;

use crate::drive::{Counter, Framing, Link, Template};
use crate::shapes::Shape;

/// The language of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// A2E, or anything that sends lines back as they are.
    A2e,
    Mcp,
    /// JSON-RPC with `Content-Length`.
    Lsp,
    /// JSON-RPC in frames of a WebSocket.
    WebSocket,
    Redis,
    Nats,
}

/// Where the id stands until the ring fills it in.
const ID: &str = "00000000";

const INITIALIZE_MCP: &str = r#"{"jsonrpc":"2.0","id":"open","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"side_by_side","version":"1"}}}"#;
const INITIALIZED_MCP: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const INITIALIZE_LSP: &str = r#"{"jsonrpc":"2.0","id":"open","method":"initialize","params":{"processId":null,"rootUri":null,"capabilities":{}}}"#;
const INITIALIZED_LSP: &str = r#"{"jsonrpc":"2.0","method":"initialized","params":{}}"#;
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const CONNECT_NATS: &str = "CONNECT {\"verbose\":false}\r\nSUB _INBOX.* 1\r\nPING\r\n";

impl Talk {
    pub fn framing(self) -> Framing {
        match self {
            Self::A2e | Self::Mcp => Framing::Lines,
            Self::Lsp => Framing::ContentLength,
            Self::WebSocket => Framing::WebSocket,
            Self::Redis => Framing::Resp,
            Self::Nats => Framing::Nats,
        }
    }

    /// What stands before the id in a reply.
    pub fn mark(self, is_raw: bool) -> &'static [u8] {
        match self {
            Self::A2e if is_raw => b"\"id\"",
            Self::A2e => b"\"req_id\"",
            Self::Mcp | Self::Lsp | Self::WebSocket => b"\"id\"",
            Self::Redis => b"\r\n",
            Self::Nats => b"_INBOX.",
        }
    }

    /// The request of an echo.
    pub fn request(self, shape: Shape) -> Template {
        let (arguments, payload) = (shape.arguments(), shape.payload());
        let rpc = |method: &str, params: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":"{ID}","method":"{method}","params":{params}}}"#)
        };
        let text = match self {
            Self::A2e => format!(
                "{{\"type\":\"tool/call/req\",\"id\":\"{ID}\",\"tool_name\":\"echo\",\"arguments\":{arguments}}}\n"
            ),
            Self::Mcp => {
                let tool = if shape == Shape::Rows { "echo_rows" } else { "echo" };
                let params = format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#);
                rpc("tools/call", &params) + "\n"
            }
            Self::Lsp => with_length(&rpc("echo", &arguments)),
            Self::WebSocket => rpc("echo", &arguments),
            Self::Redis => {
                let length = payload.len() + ID.len();
                format!("*2\r\n$4\r\nECHO\r\n${length}\r\n{ID}{payload}\r\n")
            }
            Self::Nats => {
                format!("PUB echo _INBOX.{ID} {}\r\n{payload}\r\n", payload.len())
            }
        };
        let id_at = text.find(ID).unwrap_or_default();
        if self == Self::WebSocket {
            let head = frame_head(text.len());
            return Template {
                id_at: id_at + head.len(),
                bytes: [head, text.into_bytes()].concat(),
            };
        }
        Template { bytes: text.into_bytes(), id_at }
    }

    /// What comes before the first request on a new connection.
    pub fn open(self, link: &mut Link) -> io::Result<()> {
        let is_line = |answer: &[u8]| answer.ends_with(b"\n");
        match self {
            Self::A2e | Self::Redis => {}
            Self::Mcp => {
                link.ask(format!("{INITIALIZE_MCP}\n").as_bytes(), is_line)?;
                link.ask(format!("{INITIALIZED_MCP}\n").as_bytes(), |_| true)?;
            }
            Self::Lsp => {
                let one = |answer: &[u8]| Counter::new(Framing::ContentLength).feed(answer) > 0;
                link.ask(with_length(INITIALIZE_LSP).as_bytes(), one)?;
                link.ask(with_length(INITIALIZED_LSP).as_bytes(), |_| true)?;
            }
            Self::WebSocket => {
                let answer = link.ask(UPGRADE.as_bytes(), |it| it.ends_with(b"\r\n\r\n"))?;
                if !answer.starts_with(b"HTTP/1.1 101") {
                    return Err(io::Error::other("the server refuses a WebSocket"));
                }
            }
            Self::Nats => {
                link.ask(b"", is_line)?;
                link.ask(CONNECT_NATS.as_bytes(), |it| it.ends_with(b"PONG\r\n"))?;
            }
        }
        Ok(())
    }
}

fn with_length(text: &str) -> String {
    format!("Content-Length: {}\r\n\r\n{text}", text.len())
}

/// The head of a client's frame. Its mask is zero, so that the text stands in it as it is; the server
/// takes it off all the same.
fn frame_head(length: usize) -> Vec<u8> {
    let mut head = vec![0x81];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..126), _) => head.push(0x80 | short),
        (_, Ok(medium)) => {
            head.push(0x80 | 0x7e);
            head.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            head.push(0x80 | 0x7f);
            head.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    head.extend_from_slice(&[0; 4]);
    head
}

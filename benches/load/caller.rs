//! A client of one session, in what its server speaks.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::http::{Connection, Rest};

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// The routes of A2E: posts, and answers on a stream.
    A2eHttp,
    /// Lines of A2E over TCP.
    A2eLines,
    /// MCP over streamable HTTP: the answer is the body of the post.
    Mcp,
}

/// What is asked.
#[derive(Clone, Copy)]
pub enum Ask {
    Ping,
    /// A tool that gives its text of 200 bytes back.
    Echo,
}

/// One session with its connections.
pub struct Caller {
    speech: Speech,
    /// Posts, or lines.
    out: Connection,
    /// What comes by itself, beside the posts.
    stream: Option<(Connection, Rest)>,
    /// The header that names the session.
    session: String,
    next: u64,
}

const MCP: &str =
    "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-06-18\r\n";

impl Caller {
    /// Opens a session; with its stream where one is asked for and the server has one.
    pub async fn open(address: SocketAddr, speech: Speech, with_stream: bool) -> io::Result<Self> {
        let mut out = Connection::open(address).await?;
        let session = match speech {
            Speech::A2eLines => {
                out.write(b"{\"type\":\"handshake/req\",\"id\":\"h\",\"agent_id\":\"load\"}\n")
                    .await?;
                line_with(&mut out, "\"h\"").await?;
                String::new()
            }
            Speech::A2eHttp => {
                let (_, text) = out.exchange("POST /session", "", "").await?;
                let value: serde_json::Value = serde_json::from_str(&text)?;
                let id = value.get("session_id").and_then(serde_json::Value::as_str);
                format!("X-Session-Id: {}\r\n", id.unwrap_or_default())
            }
            Speech::Mcp => {
                let body = r#"{"jsonrpc":"2.0","id":"h","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"load","version":"1"}}}"#;
                let (head, _) = out.exchange("POST /mcp", MCP, body).await?;
                let id = head.session.unwrap_or_default();
                let session = format!("{MCP}Mcp-Session-Id: {id}\r\n");
                let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
                out.exchange("POST /mcp", &session, body).await?;
                session
            }
        };
        let mut stream = None;
        if with_stream && speech != Speech::A2eLines {
            let line = if speech == Speech::Mcp { "GET /mcp" } else { "GET /stream" };
            let mut connection = Connection::open(address).await?;
            connection.send(line, &session, "").await?;
            let head = connection.head().await?;
            if head.status != 200 {
                return Err(io::Error::other(format!("{line}: status {}", head.status)));
            }
            stream = Some((connection, head.rest));
        }
        Ok(Self { speech, out, stream, session, next: 0 })
    }

    /// Asks and waits for the answer; gives the time between.
    pub async fn ask(&mut self, ask: Ask) -> io::Result<Duration> {
        self.next += 1;
        let id = format!("\"c{}\"", self.next);
        let text = "x".repeat(200);
        let body = match (self.speech, ask) {
            (Speech::Mcp, Ask::Ping) => format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#),
            (Speech::Mcp, Ask::Echo) => format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"text":"{text}"}}}}}}"#
            ),
            (_, Ask::Ping) => format!(r#"{{"type":"ping","id":{id}}}"#),
            (_, Ask::Echo) => format!(
                r#"{{"type":"tool/call/req","id":{id},"tool_name":"echo","arguments":{{"text":"{text}"}}}}"#
            ),
        };
        let start = Instant::now();
        match (self.speech, &mut self.stream) {
            (Speech::A2eLines, _) => {
                self.out.write(format!("{body}\n").as_bytes()).await?;
                line_with(&mut self.out, &id).await?;
            }
            (Speech::Mcp, _) => {
                let (_, answer) = self.out.exchange("POST /mcp", &self.session, &body).await?;
                if !answer.contains(&id) {
                    return Err(io::Error::other(format!("no answer to {id}: {answer}")));
                }
                has_text(ask, &text, &answer)?;
            }
            (Speech::A2eHttp, Some((stream, rest))) => {
                self.out.send("POST /send", &self.session, &body).await?;
                let answered = async {
                    let mut seen = String::new();
                    while let Some(piece) = stream.piece(rest).await? {
                        seen.push_str(&String::from_utf8_lossy(&piece));
                        if seen.contains(&id) && seen.ends_with("\n\n") {
                            let took = start.elapsed();
                            return has_text(ask, &text, &seen).map(|()| took);
                        }
                    }
                    Err(io::Error::other("the stream ended"))
                };
                let (response, answered) = tokio::join!(self.out.response(), answered);
                response?;
                return answered;
            }
            (Speech::A2eHttp, None) => return Err(io::Error::other("a session without a stream")),
        }
        Ok(start.elapsed())
    }
}

/// An error is an answer as well, but not the one that is measured.
fn has_text(ask: Ask, text: &str, answer: &str) -> io::Result<()> {
    match ask {
        Ask::Echo if !answer.contains(text) => {
            Err(io::Error::other(format!("an answer without the text: {answer}")))
        }
        _ => Ok(()),
    }
}

/// Reads lines up to the one that holds this text.
async fn line_with(connection: &mut Connection, text: &str) -> io::Result<()> {
    loop {
        let length = connection.until(b"\n").await?;
        if String::from_utf8_lossy(&connection.take(length)).contains(text) {
            return Ok(());
        }
    }
}

//! HTTP/1.1 as the servers speak it: a connection that stays, bodies with a length or in chunks.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection.
pub struct Connection {
    stream: TcpStream,
    /// What was read and not taken.
    bytes: Vec<u8>,
    host: String,
}

/// How much of a body is left.
#[derive(Clone, Copy)]
pub enum Rest {
    Length(usize),
    Chunks,
    Nothing,
}

/// The head of a response.
pub struct Head {
    pub status: u16,
    /// Of MCP.
    pub session: Option<String>,
    pub rest: Rest,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, bytes: Vec::new(), host: address.to_string() })
    }

    /// Sends bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends a request; `headers` are whole lines.
    pub async fn send(&mut self, line: &str, headers: &str, body: &str) -> io::Result<()> {
        let (host, length) = (&self.host, body.len());
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{headers}\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.write(request.as_bytes()).await
    }

    pub async fn head(&mut self) -> io::Result<Head> {
        let end = self.until(b"\r\n\r\n").await?;
        let text: Vec<u8> = self.bytes.drain(..end).collect();
        let text = String::from_utf8_lossy(&text).into_owned();
        let field = |name: &str| {
            let line = text.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let status = text.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or_default();
        let rest = match field("content-length").and_then(|it| it.parse().ok()) {
            Some(length) => Rest::Length(length),
            None if field("transfer-encoding").is_some() => Rest::Chunks,
            None => Rest::Nothing,
        };
        Ok(Head { status, session: field("mcp-session-id"), rest })
    }

    /// The next piece of a body; none at its end.
    pub async fn piece(&mut self, rest: &mut Rest) -> io::Result<Option<Vec<u8>>> {
        match *rest {
            Rest::Nothing | Rest::Length(0) => Ok(None),
            Rest::Length(length) => {
                while self.bytes.len() < length {
                    self.fill().await?;
                }
                *rest = Rest::Nothing;
                Ok(Some(self.bytes.drain(..length).collect()))
            }
            Rest::Chunks => {
                let line = self.until(b"\r\n").await?;
                let size: Vec<u8> = self.bytes.drain(..line).collect();
                let size = usize::from_str_radix(String::from_utf8_lossy(&size).trim(), 16);
                let size = size.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
                while self.bytes.len() < size + 2 {
                    self.fill().await?;
                }
                let piece = self.bytes.drain(..size).collect();
                self.bytes.drain(..2);
                if size == 0 {
                    *rest = Rest::Nothing;
                    return Ok(None);
                }
                Ok(Some(piece))
            }
        }
    }

    /// A request and its whole response.
    pub async fn exchange(
        &mut self,
        line: &str,
        headers: &str,
        body: &str,
    ) -> io::Result<(Head, String)> {
        self.send(line, headers, body).await?;
        self.response().await
    }

    /// A whole response.
    pub async fn response(&mut self) -> io::Result<(Head, String)> {
        let mut head = self.head().await?;
        let mut text = String::new();
        while let Some(piece) = self.piece(&mut head.rest).await? {
            text.push_str(&String::from_utf8_lossy(&piece));
        }
        if head.status >= 300 {
            return Err(io::Error::other(format!("status {}: {text}", head.status)));
        }
        Ok((head, text))
    }

    /// Bytes up to the end of this mark.
    pub async fn until(&mut self, mark: &[u8]) -> io::Result<usize> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.bytes, mark) {
                return Ok(at + mark.len());
            }
            self.fill().await?;
        }
    }

    /// Takes bytes off that [`until`](Self::until) found.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        self.bytes.drain(..count).collect()
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.bytes).await? {
            0 => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")),
            _ => Ok(()),
        }
    }
}

//! The client, the same for all: one session, calls one at a time or 32 in flight, each answer looked at.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::histogram::Histogram;
use super::http::Connection;

/// Calls in flight, and connections over HTTP.
const WINDOW: u64 = 32;

/// No answer for so long: it was lost.
const SILENCE: Duration = Duration::from_mins(1);

const HELLO: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
const READY: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const HEADERS: &str =
    "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-06-18\r\n";

/// The calls of a tool that gives its text of 200 bytes back.
#[derive(Clone)]
struct Calls {
    tool: &'static str,
    text: String,
    next: u64,
    step: u64,
}

impl Calls {
    /// As the `number`th of `WINDOW` callers, so that no number is used twice.
    fn of(tool: &'static str, number: u64) -> Self {
        Self { tool, text: "x".repeat(200), next: WINDOW + number, step: WINDOW }
    }

    fn next(&mut self) -> String {
        self.next += self.step;
        let (id, tool, text) = (self.next, self.tool, &self.text);
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{"text":"{text}"}}}}}}"#
        )
    }

    /// Refuses what is not the text.
    fn look_at(&self, answer: &str) -> io::Result<()> {
        let is_it = answer.contains(&self.text) && !answer.contains(r#""isError":true"#);
        if is_it { Ok(()) } else { Err(io::Error::other(format!("no echo: {answer}"))) }
    }
}

/// A session with a contender.
pub enum Talk {
    Pipes(Pipes),
    Http(Vec<Post>),
}

pub struct Pipes {
    input: pipe::Sender,
    output: pipe::Receiver,
    bytes: Vec<u8>,
    calls: Calls,
}

pub struct Post {
    address: SocketAddr,
    connection: Connection,
    headers: String,
    calls: Calls,
}

impl Talk {
    pub async fn over_pipes(child: &mut Child, tool: &'static str) -> io::Result<Self> {
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else {
            return Err(io::Error::other("a program without pipes"));
        };
        let input = pipe::Sender::from_owned_fd(OwnedFd::from(input))?;
        let output = pipe::Receiver::from_owned_fd(OwnedFd::from(output))?;
        let mut pipes = Pipes { input, output, bytes: Vec::new(), calls: Calls::of(tool, 0) };
        pipes.write(HELLO).await?;
        pipes.answer().await?;
        pipes.write(READY).await?;
        Ok(Self::Pipes(pipes))
    }

    pub async fn over_http(address: SocketAddr, tool: &'static str) -> io::Result<Self> {
        let mut first = Connection::open(address).await?;
        let begun = first.exchange("POST /mcp", HEADERS, HELLO);
        let (head, _) = in_time(begun).await?;
        let session = head.session.map(|id| format!("Mcp-Session-Id: {id}\r\n"));
        let headers = format!("{HEADERS}{}", session.unwrap_or_default());
        in_time(first.exchange("POST /mcp", &headers, READY)).await?;
        let mut posts = Vec::new();
        for number in 0..WINDOW {
            let connection = Connection::open(address).await?;
            let (headers, calls) = (headers.clone(), Calls::of(tool, number));
            posts.push(Post { address, connection, headers, calls });
        }
        Ok(Self::Http(posts))
    }

    /// New connections in the same session: servers close those that were idle since the turn before.
    pub async fn reconnect(&mut self) -> io::Result<()> {
        if let Self::Http(posts) = self {
            for post in posts {
                post.connection = Connection::open(post.address).await?;
            }
        }
        Ok(())
    }

    /// Some calls that count for nothing: the server behind a gateway may be started by the first.
    pub async fn warm_up(&mut self) -> io::Result<()> {
        for _ in 0..50 {
            self.call().await?;
        }
        self.many(Duration::from_millis(100)).await.map(drop)
    }

    async fn call(&mut self) -> io::Result<()> {
        match self {
            Self::Pipes(pipes) => {
                let call = pipes.calls.next();
                pipes.write(&call).await?;
                let answer = pipes.answer().await?;
                pipes.calls.look_at(&answer)
            }
            Self::Http(posts) => match posts.first_mut() {
                Some(post) => post.call().await,
                None => Err(io::Error::other("no connection")),
            },
        }
    }

    /// Calls for so long, each after the answer to the one before.
    pub async fn one_at_a_time(&mut self, time: Duration) -> io::Result<Histogram> {
        let (mut times, start) = (Histogram::default(), Instant::now());
        let mut before = start;
        while before - start < time {
            self.call().await?;
            let now = Instant::now();
            times.add(now - before);
            before = now;
        }
        Ok(times)
    }

    /// Calls for so long with many in flight; calls a second.
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub async fn many(&mut self, time: Duration) -> io::Result<f64> {
        let start = Instant::now();
        let count = match self {
            Self::Pipes(pipes) => pipes.many(start + time).await?,
            Self::Http(posts) => {
                let mut all = JoinSet::new();
                for mut post in posts.drain(..) {
                    all.spawn(async move {
                        let mut count = 0;
                        while Instant::now() < start + time {
                            post.call().await?;
                            count += 1;
                        }
                        Ok::<_, io::Error>((post, count))
                    });
                }
                let mut total = 0;
                while let Some(done) = all.join_next().await {
                    let (post, count) = done.map_err(io::Error::other)??;
                    posts.push(post);
                    total += count;
                }
                total
            }
        };
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }
}

impl Pipes {
    async fn write(&mut self, line: &str) -> io::Result<()> {
        self.input.write_all(format!("{line}\n").as_bytes()).await
    }

    /// The next answer; what is told without being asked is let go.
    async fn answer(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.bytes) {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).into_owned();
                if line.contains(r#""id":"#) && !line.contains(r#""method":"#) {
                    return Ok(line);
                }
                continue;
            }
            if in_time(self.output.read_buf(&mut self.bytes)).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended"));
            }
        }
    }

    /// A window of calls fits into a pipe, so that writing never waits for reading.
    async fn many(&mut self, until: Instant) -> io::Result<u64> {
        let (mut in_flight, mut count) = (0, 0);
        loop {
            let mut lines = String::new();
            while in_flight < WINDOW && Instant::now() < until {
                lines += &self.calls.next();
                lines.push('\n');
                in_flight += 1;
            }
            self.input.write_all(lines.as_bytes()).await?;
            if in_flight == 0 {
                return Ok(count);
            }
            let answer = self.answer().await?;
            self.calls.look_at(&answer)?;
            (in_flight, count) = (in_flight - 1, count + 1);
        }
    }
}

impl Post {
    async fn call(&mut self) -> io::Result<()> {
        let call = self.calls.next();
        let (_, answer) =
            in_time(self.connection.exchange("POST /mcp", &self.headers, &call)).await?;
        self.calls.look_at(&answer)
    }
}

async fn in_time<T>(wait: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(SILENCE, wait)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer for 60 s")))
}

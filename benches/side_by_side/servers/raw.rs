//! Servers that send back what comes: hidden roles of this program, each the least of its kind.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of one read.
const BLOCK: usize = 64 * 1024;

/// Plays a role until its input ends or it is killed.
pub fn play(role: &str, address: &str) -> io::Result<()> {
    match role {
        "echo-lines" => echo(io::stdin().lock(), io::stdout(), true),
        "echo-batches" => echo(io::stdin().lock(), io::stdout(), false),
        "echo-epoll-unix" => {
            let listener = std::os::unix::net::UnixListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let accept = || listener.accept().map(|(stream, _)| stream);
            serve(&listener, accept, |stream| stream.set_nonblocking(true))
        }
        "echo-epoll-tcp" => {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let accept = || listener.accept().map(|(stream, _)| stream);
            serve(&listener, accept, |stream| {
                stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true))
            })
        }
        "echo-tokio-unix" | "echo-tokio-tcp" => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().build()?;
            runtime.block_on(echo_tokio(role.ends_with("unix"), address))
        }
        "nats-responder" => respond(address),
        _ => Err(io::Error::other(format!("no role is named `{role}`"))),
    }
}

/// Over pipes. What is written goes out at once, a line or a whole read at a time.
fn echo(mut input: impl Read, output: io::Stdout, is_by_line: bool) -> io::Result<()> {
    // Without `Stdout`'s own line buffer.
    let mut output = std::fs::File::from(output.as_fd().try_clone_to_owned()?);
    let mut block = vec![0; BLOCK];
    loop {
        let read = input.read(&mut block)?;
        let bytes = block.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        if is_by_line {
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                output.write_all(line)?;
            }
        } else {
            output.write_all(bytes)?;
        }
    }
}

/// A connection, and what it could not take yet.
struct Peer<S> {
    stream: S,
    unsent: Vec<u8>,
}

/// One thread, level-triggered epoll.
fn serve<S: Read + Write + AsFd + Into<OwnedFd>>(
    listener: &impl AsFd,
    accept: impl Fn() -> io::Result<S>,
    prepare: impl Fn(&S) -> io::Result<()>,
) -> io::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    let mut peers: HashMap<u64, Peer<S>> = HashMap::new();
    let mut next = 1;
    let mut block = vec![0; BLOCK];
    let mut events = vec![EpollEvent::empty(); 1024];
    loop {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in events.iter().take(ready) {
            if event.data() == 0 {
                while let Ok(stream) = accept() {
                    prepare(&stream)?;
                    epoll.add(stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, next))?;
                    peers.insert(next, Peer { stream, unsent: Vec::new() });
                    next += 1;
                }
                continue;
            }
            let Some(peer) = peers.get_mut(&event.data()) else { continue };
            let was_full = !peer.unsent.is_empty();
            if pass(peer, &mut block).is_err() {
                // Closed with the last handle.
                peers.remove(&event.data());
            } else if was_full == peer.unsent.is_empty() {
                let wanted = if was_full { EpollFlags::EPOLLIN } else { EpollFlags::EPOLLOUT };
                let mut event = EpollEvent::new(wanted, event.data());
                epoll.modify(peer.stream.as_fd(), &mut event)?;
            }
        }
    }
}

/// Reads once and writes it back; what does not fit is kept, and then nothing is read.
fn pass<S: Read + Write>(peer: &mut Peer<S>, block: &mut [u8]) -> io::Result<()> {
    if peer.unsent.is_empty() {
        let read = peer.stream.read(block)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let bytes = block.get(..read).unwrap_or_default();
        let written = written(peer.stream.write(bytes))?;
        peer.unsent.extend_from_slice(bytes.get(written..).unwrap_or_default());
    } else {
        let written = written(peer.stream.write(&peer.unsent))?;
        peer.unsent.drain(..written);
    }
    Ok(())
}

fn written(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

/// A task for each connection.
async fn echo_tokio(is_unix: bool, address: &str) -> io::Result<()> {
    if is_unix {
        let listener = tokio::net::UnixListener::bind(address)?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(echo_stream(stream));
        }
    }
    let listener = tokio::net::TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(echo_stream(stream));
    }
}

async fn echo_stream(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut block = vec![0; 16 * 1024];
    loop {
        let read = stream.read(&mut block).await?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(block.get(..read).unwrap_or_default()).await?;
    }
}

/// Answers requests that a nats-server passes on.
fn respond(address: &str) -> io::Result<()> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut output = stream.try_clone()?;
    let mut input = BufReader::with_capacity(256 * 1024, stream);
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line)?;
    output.write_all(b"CONNECT {\"verbose\":false}\r\nSUB echo 1\r\nPING\r\n")?;
    let mut answers = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["PING"] => answers.extend_from_slice(b"PONG\r\n"),
            ["PONG"] => {
                let mut stdout = io::stdout();
                stdout.write_all(b"ready\n")?;
                stdout.flush()?;
            }
            ["MSG", _, _, inbox, size] => {
                let size: usize = size.parse().map_err(io::Error::other)?;
                answers.extend_from_slice(format!("PUB {inbox} {size}\r\n").as_bytes());
                let start = answers.len();
                answers.resize(start + size + 2, 0);
                input.read_exact(answers.get_mut(start..).unwrap_or_default())?;
            }
            _ => {}
        }
        if input.buffer().is_empty() {
            output.write_all(&answers)?;
            answers.clear();
        }
    }
}

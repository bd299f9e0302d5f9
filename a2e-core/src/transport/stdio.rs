//! Our own standard input and output as a connection.
//!
//! A pipe is opened anew through the process's descriptor folder: the new file description can be
//! non-blocking without making the parent's end so. Files, terminals and sockets get a plain thread
//! and a bounded pipe instead.

use std::io::{self, Read, Write};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, fcntl};
use tokio::net::unix::pipe;

use super::memory::{Pipe, PipeReader, PipeWriter};
use super::streams::Closable;
use super::{ByteSink, ByteSource, Connection, Gone, Peer, Readiness};

/// What a pipe may hold: as much as every user may ask for.
const PIPE: usize = 1024 * 1024;

/// How much a thread reads at once.
const BLOCK: usize = 64 * 1024;

/// The connection over standard input and output. Call once; needs a running tokio.
/// [`Executor::serve_stdio`](crate::Executor::serve_stdio) also gives it a thread of its own.
///
/// # Errors
/// When a thread cannot be started.
pub fn stdio() -> io::Result<Connection> {
    Ok(connection(source()?, sink()?))
}

/// The ends as one connection.
pub(crate) fn connection(source: ByteSource, sink: Arc<dyn ByteSink>) -> Connection {
    Connection { source, sink, peer: Peer { is_stdio: true, ..Peer::named("stdio") } }
}

/// Standard input; the tokio that runs here tells when there is more.
pub(crate) fn source() -> io::Result<ByteSource> {
    match pipe::OpenOptions::new().open_receiver("/proc/self/fd/0") {
        Ok(receiver) => {
            widen(&receiver);
            Ok(Box::new(receiver))
        }
        Err(_) => thread_source(),
    }
}

/// Standard output; the tokio that runs here tells when it takes more.
pub(crate) fn sink() -> io::Result<Arc<dyn ByteSink>> {
    match pipe::OpenOptions::new().open_sender("/proc/self/fd/1") {
        Ok(sender) => {
            widen(&sender);
            Ok(Arc::new(Closable::new(sender)))
        }
        Err(_) => thread_sink(),
    }
}

/// Lets a pipe hold several long messages: with the 64 KiB that it has by itself, both sides sleep and
/// are woken for each one. What the system allows each user in all may not suffice; then it stays.
fn widen(pipe: &impl std::os::fd::AsFd) {
    let size = nix::libc::c_int::try_from(PIPE).unwrap_or(0);
    if let Err(error) = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(size)) {
        tracing::debug!(%error, "a pipe of the usual size");
    }
}

fn thread_source() -> io::Result<ByteSource> {
    let pipe = Pipe::new();
    let source = Box::new(PipeReader(Arc::clone(&pipe)));
    std::thread::Builder::new().name("a2e-stdin".into()).spawn(move || {
        let mut block = vec![0; BLOCK];
        let mut stdin = io::stdin().lock();
        loop {
            match stdin.read(&mut block) {
                Ok(0) => break,
                Ok(read) => {
                    if pipe.write_blocking(block.get(..read).unwrap_or_default()).is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "standard input ended");
                    break;
                }
            }
        }
        pipe.close();
    })?;
    Ok(source)
}

fn thread_sink() -> io::Result<Arc<dyn ByteSink>> {
    let pipe = Pipe::new();
    let (done, written) = std::sync::mpsc::sync_channel(1);
    let reader = Arc::clone(&pipe);
    std::thread::Builder::new().name("a2e-stdout".into()).spawn(move || {
        let mut stdout = io::stdout().lock();
        loop {
            let bytes = reader.read_blocking();
            if bytes.is_empty() {
                break;
            }
            if let Err(error) = stdout.write_all(&bytes).and_then(|()| stdout.flush()) {
                tracing::warn!(%error, "standard output is gone");
                reader.close();
                break;
            }
        }
        drop(done);
    })?;
    Ok(Arc::new(ThreadSink {
        writer: PipeWriter(pipe),
        written: crate::sync::Mutex::new(Some(written)),
    }))
}

/// Hands bytes to the thread that writes standard output; closing waits for the last of them.
#[derive(Debug)]
struct ThreadSink {
    writer: PipeWriter,
    /// Taken by the first close.
    written: crate::sync::Mutex<Option<std::sync::mpsc::Receiver<()>>>,
}

impl ByteSink for ThreadSink {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.try_write(bytes)
    }

    fn ready(&self) -> Readiness<'_> {
        self.writer.ready()
    }

    fn peer_is_gone(&self) -> Gone<'_> {
        self.writer.peer_is_gone()
    }

    fn close(&self) {
        self.writer.close();
        // The process may exit right after; what the thread holds must be out by then. A reader that
        // does not read (a stopped terminal) is not waited for longer than this.
        let written = self.written.lock().take();
        let limit = std::time::Duration::from_millis(150);
        let is_stuck = written.is_some_and(|written| {
            written.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
        });
        if is_stuck {
            tracing::warn!("standard output is not being read; the rest is lost");
        }
    }
}

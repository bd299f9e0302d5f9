//! Pipes and sockets as connections.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::unix::{OwnedWriteHalf as UnixWriteHalf, pipe};
use tokio::net::{TcpStream, UnixStream, tcp::OwnedWriteHalf as TcpWriteHalf};

use super::{ByteSink, Connection, Gone, Peer, Readiness};
use crate::sync::Mutex;

/// A Unix socket as a connection; the peer's uid is read from the socket.
pub fn from_unix(stream: UnixStream) -> Connection {
    let peer = peer_of_unix(&stream);
    let (source, sink) = stream.into_split();
    Connection { source: Box::new(source), sink: Arc::new(Closable::new(sink)), peer }
}

pub(super) fn peer_of_unix(stream: &UnixStream) -> Peer {
    let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
    let name = uid.map_or_else(|| "unix".to_owned(), |uid| format!("unix uid={uid}"));
    Peer { uid, ..Peer::named(name) }
}

/// A TCP socket as a connection. Small writes are sent at once.
pub fn from_tcp(stream: TcpStream) -> Connection {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let peer = peer_of_tcp(&stream);
    let (source, sink) = stream.into_split();
    Connection { source: Box::new(source), sink: Arc::new(Closable::new(sink)), peer }
}

pub(super) fn peer_of_tcp(stream: &TcpStream) -> Peer {
    let address = stream.peer_addr();
    Peer::named(address.map_or_else(|_| "tcp".to_owned(), |address| format!("tcp {address}")))
}

/// Two pipe ends as a connection.
pub fn from_pipes(source: pipe::Receiver, sink: pipe::Sender, peer: Peer) -> Connection {
    Connection { source: Box::new(source), sink: Arc::new(Closable::new(sink)), peer }
}

/// The standard streams of a child process, seen from its parent.
///
/// # Errors
/// When a descriptor is no pipe or cannot be made non-blocking.
pub fn from_child(
    stdout: std::process::ChildStdout,
    stdin: std::process::ChildStdin,
    name: impl Into<String>,
) -> io::Result<Connection> {
    let source = pipe::Receiver::from_owned_fd(stdout.into())?;
    let sink = pipe::Sender::from_owned_fd(stdin.into())?;
    Ok(from_pipes(source, sink, Peer::named(name)))
}

/// A writing end that is closed by dropping it, which is how pipes and split sockets end.
pub(super) struct Closable<W>(Mutex<Option<Arc<W>>>);

impl<W> Closable<W> {
    pub(super) fn new(writer: W) -> Self {
        Self(Mutex::new(Some(Arc::new(writer))))
    }

    /// The lock guards only whether there is a writer; it is not held while writing.
    fn writer(&self) -> io::Result<Arc<W>> {
        let writer = self.0.lock();
        writer.clone().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl<W> fmt::Debug for Closable<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<W>())
    }
}

macro_rules! byte_sink {
    ($($writer:ty),*) => {
        $(impl ByteSink for Closable<$writer> {
            fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
                self.writer()?.try_write(bytes)
            }

            fn ready(&self) -> Readiness<'_> {
                Box::pin(async { self.writer()?.writable().await })
            }

            fn peer_is_gone(&self) -> Gone<'_> {
                Box::pin(async {
                    let Ok(writer) = self.writer() else { return true };
                    let ready = writer.ready(Interest::WRITABLE);
                    // Not writable now means that the peer is merely slow.
                    let ready = tokio::time::timeout(Duration::from_millis(1), ready).await;
                    matches!(ready, Ok(Ok(ready)) if ready.is_write_closed())
                })
            }

            fn close(&self) {
                self.0.lock().take();
            }
        })*
    };
}

byte_sink!(pipe::Sender, UnixWriteHalf, TcpWriteHalf);

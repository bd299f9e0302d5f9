//! A connected socket, before it is decided who waits for its input.

use std::fmt;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;

use super::streams::{peer_of_tcp, peer_of_unix};
use super::{ByteSink, ByteSource, Connection, Gone, Peer, Readiness, from_tcp, from_unix};

/// How long a socket that cannot be watched is left alone.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A connected socket of either kind.
#[derive(Debug)]
pub enum Socket {
    /// Of this machine; its peer's user is known.
    Unix(UnixStream),
    /// Of any machine.
    Tcp(TcpStream),
}

impl Socket {
    /// Who is at the other end.
    pub fn peer(&self) -> Peer {
        match self {
            Self::Unix(stream) => peer_of_unix(stream),
            Self::Tcp(stream) => peer_of_tcp(stream),
        }
    }

    /// As a connection that the running tokio waits for.
    pub fn into_connection(self) -> Connection {
        match self {
            Self::Unix(stream) => from_unix(stream),
            Self::Tcp(stream) => from_tcp(stream),
        }
    }

    /// A way to write to it while the thread that reads it is busy; `host` sees when the peer has read.
    pub(crate) fn sink(&self, host: &Handle) -> io::Result<Arc<dyn ByteSink>> {
        Ok(match self {
            Self::Unix(stream) => {
                let again =
                    std::os::unix::net::UnixStream::from(stream.as_fd().try_clone_to_owned()?);
                Arc::new(SocketSink::new(again, host))
            }
            Self::Tcp(stream) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "no TCP_NODELAY");
                }
                let again = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
                Arc::new(SocketSink::new(again, host))
            }
        })
    }

    /// Takes it from the tokio that accepted it, for a thread of its own.
    pub(crate) fn detach(self, sink: Arc<dyn ByteSink>) -> io::Result<Detached> {
        let peer = self.peer();
        let stream = match self {
            Self::Unix(stream) => Stream::Unix(stream.into_std()?),
            Self::Tcp(stream) => Stream::Tcp(stream.into_std()?),
        };
        Ok(Detached { stream, sink, peer })
    }
}

/// A socket that no tokio waits for.
pub(crate) struct Detached {
    stream: Stream,
    sink: Arc<dyn ByteSink>,
    peer: Peer,
}

enum Stream {
    Unix(std::os::unix::net::UnixStream),
    Tcp(std::net::TcpStream),
}

impl Detached {
    /// As a connection whose input the running tokio waits for.
    pub(crate) fn into_connection(self) -> io::Result<Connection> {
        let source: ByteSource = match self.stream {
            Stream::Unix(stream) => Box::new(UnixStream::from_std(stream)?),
            Stream::Tcp(stream) => Box::new(TcpStream::from_std(stream)?),
        };
        Ok(Connection { source, sink: self.sink, peer: self.peer })
    }
}

/// Writes to a socket that does not block. It is watched only while it takes no more: to be told of each
/// answer that the peer has read would wake a thread for nothing.
struct SocketSink<S> {
    /// Taken by the close; the lock is not held while writing.
    stream: Mutex<Option<Arc<S>>>,
    host: Handle,
}

impl<S> SocketSink<S> {
    fn new(stream: S, host: &Handle) -> Self {
        Self { stream: Mutex::new(Some(Arc::new(stream))), host: host.clone() }
    }

    fn stream(&self) -> io::Result<Arc<S>> {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.clone().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl<S> fmt::Debug for SocketSink<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<S>())
    }
}

macro_rules! socket_sink {
    ($($stream:ty, watched as $watched:ty;)*) => {
        $(impl SocketSink<$stream> {
            fn watched(&self) -> io::Result<$watched> {
                let stream = self.stream()?.try_clone()?;
                let _host = self.host.enter();
                <$watched>::from_std(stream)
            }
        }

        impl ByteSink for SocketSink<$stream> {
            fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
                let stream = self.stream()?;
                loop {
                    match (&*stream).write(bytes) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        outcome => return outcome,
                    }
                }
            }

            fn ready(&self) -> Readiness<'_> {
                Box::pin(async {
                    match self.watched() {
                        Ok(watched) => watched.writable().await,
                        // It is there, and no descriptor is left to watch it with.
                        Err(_) if self.stream().is_ok() => {
                            tokio::time::sleep(LOOK_AGAIN).await;
                            Ok(())
                        }
                        Err(error) => Err(error),
                    }
                })
            }

            fn peer_is_gone(&self) -> Gone<'_> {
                Box::pin(async {
                    // One that is there and cannot be watched (no descriptor is left) is not gone.
                    let Ok(watched) = self.watched() else { return self.stream().is_err() };
                    // Not writable now means that the peer is merely slow.
                    let ready = watched.ready(Interest::WRITABLE);
                    let ready = tokio::time::timeout(Duration::from_millis(1), ready).await;
                    matches!(ready, Ok(Ok(ready)) if ready.is_write_closed())
                })
            }

            fn close(&self) {
                let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(Err(error)) = stream.map(|stream| stream.shutdown(Shutdown::Write)) {
                    tracing::debug!(%error, "the other end is gone already");
                }
            }
        })*
    };
}

socket_sink! {
    std::os::unix::net::UnixStream, watched as UnixStream;
    std::net::TcpStream, watched as TcpStream;
}

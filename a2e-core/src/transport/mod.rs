//! Carriers of bytes. A transport knows nothing of lines or messages.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::AsyncRead;

mod allowed;
mod identity;
pub mod memory;
#[cfg(feature = "host")]
pub mod stdio;
mod streams;

pub use allowed::Allowed;
pub use identity::{Identity, Right, Rights};
pub use memory::memory_pair;
pub use streams::{from_child, from_pipes, from_tcp, from_unix};

/// The readable end of a connection.
pub type ByteSource = Box<dyn AsyncRead + Send + Unpin>;

/// The writable end of a connection: takes bytes without waiting, and tells when it can take more.
pub trait ByteSink: Send + Sync + fmt::Debug {
    /// Writes what fits now.
    ///
    /// # Errors
    /// `WouldBlock` when nothing fits; any other error means that the connection is lost.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Resolves when [`try_write`](ByteSink::try_write) is worth another attempt; fails when the
    /// connection is lost.
    fn ready(&self) -> Readiness<'_>;

    /// Whether the peer is known to read no more, although writing has not failed yet.
    fn peer_is_gone(&self) -> Gone<'_>;

    /// Ends the stream: the peer sees its end after everything that was written.
    fn close(&self);
}

/// Resolves when a sink can take more.
pub type Readiness<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'a>>;

/// Resolves to whether the peer is known to be gone.
pub type Gone<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// The other end of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// For people: `stdio`, `unix uid=1000`, `tcp 127.0.0.1:4711`.
    pub name: String,
    /// The user at the other end of a Unix socket.
    pub uid: Option<u32>,
    /// Whether the process lives and dies with this connection; such a reader is never cut.
    pub is_stdio: bool,
}

impl Peer {
    /// A peer that is only a name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// Both ends of one connection as one side sees it.
pub struct Connection {
    /// What the other side sends.
    pub source: ByteSource,
    /// Where our bytes go.
    pub sink: Arc<dyn ByteSink>,
    /// The other side.
    pub peer: Peer,
}

show!(Connection, peer: |it| it.peer);

//! Carriers that only a client starts. Sockets and memory are `a2e_core::transport`'s.

#[cfg(feature = "http")]
pub(crate) mod http;
mod process;
mod stderr;
#[cfg(feature = "http")]
pub(crate) mod websocket;

#[cfg(feature = "http")]
use std::io;

#[cfg(feature = "http")]
use a2e_core::transport::ByteSink;

pub use process::HostCommand;
pub(crate) use process::{Process, ProcessWatch};
pub use stderr::Stderr;

/// Writes all of it, in as many parts as it takes.
#[cfg(feature = "http")]
async fn write_all(sink: &dyn ByteSink, line: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while let Some(rest) = line.get(sent..).filter(|rest| !rest.is_empty()) {
        match sink.try_write(rest) {
            Ok(taken) => sent += taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sink.ready().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

//! One way to a server: a pair of pipes or a socket.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Counter, Framing, Ring, now};

/// Both directions, and what is under way on them.
#[derive(Debug)]
pub struct Link {
    pub(super) input: Arc<File>,
    pub(super) output: Arc<File>,
    pub(super) counter: Counter,
    /// Bytes of the ring that are taken and not yet sent.
    pub(super) unsent: Range<usize>,
    /// Requests that may be taken.
    pub(super) wanted: usize,
    pub(super) in_flight: usize,
    pub(super) sent_at: Instant,
}

impl Link {
    /// Two pipes; `input` is the server's input.
    pub fn of_pipes(
        input: impl Into<OwnedFd>,
        output: impl Into<OwnedFd>,
        framing: Framing,
    ) -> Self {
        let (input, output) = (File::from(input.into()), File::from(output.into()));
        Self::new(Arc::new(input), Arc::new(output), framing)
    }

    /// One socket for both directions: 10,000 of them should take no more files.
    pub fn of_socket(socket: impl Into<OwnedFd>, framing: Framing) -> Self {
        let socket = Arc::new(File::from(socket.into()));
        Self::new(Arc::clone(&socket), socket, framing)
    }

    fn new(input: Arc<File>, output: Arc<File>, framing: Framing) -> Self {
        Self {
            input,
            output,
            counter: Counter::new(framing),
            unsent: 0..0,
            wanted: 0,
            in_flight: 0,
            sent_at: now(),
        }
    }

    /// Whether one file serves both directions.
    pub(super) fn is_socket(&self) -> bool {
        Arc::ptr_eq(&self.input, &self.output)
    }

    /// Whether reads and writes come back at once.
    pub fn set_waiting(&self, is_waiting: bool) -> io::Result<()> {
        for file in [&self.input, &self.output] {
            let flags = OFlag::from_bits_retain(fcntl(file.as_fd(), FcntlArg::F_GETFL)?);
            let mut wanted = flags;
            wanted.set(OFlag::O_NONBLOCK, !is_waiting);
            if wanted != flags {
                fcntl(file.as_fd(), FcntlArg::F_SETFL(wanted))?;
            }
        }
        Ok(())
    }

    /// Sends bytes and waits for an answer that is whole by the test; used before measuring.
    pub fn ask(&mut self, bytes: &[u8], is_whole: impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
        self.set_waiting(true)?;
        (&*self.input).write_all(bytes)?;
        let mut answer = Vec::new();
        let mut block = [0; 4096];
        while !is_whole(&answer) {
            let read = (&*self.output).read(&mut block)?;
            if read == 0 {
                return Err(ended());
            }
            answer.extend_from_slice(block.get(..read).unwrap_or_default());
        }
        Ok(answer)
    }

    /// Looks for something to read, again and again without sleeping, until there is or time is up.
    pub(super) fn watch(&self, limit: Duration) -> io::Result<()> {
        let until = now() + limit;
        let mut asked = [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
        while poll(&mut asked, PollTimeout::ZERO)? == 0 && now() < until {
            std::hint::spin_loop();
        }
        Ok(())
    }

    /// Sends what is wanted, as much as goes without waiting.
    pub(super) fn flush(&mut self, ring: &mut Ring, time: Instant) -> io::Result<()> {
        loop {
            if self.unsent.is_empty() {
                if self.wanted == 0 {
                    return Ok(());
                }
                let (range, count) = ring.take(self.wanted, time);
                self.unsent = range;
                self.wanted -= count;
                self.in_flight += count;
                self.sent_at = time;
            }
            match (&*self.input).write(ring.bytes(self.unsent.clone())) {
                Ok(written) => self.unsent.start += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

pub(super) fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")
}

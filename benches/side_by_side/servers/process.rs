//! A server that runs, and what the system says of its costs.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use nix::unistd::{SysconfVar, sysconf};

use super::start::Way;
use crate::drive::{Framing, Link, now};

/// How long a server may take until it listens or answers first.
const START: Duration = Duration::from_secs(10);

/// A server process, with a helper if it needs one; both end with it.
#[derive(Debug)]
pub struct Running {
    pub child: Child,
    /// Processes whose work is part of the server's.
    pub helpers: Vec<Running>,
    pub way: Way,
    pub started: Instant,
    /// Where its stderr goes.
    pub log: PathBuf,
}

/// What a server has used up to now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub cpu: Duration,
    /// Resident memory, KiB.
    pub rss_kib: u64,
}

impl Running {
    /// Both ends of its pipes, once.
    pub fn pipes(&mut self) -> io::Result<(ChildStdin, ChildStdout)> {
        let ends = self.child.stdin.take().zip(self.child.stdout.take());
        ends.ok_or_else(|| io::Error::other("a pipe has one user"))
    }

    /// A way to it: its pipes, or a new connection as soon as it listens.
    pub fn link(&mut self, framing: Framing) -> io::Result<Link> {
        match self.way.clone() {
            Way::Pipe => {
                let (input, output) = self.pipes()?;
                Ok(Link::of_pipes(input, output, framing))
            }
            Way::Unix(path) => {
                let stream = self.retry(|| UnixStream::connect(&path))?;
                Ok(Link::of_socket(stream, framing))
            }
            Way::Tcp(address) => {
                let stream = self.retry(|| connect(address))?;
                Ok(Link::of_socket(stream, framing))
            }
        }
    }

    /// Waits until it listens.
    pub fn wait_until_it_listens(&mut self) -> io::Result<()> {
        match self.way.clone() {
            Way::Pipe => Ok(()),
            Way::Unix(path) => self.retry(|| UnixStream::connect(&path)).map(drop),
            Way::Tcp(address) => self.retry(|| connect(address)).map(drop),
        }
    }

    fn retry<T>(&mut self, attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(error) if now() - self.started > START => return Err(error),
                Err(_) => {}
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("it ended: {status}; {}", self.last_words())));
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// The last line on its stderr.
    pub fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
    }

    pub fn usage(&self) -> Usage {
        let mut usage = usage_of(self.child.id());
        for helper in self.helpers.iter().map(Self::usage) {
            usage.cpu += helper.cpu;
            usage.rss_kib += helper.rss_kib;
        }
        usage
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already, or gone now.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn usage_of(pid: u32) -> Usage {
    let folder = Path::new("/proc").join(pid.to_string());
    let status = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let rss = rss.and_then(|text| text.split_whitespace().next()?.parse().ok());
    let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
    // The name in brackets may hold blanks; user and system time are the 12th and 13th after it.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<u64> =
        after_name.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let ticks: u64 = fields.iter().skip(11).take(2).sum();
    let second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    let nanos = 1_000_000_000 / u64::try_from(second).unwrap_or(100).max(1);
    Usage { cpu: Duration::from_nanos(ticks * nanos), rss_kib: rss.unwrap_or(0) }
}

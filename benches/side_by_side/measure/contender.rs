//! A server with its connections, ready to be measured.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Cell;
use super::stats::Sample;
use crate::drive::{Goal, Link, Ring, Work, exchange_many, exchange_one};
use crate::servers::{Entry, Kind, Running, Starter};

/// An exchange that takes longer has hung: the server is ended.
const HANG: Duration = Duration::from_mins(1);

/// What surely fits into a pipe, so that one thread may write it before it reads.
const FITS: usize = 32 * 1024;

#[derive(Debug)]
pub struct Contender {
    pub entry: &'static Entry,
    pub running: Running,
    pub cell: Cell,
    payload: String,
    way: Drive,
}

#[derive(Debug)]
enum Drive {
    Links(Vec<Link>, Ring),
    /// The peer's own client in a process of its own: a goal is a line, and so is what it measured.
    Client(Running, ChildStdin, BufReader<ChildStdout>),
}

impl Contender {
    /// Starts a server and connects to it.
    pub fn start(entry: &'static Entry, cell: Cell, starter: &Starter<'_>) -> Result<Self, String> {
        let running = starter.start(entry)?;
        Self::connect(entry, cell, running, starter)
    }

    /// Connects to a server that was started.
    pub fn connect(
        entry: &'static Entry,
        cell: Cell,
        mut running: Running,
        starter: &Starter<'_>,
    ) -> Result<Self, String> {
        let fail = |error: std::io::Error| error.to_string();
        let pid = running.child.id();
        let way = if entry.kind == Kind::PeerWithClient {
            running.wait_until_it_listens().map_err(fail)?;
            let args = [cell.shape.payload().len().to_string(), cell.window.to_string()];
            let mut client = starter.start_client(entry, &running.way, &args)?;
            let (input, output) = client.pipes().map_err(fail)?;
            Drive::Client(client, input, BufReader::new(output))
        } else {
            let mut links = Vec::with_capacity(cell.links);
            for _ in 0..cell.links {
                let mut link = running.link(entry.talk.framing()).map_err(fail)?;
                let opened = or_end(pid, Duration::from_secs(10), || entry.talk.open(&mut link));
                opened.map_err(|error| format!("opening: {error}; {}", running.last_words()))?;
                links.push(link);
            }
            let template = entry.talk.request(cell.shape);
            Drive::Links(links, Ring::new(&template, cell.links * cell.window))
        };
        Ok(Self { entry, running, cell, payload: cell.shape.payload(), way })
    }

    /// Keeps the windows full until the goal is reached, and looks at what comes back.
    pub fn exchange(&mut self, goal: Goal) -> Result<Sample, String> {
        let before = self.running.usage();
        let pid = self.running.child.id();
        let exchanged = match &mut self.way {
            Drive::Client(client, input, output) => {
                or_end(client.child.id(), HANG, || ask_client(input, output, goal))
            }
            Drive::Links(links, ring) => {
                let mark = self.entry.talk.mark(self.entry.kind == Kind::Raw);
                let Cell { window, is_awake, .. } = self.cell;
                let is_small = ring.length() * window <= FITS;
                let payload = self.payload.as_bytes();
                let mut work = Work { ring, window, is_awake, mark, payload, goal };
                let measured = or_end(pid, HANG, || match links.as_mut_slice() {
                    [link] if is_small => exchange_one(link, &mut work),
                    links => exchange_many(links, &mut work),
                });
                measured.map_err(|error| error.to_string()).and_then(Sample::of)
            }
        };
        let mut sample = exchanged
            .map_err(|error| format!("{error}; its last words: {}", self.running.last_words()))?;
        let after = self.running.usage();
        sample.cpu = after.cpu.saturating_sub(before.cpu);
        sample.rss_kib = after.rss_kib;
        Ok(sample)
    }
}

/// Has a client exchange; gives what it says.
fn ask_client(
    input: &mut ChildStdin,
    output: &mut BufReader<ChildStdout>,
    goal: Goal,
) -> Result<Sample, String> {
    let goal = match goal {
        Goal::Time(time) => format!("time {}\n", time.as_micros()),
        Goal::Messages(count) => format!("messages {count}\n"),
    };
    let asked = input.write_all(goal.as_bytes());
    let mut line = String::new();
    asked.and_then(|()| output.read_line(&mut line)).map_err(|error| error.to_string())?;
    let said = serde_json::from_str(&line).map_err(|error| format!("its client: {error}"))?;
    Ok(Sample::from_client(&said))
}

/// Does something that waits for a server; ends the server if it takes too long, so that it fails.
fn or_end<T>(pid: u32, limit: Duration, action: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        let (done, is_done) = mpsc::sync_channel::<()>(0);
        scope.spawn(move || {
            let waited = is_done.recv_timeout(limit);
            if waited == Err(mpsc::RecvTimeoutError::Timeout)
                && let Ok(pid) = i32::try_from(pid)
            {
                // Ended by itself meanwhile: then the action is through as well.
                let _is_ended = kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok();
            }
        });
        let result = action();
        drop(done);
        result
    })
}

//! Sends echo calls to a process over pipes and times the answers.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use a2e_core::Clock;
use a2e_core::clock::SystemClock;
use serde::Serialize;

use crate::Failure;

/// The result of one measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Measured {
    pub(super) messages: u64,
    pub(super) per_second: f64,
    /// From the write of a batch to the read of its answer, in microseconds.
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) max_us: f64,
}

/// Latencies that are kept; beyond it every further one replaces an old one in turn.
const MAX_SAMPLES: usize = 1 << 20;

/// A process that answers with one line per line.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    block: Vec<u8>,
}

impl Peer {
    fn start(args: &[&str]) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Failure::internal)?;
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Failure::refused)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::internal("no pipes"));
        };
        Ok(Self { child, input, output, block: vec![0; 64 * 1024] })
    }

    /// Waits for output and counts the lines that end in it.
    fn answers(&mut self) -> Result<usize, Failure> {
        let read = self.output.read(&mut self.block).map_err(Failure::refused)?;
        if read == 0 {
            return Err(Failure::refused("the process under test has ended"));
        }
        Ok(self.block.iter().take(read).filter(|byte| **byte == b'\n').count())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Ended already, or ended now.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Requests that differ only in their ids.
struct Requests {
    line: String,
    next: u64,
}

impl Requests {
    fn new(size: usize) -> Self {
        let line = |filler: &str| {
            format!(
                "{{\"type\":\"tool/call/req\",\"id\":\"ID\",\"tool_name\":\"echo\",\
                \"arguments\":{{\"text\":\"{filler}\"}}}}\n"
            )
        };
        // The id is ten digits in place of two letters.
        let filler = "x".repeat(size.saturating_sub(line("").len() + 8));
        Self { line: line(&filler), next: 0 }
    }

    fn write(&mut self, count: usize, batch: &mut String) {
        let (head, tail) = self.line.split_once("ID").unwrap_or_default();
        for _ in 0..count {
            self.next += 1;
            batch.push_str(head);
            // Writing to a string cannot fail.
            let _written = write!(batch, "{:010}", self.next);
            batch.push_str(tail);
        }
    }
}

/// Keeps `window` requests in flight for this long; also gives the time from start to first answer.
pub(super) fn measure(
    args: &[&str],
    size: usize,
    window: usize,
    time: Duration,
) -> Result<(Measured, Duration), Failure> {
    // A window that does not fit into a pipe would have both sides wait for each other.
    let window = window.min((32 * 1024 / size).max(1));
    let clock = SystemClock::new();
    let now = || clock.now().mono;
    let started = now();
    let mut peer = Peer::start(args)?;
    let mut requests = Requests::new(size);
    let mut batch = String::new();
    requests.write(1, &mut batch);
    send(&mut peer, &batch)?;
    while peer.answers()? == 0 {}
    let first = now().saturating_sub(started);

    let (mut samples, mut written) = (Vec::new(), VecDeque::new());
    let (begin, mut answered) = (now(), 0_u64);
    let mut is_over = false;
    while !is_over || !written.is_empty() {
        let free = window - written.len();
        if free > 0 && !is_over {
            batch.clear();
            requests.write(free, &mut batch);
            written.extend(std::iter::repeat_n(now(), free));
            send(&mut peer, &batch)?;
        }
        let answers = peer.answers()?;
        let read = now();
        for sent in written.drain(..answers.min(written.len())) {
            let took = read.saturating_sub(sent);
            note(&mut samples, answered, took);
            answered += 1;
        }
        is_over = read.saturating_sub(begin) >= time;
    }
    let seconds = now().saturating_sub(begin).as_secs_f64();
    samples.sort_unstable();
    let at = |part: usize| {
        let place = (samples.len() * part / 1000).min(samples.len().saturating_sub(1));
        samples.get(place).map_or(0.0, |took| took.as_secs_f64() * 1e6)
    };
    #[allow(clippy::cast_precision_loss, reason = "counts of messages, far below 2^52")]
    let per_second = answered as f64 / seconds;
    let measured = Measured {
        messages: answered,
        per_second,
        p50_us: at(500),
        p99_us: at(990),
        max_us: at(1000),
    };
    Ok((measured, first))
}

fn note(samples: &mut Vec<Duration>, number: u64, took: Duration) {
    if samples.len() < MAX_SAMPLES {
        samples.push(took);
    } else if let Some(old) =
        samples.get_mut(usize::try_from(number % MAX_SAMPLES as u64).unwrap_or_default())
    {
        *old = took;
    }
}

fn send(peer: &mut Peer, batch: &str) -> Result<(), Failure> {
    peer.input.write_all(batch.as_bytes()).map_err(Failure::refused)
}

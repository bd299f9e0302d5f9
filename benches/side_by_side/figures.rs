//! What a host costs before it works: time to the first reply, memory, size, idle connections.

use std::time::Duration;

use crate::drive::{Goal, Link, now};
use crate::measure::{Cell, Contender, Skipped, Spread};
use crate::options::Options;
use crate::servers::{ALL, Entry, Kind, Starter, Wire};
use crate::shapes::Shape;
use crate::talk::Talk;

/// Figures of servers at rest.
#[derive(Debug, Default)]
pub struct Figures {
    pub starts: Vec<Start>,
    /// Bytes of the stripped program with its default features.
    pub a2e_size: u64,
    pub idle: Vec<Idle>,
}

/// From the start of a process to the end of its first reply.
#[derive(Debug)]
pub struct Start {
    pub name: &'static str,
    pub millis: Spread,
    /// Resident memory after it, KiB.
    pub rss_kib: Spread,
}

/// Memory of connections that were made and never used.
#[derive(Debug)]
pub struct Idle {
    pub name: &'static str,
    pub connections: usize,
    pub bytes_each: f64,
}

/// Connections that are left open and idle.
const IDLE: usize = 10_000;

/// Open files that this program and a server need besides connections.
const OTHER_FILES: u64 = 200;

/// A host as it is without a configuration.
static DEFAULT: Entry = Entry {
    name: "a2e, default config",
    kind: Kind::A2e { run: "inline", audit: "off" },
    wire: Wire::Pipe,
    talk: Talk::A2e,
    role: "",
    has_rows: false,
    has_many: false,
};

pub fn measure(
    starter: &Starter<'_>,
    options: &Options,
    files: u64,
    skipped: &mut Vec<Skipped>,
) -> Figures {
    let a2e_size = std::fs::metadata(&starter.programs.a2e).map_or(0, |it| it.len());
    let mut figures = Figures { a2e_size, ..Figures::default() };
    let mut skip = |name: &str, what: &str, reason: String| {
        skipped.push(Skipped { name: format!("{name} ({what})"), reason });
    };
    let is_asked = |entry: &&Entry| {
        (entry.kind == Kind::Raw || options.has_server(entry.name))
            && entry.is_missing(starter.programs).is_none()
    };
    let others = ALL.iter().filter(is_asked).filter(|it| it.wire == Wire::Pipe);
    for entry in std::iter::once(&DEFAULT).chain(others) {
        match start_of(entry, starter, options.rounds) {
            Ok(start) => figures.starts.push(start),
            Err(reason) => skip(entry.name, "start", reason),
        }
    }
    let connections = files.saturating_sub(OTHER_FILES).min(IDLE as u64);
    let connections = usize::try_from(connections).unwrap_or(IDLE);
    let names = ["echo epoll, unix", "echo tokio, unix", "a2e inline, unix", "rmcp, unix"];
    let listening = ALL.iter().filter(is_asked).filter(|it| names.contains(&it.name));
    for entry in listening {
        match idle_of(entry, starter, connections) {
            Ok(idle) => figures.idle.push(idle),
            Err(reason) => skip(entry.name, "idle connections", reason),
        }
    }
    figures
}

fn start_of(entry: &'static Entry, starter: &Starter<'_>, rounds: u32) -> Result<Start, String> {
    let cell = Cell::new(Wire::Pipe, Shape::Small, 1, 1);
    let (mut millis, mut rss) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let is_default = entry.name == DEFAULT.name;
        let running = starter.start_configured(entry, is_default.then_some(""))?;
        let begin = running.started;
        let mut contender = Contender::connect(entry, cell, running, starter)?;
        // The reply that warms the window is the first one; one more is measured after it.
        let first = contender.exchange(Goal::Messages(1))?;
        let second = first.times.first().copied().unwrap_or_default() / 1e3;
        millis.push((now() - begin).as_secs_f64() * 1e3 - second);
        rss.push(kib(contender.running.usage().rss_kib));
    }
    Ok(Start { name: entry.name, millis: Spread::of(millis), rss_kib: Spread::of(rss) })
}

fn idle_of(entry: &'static Entry, starter: &Starter<'_>, count: usize) -> Result<Idle, String> {
    let fail = |error: std::io::Error| error.to_string();
    let mut running = starter.start(entry)?;
    running.wait_until_it_listens().map_err(fail)?;
    let settle = || std::thread::sleep(Duration::from_secs(1));
    settle();
    let before = running.usage().rss_kib;
    let mut links: Vec<Link> = Vec::with_capacity(count);
    for _ in 0..count {
        links.push(running.link(entry.talk.framing()).map_err(fail)?);
    }
    settle();
    let after = running.usage().rss_kib;
    if let Some(status) = running.child.try_wait().map_err(fail)? {
        return Err(format!("it ended: {status}; {}", running.last_words()));
    }
    let grown = kib(after.saturating_sub(before)) * 1024.0;
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes_each = grown / links.len() as f64;
    Ok(Idle { name: entry.name, connections: links.len(), bytes_each })
}

#[allow(clippy::cast_precision_loss, reason = "memory is far below 2^52 KiB")]
fn kib(value: u64) -> f64 {
    value as f64
}

//! Does a message cost the same however much the host holds: plugins, sessions, messages of a session?

use std::fmt::Write as _;

use crate::drive::{Goal, Link};
use crate::measure::{Cell, Contender, Sample, Skipped, Spread, cpu_per_message, middle_half};
use crate::options::Options;
use crate::servers::{ALL, Entry, Kind, Starter, Wire};
use crate::shapes::Shape;

/// Cost by size of one thing that grows.
#[derive(Debug)]
pub struct Growth {
    pub what: &'static str,
    pub points: Vec<Point>,
}

#[derive(Debug)]
pub struct Point {
    pub size: usize,
    /// Microseconds of time per message.
    pub cost: Spread,
    /// Cost over that of the smallest size, inside a turn.
    pub of_first: Spread,
    /// Between which values the middle half of these ratios lies.
    pub of_first_half: (f64, f64),
    /// Microseconds of the host's processor time per message.
    pub cpu: f64,
}

/// Sessions that work while the others are idle.
const BUSY: usize = 10;

/// Messages of a young session: enough to warm up its process.
const YOUNG: usize = 10_000;

/// Turns of a round. Whatever the machine does meanwhile lasts longer than a short turn, so it hits all
/// sizes alike; and many ratios have a better median than few.
const TURNS: u32 = 10;

/// Messages over which a session's cost is taken in a turn.
const MEASURED: u64 = 4_000;

/// Open files that are not sessions.
const OTHER_FILES: u64 = 200;

pub fn measure(
    starter: &Starter<'_>,
    options: &Options,
    files: u64,
    skipped: &mut Vec<Skipped>,
) -> Vec<Growth> {
    let most = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(10_000);
    let sessions = [10, 1000, 10_000].map(|count| count.min(most));
    let messages = if options.quick { 100_000 } else { 1_000_000 };
    let mut grown = Vec::new();
    let parts = [
        ("plugins", plugins(starter, options)),
        ("sessions", of_sessions(&sessions, starter, options)),
        ("messages of a session", of_messages(messages, starter, options)),
    ];
    for (what, points) in parts {
        match points {
            Ok(points) => grown.push(Growth { what, points }),
            Err(reason) => skipped.push(Skipped { name: format!("growth, {what}"), reason }),
        }
    }
    grown
}

fn host(wire: Wire) -> Result<&'static Entry, String> {
    let inline = Kind::A2e { run: "inline", audit: "write" };
    let found = ALL.iter().find(|entry| entry.kind == inline && entry.wire == wire);
    found.ok_or_else(|| "the table has no such host".to_owned())
}

fn plugins(starter: &Starter<'_>, options: &Options) -> Result<Vec<Point>, String> {
    let cell = Cell::new(Wire::Pipe, Shape::Small, 64, 1);
    let entry = host(Wire::Pipe)?;
    let mut contenders = Vec::new();
    for size in [1, 20, 200] {
        let mut config = starter.audit_config("write") + "plugins:\n";
        for number in 0..size {
            // The one with the tool is asked first; a memory plugin handles none of its types.
            let (kind, cls, priority) = match number {
                0 => ("tools", "a2e.caps.demo.plugin.DemoToolPlugin", 10),
                _ => ("memory", "a2e.caps.memory.plugin.MemoryPlugin", 0),
            };
            // Writing to a string cannot fail.
            let _written = writeln!(
                config,
                "  - {{name: p{number}, type: {kind}, cls: {cls}, metadata: {{priority: {priority}}}}}"
            );
        }
        let running = starter.start_configured(entry, Some(&config))?;
        contenders.push((size, Contender::connect(entry, cell, running, starter)?));
    }
    rounds(contenders, options)
}

fn of_sessions(
    sizes: &[usize],
    starter: &Starter<'_>,
    options: &Options,
) -> Result<Vec<Point>, String> {
    let cell = Cell::new(Wire::Unix, Shape::Small, 8, BUSY);
    let entry = host(Wire::Unix)?;
    let mut contenders = Vec::new();
    // The idle ones stay open until all is measured.
    let mut idle: Vec<Link> = Vec::new();
    for size in sizes {
        let mut running = starter.start(entry)?;
        for _ in BUSY..*size {
            let mut link = running.link(entry.talk.framing()).map_err(|error| error.to_string())?;
            let request = entry.talk.request(Shape::Small).bytes;
            let answered = link.ask(&request, |answer| answer.ends_with(b"\n"));
            answered.map_err(|error| format!("session {}: {error}", idle.len()))?;
            idle.push(link);
        }
        contenders.push((*size, Contender::connect(entry, cell, running, starter)?));
    }
    rounds(contenders, options)
}

/// All sizes in each turn.
fn rounds(
    mut contenders: Vec<(usize, Contender)>,
    options: &Options,
) -> Result<Vec<Point>, String> {
    for (_, contender) in &mut contenders {
        contender.exchange(Goal::Time(options.slice()))?;
    }
    let mut samples: Vec<Vec<Sample>> = contenders.iter().map(|_| Vec::new()).collect();
    for turn in 0..options.rounds * TURNS {
        let mut all: Vec<_> = contenders.iter_mut().zip(&mut samples).collect();
        // None is always the one after the same other.
        if turn % 2 == 1 {
            all.reverse();
        }
        for ((_, contender), samples) in all {
            samples.push(contender.exchange(Goal::Time(options.slice() / TURNS))?);
        }
    }
    let sizes = contenders.iter().map(|(size, _)| *size);
    Ok(points(sizes.zip(samples).collect()))
}

/// An old session beside young ones, turn by turn: what the machine does meanwhile hits both.
fn of_messages(
    most: usize,
    starter: &Starter<'_>,
    options: &Options,
) -> Result<Vec<Point>, String> {
    let cell = Cell::new(Wire::Pipe, Shape::Small, 64, 1);
    let mut old = Contender::start(host(Wire::Pipe)?, cell, starter)?;
    old.exchange(Goal::Messages(most as u64))?;
    let mut samples = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        // A new session for each round, so that it is young each time; its first messages warm it up.
        let mut young = Contender::start(host(Wire::Pipe)?, cell, starter)?;
        young.exchange(Goal::Messages(YOUNG as u64))?;
        for _ in 0..TURNS {
            samples.0.push(young.exchange(Goal::Messages(MEASURED))?);
            samples.1.push(old.exchange(Goal::Messages(MEASURED))?);
        }
    }
    Ok(points(vec![(YOUNG, samples.0), (most, samples.1)]))
}

fn points(samples: Vec<(usize, Vec<Sample>)>) -> Vec<Point> {
    let first: Vec<f64> = samples
        .first()
        .map(|(_, samples)| samples.iter().map(|it| it.rate).collect())
        .unwrap_or_default();
    let point = |(size, samples): (usize, Vec<Sample>)| {
        let ratios = || samples.iter().zip(&first).map(|(it, first)| first / it.rate);
        Point {
            size,
            cost: Spread::of(samples.iter().map(|it| 1e6 / it.rate)),
            of_first: Spread::of(ratios()),
            of_first_half: middle_half(ratios()),
            cpu: cpu_per_message(&samples),
        }
    };
    samples.into_iter().map(point).collect()
}

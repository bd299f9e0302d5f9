//! The matrix: cells, the servers in them, interleaved rounds, ratios inside a round.

mod contender;
mod spread;
mod stats;

pub use contender::Contender;
pub use spread::Spread;
pub use stats::{Sample, cpu_per_message, middle_half};

use crate::drive::Goal;
use crate::options::Options;
use crate::servers::{ALL, Entry, Kind, Programs, Starter, Wire};
use crate::shapes::Shape;

/// A server that was not measured, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub name: String,
    pub reason: String,
}

/// What is the same for all servers of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub wire: Wire,
    pub shape: Shape,
    /// Requests in flight on each connection.
    pub window: usize,
    pub links: usize,
    /// Whether the driver stays awake while it waits: what then is slow is the server, not the waking of
    /// the driver's processor, which costs more on a virtual machine than the work on a request.
    pub is_awake: bool,
}

impl Cell {
    pub fn new(wire: Wire, shape: Shape, window: usize, links: usize) -> Self {
        Self { wire, shape, window, links, is_awake: false }
    }

    pub fn name(&self) -> String {
        let wire = match self.wire {
            Wire::Pipe => "pipe",
            Wire::Unix => "unix",
            Wire::Tcp => "tcp",
        };
        let links =
            if self.links == 1 { String::new() } else { format!(", {} connections", self.links) };
        let awake = if self.is_awake { ", driver awake" } else { "" };
        format!("{wire}, {}, {} in flight{links}{awake}", self.shape.name(), self.window)
    }
}

/// A server's figures in a cell.
#[derive(Debug)]
pub struct Row {
    pub entry: &'static Entry,
    pub samples: Vec<Sample>,
    /// Rates over those of the limit, round by round.
    pub of_limit: Spread,
    /// Median times above those of the limit, microseconds.
    pub above_limit: Spread,
    /// How many times as fast `a2e inline` is.
    pub a2e_times: Spread,
}

impl Row {
    pub fn rate(&self) -> Spread {
        Spread::of(self.samples.iter().map(|it| it.rate))
    }

    /// The n-th of p50, p99, p999.
    pub fn time(&self, which: usize) -> Spread {
        Spread::of(self.samples.iter().filter_map(|it| it.times.get(which).copied()))
    }
}

/// A cell with what was measured.
#[derive(Debug)]
pub struct MeasuredCell {
    pub cell: Cell,
    /// The fastest raw echo.
    pub limit: &'static str,
    pub rows: Vec<Row>,
}

/// The cells that are asked for.
pub fn cells(options: &Options) -> Vec<Cell> {
    let cell = Cell::new;
    let awake = |wire| Cell { is_awake: true, ..cell(wire, Shape::Small, 1, 1) };
    let mut cells = Vec::new();
    if options.quick {
        cells.extend([
            cell(Wire::Pipe, Shape::Small, 64, 1),
            cell(Wire::Pipe, Shape::Small, 1, 1),
            awake(Wire::Pipe),
            cell(Wire::Pipe, Shape::Text, 64, 1),
            cell(Wire::Unix, Shape::Small, 64, 1),
            cell(Wire::Unix, Shape::Small, 1, 1000),
        ]);
    } else {
        for shape in [Shape::Small, Shape::Medium, Shape::Text, Shape::Rows] {
            for wire in [Wire::Pipe, Wire::Unix, Wire::Tcp] {
                cells.extend([64, 1].map(|window| cell(wire, shape, window, 1)));
            }
        }
        cells.extend([Wire::Pipe, Wire::Unix, Wire::Tcp].map(awake));
        for wire in [Wire::Unix, Wire::Tcp] {
            for (window, links) in [(1, 100), (64, 100), (1, 1000), (64, 1000)] {
                cells.push(cell(wire, Shape::Small, window, links));
            }
            cells.push(cell(wire, Shape::Medium, 1, 1000));
        }
    }
    cells.retain(|cell| options.has_cell(&cell.name()));
    cells
}

/// The servers that are asked for and cannot be measured here.
pub fn skipped(programs: &Programs, options: &Options) -> Vec<Skipped> {
    let asked = ALL.iter().filter(|entry| options.has_server(entry.name));
    let missing = asked.filter_map(|entry| {
        let reason = entry.is_missing(programs)?;
        Some(Skipped { name: entry.name.to_owned(), reason })
    });
    missing.collect()
}

/// How many requests wait for a plugin by default.
const QUEUE: usize = 1024;

/// Measures one cell; nothing if no server of it is asked for.
pub fn measure(
    cell: &Cell,
    starter: &Starter<'_>,
    options: &Options,
    skipped: &mut Vec<Skipped>,
) -> Option<MeasuredCell> {
    let fits = |entry: &&Entry| {
        entry.wire == cell.wire
            && (entry.has_rows || cell.shape != Shape::Rows)
            && (entry.has_many || cell.links == 1)
            && (entry.kind != Kind::PeerWithClient || !cell.is_awake)
            && (entry.kind == Kind::Raw || options.has_server(entry.name))
            && entry.is_missing(starter.programs).is_none()
    };
    let entries: Vec<&'static Entry> = ALL.iter().filter(fits).collect();
    if entries.iter().all(|entry| entry.kind == Kind::Raw) && !options.only.is_empty() {
        return None;
    }
    let mut skip = |name: &str, reason: String| {
        skipped.push(Skipped { name: format!("{name} ({})", cell.name()), reason });
    };
    let mut runs: Vec<(Contender, Vec<Sample>)> = Vec::new();
    for entry in entries {
        if entry.waits_at_a_gate() && cell.window * cell.links > QUEUE {
            skip(entry.name, format!("at most {QUEUE} requests wait; the others are `overloaded`"));
            continue;
        }
        // A first exchange warms up, and shows that the answers are right.
        let warm = Contender::start(entry, *cell, starter).and_then(|mut contender| {
            contender.exchange(Goal::Time(options.slice()))?;
            Ok(contender)
        });
        match warm {
            Ok(contender) => runs.push((contender, Vec::new())),
            Err(reason) => skip(entry.name, reason),
        }
    }
    for round in 0..options.rounds {
        // Each round begins with another server.
        let count = runs.len();
        let first = usize::try_from(round).unwrap_or_default() % count.max(1);
        for place in (first..count).chain(0..first) {
            let Some((contender, samples)) = runs.get_mut(place) else { continue };
            match sample(contender, cell.shape, options) {
                Ok(sample) => samples.push(sample),
                // Without a sample of every round it has no ratios, and is left out.
                Err(reason) => skip(contender.entry.name, reason),
            }
        }
    }
    runs.retain(|(_, samples)| samples.len() == options.rounds as usize);
    Some(compare(*cell, runs.into_iter().map(|(it, samples)| (it.entry, samples)).collect()))
}

/// One measurement. A virtual machine takes memory back that was free for a while, so large messages are slow
/// after a pause, raw echoes of 64 KiB by a factor of four: these begin with an exchange that does not count.
fn sample(contender: &mut Contender, shape: Shape, options: &Options) -> Result<Sample, String> {
    if matches!(shape, Shape::Text | Shape::Rows) {
        contender.exchange(Goal::Time(options.slice()))?;
    }
    contender.exchange(Goal::Time(options.slice()))
}

/// Ratios are taken inside a round, against the raw echo with the best median.
fn compare(cell: Cell, runs: Vec<(&'static Entry, Vec<Sample>)>) -> MeasuredCell {
    let rate = |samples: &[Sample]| Spread::of(samples.iter().map(|it| it.rate)).median;
    let raw = runs.iter().filter(|(entry, _)| entry.kind == Kind::Raw);
    let limit = raw.max_by(|a, b| rate(&a.1).total_cmp(&rate(&b.1))).cloned();
    let is_a2e = |entry: &Entry| entry.kind == Kind::A2e { run: "inline", audit: "write" };
    let a2e = runs.iter().find(|(entry, _)| is_a2e(entry)).map(|(_, samples)| samples.clone());
    let (limit, limits) = limit.map_or(("", Vec::new()), |(entry, samples)| (entry.name, samples));
    let a2e = a2e.unwrap_or_default();
    let row = |(entry, samples): (&'static Entry, Vec<Sample>)| {
        let pairs = || samples.iter().zip(&limits);
        let of_limit = Spread::of(pairs().map(|(one, limit)| one.rate / limit.rate));
        let above_limit = Spread::of(
            pairs().filter_map(|(one, limit)| Some(one.times.first()? - limit.times.first()?)),
        );
        let a2e_times = Spread::of(samples.iter().zip(&a2e).map(|(one, a2e)| a2e.rate / one.rate));
        Row { entry, samples, of_limit, above_limit, a2e_times }
    };
    MeasuredCell { cell, limit, rows: runs.into_iter().map(row).collect() }
}

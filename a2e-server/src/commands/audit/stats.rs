//! `a2e audit stats`: counts and latencies by message type.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal};

use a2e_core::audit::rotated_files;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::bars::{histogram, span};
use super::buckets::Buckets;
use super::{FileArgs, unread};
use crate::Failure;
use crate::stdout::{print, print_json};

/// Clients choose the types, so they are bounded: further ones are counted together.
const MAX_TYPES: usize = 1000;

/// Where the types beyond [`MAX_TYPES`] go.
const OTHERS: &str = "(other types)";

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    a2e audit stats audit.jsonl\n  \
    a2e audit stats audit.jsonl --json | jq '.types[\"tool/call/req\"].run_us.p99'\n\n\
    Queue is the time from the whole line to the start of its handler, run the time from there to the\n\
    answer. Percentiles are exact to 3 %.")]
pub(super) struct StatsArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Only this file, without the rotated ones
    #[arg(long)]
    only: bool,
    /// Draw with plain ASCII (so it is when stdout is no terminal)
    #[arg(long)]
    plain: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is counted of a record.
#[derive(Deserialize)]
struct Record {
    #[serde(rename = "type")]
    kind: String,
    outcome: String,
    queue_us: u64,
    run_us: u64,
    input_bytes: u64,
    output_bytes: u64,
}

#[derive(Deserialize)]
struct GapLine {
    gap: Gap,
}

#[derive(Deserialize)]
struct Gap {
    lost: u64,
}

#[derive(Debug, Default)]
struct Stats {
    types: BTreeMap<String, Kind>,
    dropped: u64,
    unreadable: u64,
}

#[derive(Debug, Default)]
struct Kind {
    count: u64,
    outcomes: BTreeMap<String, u64>,
    queue: Buckets,
    run: Buckets,
    input_bytes: u64,
    output_bytes: u64,
}

pub(super) fn run(args: &StatsArgs) -> Result<(), Failure> {
    let file = args.file.path()?;
    let files = if args.only { vec![file.clone()] } else { rotated_files(&file) };
    let mut stats = Stats::default();
    for path in &files {
        let file = File::open(path).map_err(|error| unread(path, &error))?;
        for line in BufReader::new(file).split(b'\n') {
            stats.add(&line.map_err(|error| unread(path, &error))?);
        }
    }
    if args.json {
        return print_json(&stats.report());
    }
    let is_plain = args.plain || !std::io::stdout().is_terminal();
    print(&stats.text(is_plain))
}

impl Stats {
    fn add(&mut self, line: &[u8]) {
        if line.starts_with(b"{\"seal\":") || line.is_empty() {
            return;
        }
        if line.starts_with(b"{\"gap\":") {
            match serde_json::from_slice::<GapLine>(line) {
                Ok(line) => self.dropped += line.gap.lost,
                Err(_) => self.unreadable += 1,
            }
            return;
        }
        let Ok(record) = serde_json::from_slice::<Record>(line) else {
            self.unreadable += 1;
            return;
        };
        let is_known = self.types.contains_key(&record.kind) || self.types.len() < MAX_TYPES;
        let name = if is_known { record.kind } else { OTHERS.to_owned() };
        let kind = self.types.entry(name).or_default();
        kind.count += 1;
        // The host knows seven outcomes; a foreign file may hold any text.
        let is_known = kind.outcomes.contains_key(&record.outcome) || kind.outcomes.len() < 16;
        let outcome = if is_known { record.outcome } else { "(other)".to_owned() };
        *kind.outcomes.entry(outcome).or_default() += 1;
        kind.queue.add(record.queue_us);
        kind.run.add(record.run_us);
        kind.input_bytes = kind.input_bytes.saturating_add(record.input_bytes);
        kind.output_bytes = kind.output_bytes.saturating_add(record.output_bytes);
    }

    fn text(&self, is_plain: bool) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _infallible = self.describe(&mut out, is_plain);
        out
    }

    fn describe(&self, out: &mut String, is_plain: bool) -> std::fmt::Result {
        let total: u64 = self.types.values().map(|kind| kind.count).sum();
        writeln!(
            out,
            "{total} records, {} dropped by the host, {} unreadable lines",
            self.dropped, self.unreadable
        )?;
        let mut kinds: Vec<_> = self.types.iter().collect();
        kinds.sort_by_key(|(name, kind)| (std::cmp::Reverse(kind.count), *name));
        for (name, kind) in &kinds {
            let name = if name.is_empty() { "(no type)" } else { name.as_str() };
            let outcomes: Vec<_> =
                kind.outcomes.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
            writeln!(out, "\n{name}: {} ({})", kind.count, outcomes.join(", "))?;
            for (what, buckets) in [("queue", &kind.queue), ("run", &kind.run)] {
                let [p50, p90, p99, max] = Times::of(buckets).all().map(span);
                writeln!(out, "  {what:<5}  p50 {p50:<9} p90 {p90:<9} p99 {p99:<9} max {max}")?;
            }
            out.push_str(&histogram(&kind.run, is_plain));
        }
        if kinds.len() > 1 {
            let mut all = Buckets::default();
            for (_, kind) in &kinds {
                all.merge(&kind.run);
            }
            let [p50, p90, p99, max] = Times::of(&all).all().map(span);
            writeln!(out, "\nall types: {total}")?;
            writeln!(out, "  run    p50 {p50:<9} p90 {p90:<9} p99 {p99:<9} max {max}")?;
            out.push_str(&histogram(&all, is_plain));
        }
        Ok(())
    }

    fn report(&self) -> Report<'_> {
        let types = self.types.iter().map(|(name, kind)| {
            let report = KindReport {
                count: kind.count,
                outcomes: &kind.outcomes,
                queue_us: Times::of(&kind.queue),
                run_us: Times::of(&kind.run),
                input_bytes: kind.input_bytes,
                output_bytes: kind.output_bytes,
                run_histogram: kind.run.doublings(),
            };
            (name.as_str(), report)
        });
        Report { types: types.collect(), dropped: self.dropped, unreadable: self.unreadable }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    types: BTreeMap<&'a str, KindReport<'a>>,
    dropped: u64,
    unreadable: u64,
}

#[derive(Serialize)]
struct KindReport<'a> {
    count: u64,
    outcomes: &'a BTreeMap<String, u64>,
    queue_us: Times,
    run_us: Times,
    input_bytes: u64,
    output_bytes: u64,
    /// Lower bound, upper bound (not included), count.
    run_histogram: Vec<(u64, u64, u64)>,
}

/// In microseconds.
#[derive(Serialize)]
struct Times {
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

impl Times {
    fn of(buckets: &Buckets) -> Self {
        let [p50, p90, p99] = [500, 900, 990].map(|wanted| buckets.per_mille(wanted));
        Self { p50, p90, p99, max: buckets.max() }
    }

    fn all(&self) -> [u64; 4] {
        [self.p50, self.p90, self.p99, self.max]
    }
}

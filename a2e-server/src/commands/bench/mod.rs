//! `a2e bench`: how fast this program moves messages on this machine, beside the pipe under it.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

mod drive;

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::Failure;
use crate::args::seconds;
use crate::stdout::{print, print_json};
use drive::{Measured, measure};

#[derive(Debug, Args)]
#[command(
    after_help = "It starts itself as a host with the demo tools, sends echo calls over a pipe, and does \
    the same with a process that only gives back what it reads: what no server can beat. Figures of a \
    busy machine say little; the ratio says more than the rest.\n\nExamples:\n  a2e bench\n  \
    a2e bench --seconds 5 --audit write --run pool --json"
)]
pub(crate) struct BenchArgs {
    /// How long each measurement takes
    #[arg(long, value_name = "SECS", default_value_t = 1.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Bytes of one request
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = clap::value_parser!(u32).range(120..=65_536))]
    pub(crate) size: u32,
    /// Requests in flight
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) in_flight: u16,
    /// The audit mode of the host, in a file that is removed afterwards
    #[arg(long, value_name = "MODE", default_value = "off", value_parser = ["off", "buffered", "write", "sync"])]
    pub(crate) audit: String,
    /// Where the handler runs
    #[arg(long, value_name = "WHERE", default_value = "inline", value_parser = ["inline", "pool", "blocking", "future"])]
    pub(crate) run: String,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    a2e: Measured,
    a2e_one_in_flight: Measured,
    raw_echo: Measured,
    raw_echo_one_in_flight: Measured,
    /// Messages per second beside the raw echo's.
    ratio: f64,
    /// Start of the program to its first reply, in milliseconds.
    start_ms: f64,
}

pub(crate) fn run(args: &BenchArgs) -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("a2e-bench-{}", std::process::id()));
    std::fs::create_dir(&folder)
        .map_err(|error| Failure::refused(format_args!("{}: {error}", folder.display())))?;
    let report = report(args, &folder);
    // What is left is in a folder for such things.
    let _left = std::fs::remove_dir_all(&folder);
    let report = report?;
    if args.json { print_json(&report) } else { print(&text(args, &report)) }
}

fn report(args: &BenchArgs, folder: &Path) -> Result<Report, Failure> {
    let file = folder.join("bench.yaml");
    let audit = match args.audit.as_str() {
        "off" => String::new(),
        mode => {
            let path = folder.join("audit.log");
            format!("audit: {{enabled: true, mode: {mode}, path: \"{}\"}}\n", path.display())
        }
    };
    let config = format!(
        "{audit}plugins:\n  - name: demo\n    type: tools\n    \
        cls: a2e.caps.demo.plugin.DemoToolPlugin\n    metadata: {{run: {}}}\n",
        args.run
    );
    std::fs::write(&file, config)
        .map_err(|error| Failure::refused(format_args!("{}: {error}", file.display())))?;
    let path = file.display().to_string();
    let host = ["serve", "--stdio", "-c", path.as_str()];
    let time = Duration::from_secs_f64(args.seconds);
    let (size, window) = (args.size as usize, usize::from(args.in_flight));
    let (a2e, start) = measure(&host, size, window, time)?;
    let (raw_echo, _) = measure(&[ECHO], size, window, time)?;
    Ok(Report {
        ratio: a2e.per_second / raw_echo.per_second,
        a2e,
        a2e_one_in_flight: measure(&host, size, 1, time)?.0,
        raw_echo,
        raw_echo_one_in_flight: measure(&[ECHO], size, 1, time)?.0,
        start_ms: start.as_secs_f64() * 1e3,
    })
}

fn text(args: &BenchArgs, report: &Report) -> String {
    let row = |name: &str, in_flight: u16, it: &Measured| {
        format!(
            "{name:<10} {in_flight:>9} {:>12.0} {:>9.1} {:>9.1} {:>9.1}\n",
            it.per_second, it.p50_us, it.p99_us, it.max_us
        )
    };
    let mut text = format!(
        "{} B, handler {}, audit {}\n{:<10} {:>9} {:>12} {:>9} {:>9} {:>9}\n",
        args.size,
        args.run,
        args.audit,
        "",
        "in flight",
        "messages/s",
        "p50 us",
        "p99 us",
        "max us"
    );
    text += &row("a2e", args.in_flight, &report.a2e);
    text += &row("raw echo", args.in_flight, &report.raw_echo);
    text += &row("a2e", 1, &report.a2e_one_in_flight);
    text += &row("raw echo", 1, &report.raw_echo_one_in_flight);
    let (ratio, start) = (report.ratio, report.start_ms);
    text + &format!(
        "a2e moves {ratio:.2} of what the raw echo moves; start to first reply {start:.1} ms\n"
    )
}

/// The argument that makes this program the raw echo.
pub(crate) const ECHO: &str = "__echo";

/// Gives back what it reads.
pub(crate) fn echo() -> Result<(), Failure> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut block = vec![0; 64 * 1024];
    loop {
        let read = input.read(&mut block).map_err(Failure::internal)?;
        let Some(bytes) = block.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        output.write_all(bytes).map_err(Failure::internal)?;
        output.flush().map_err(Failure::internal)?;
    }
}

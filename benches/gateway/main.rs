//! A2E as a gateway for MCP beside others in front of the same server; and servers alone, to compare them with.
//!
//! `cargo run --release -p benches --bin gateway -- --help`

#![allow(unreachable_pub, reason = "in a program, `pub` says what a module gives to the others")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that shows a table")]
#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

mod contenders;
#[path = "../side_by_side/cores.rs"]
#[allow(dead_code, reason = "`load` has further uses for it")]
mod cores;
#[path = "../side_by_side/drive/histogram.rs"]
mod histogram;
#[path = "../load/http.rs"]
#[allow(dead_code, reason = "`load` has further uses for it")]
mod http;
#[path = "../../tests/it/process/support/packages.rs"]
#[allow(dead_code, reason = "tests have further uses for it")]
mod packages;
mod report;
mod running;
#[path = "../side_by_side/measure/spread.rs"]
mod spread;
mod talk;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use contenders::Contender;
use cores::Cores;
use report::{Report, Row};
use running::Running;

/// Puts gateways for MCP in front of one server and calls its tool through them.
#[derive(Debug, Parser)]
struct Options {
    /// Rounds; in each of them all have their turn
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long each is called one call at a time, and then with 32 in flight, in milliseconds
    #[arg(long, default_value_t = 500)]
    millis: u64,
    /// One round of 100 ms: whether it works
    #[arg(long)]
    short: bool,
    /// Builds no peers: behind the gateways is a tool of A2E's own
    #[arg(long)]
    no_peers: bool,
    /// Builds no peers and installs nothing
    #[arg(long)]
    only_a2e: bool,
    /// Where gateway.md and gateway.json go
    #[arg(long, value_name = "FOLDER", default_value = "target/gateway")]
    out: PathBuf,
}

fn main() -> ExitCode {
    // The program is its own host.
    benches::run_role();
    let mut options = Options::parse();
    if options.short {
        (options.rounds, options.millis) = (1, 100);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(&options)),
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("gateway: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = own.ancestors().nth(2).unwrap_or(root);
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    // Found before this program is bound to one processor: some are built.
    let peers = if options.no_peers || options.only_a2e {
        Err("--no-peers".to_owned())
    } else {
        benches::peers(root, target)
    };
    let packages = (!options.only_a2e).then(|| target.join("gateway"));
    let all = contenders::all(&own, scratch.path(), &peers, packages.as_deref())?;
    let cores = Cores::pick(1)?;
    cores.bind_driver()?;
    let shared = if cores.is_shared() { ", hyper-threads of one core" } else { "" };
    let machine = cores::machine() + shared;
    let mut report = Report { machine, is_short: options.short, ..Report::default() };
    let mut turns = start(&all, &cores, scratch.path(), &mut report).await;
    let time = Duration::from_millis(options.millis);
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        let mut next = Vec::new();
        for (mut row, mut running) in turns {
            match turn(&mut row, &mut running, time).await {
                Ok(()) => next.push((row, running)),
                Err(why) => report.missing.push((row.name(), why)),
            }
        }
        turns = next;
    }
    for (mut row, running) in turns {
        row.rss_mib = running.rss_mib();
        report.rows.push(row);
    }
    println!("{}", report.markdown());
    report.write(&options.out)
}

/// Starts all that can be; says of the others why not.
async fn start<'a>(
    all: &'a [Contender],
    cores: &Cores,
    scratch: &Path,
    report: &mut Report,
) -> Vec<(Row, Running<'a>)> {
    let mut started = Vec::new();
    for contender in all {
        let row = Row::of(contender);
        eprintln!("{}", row.name());
        match Running::start(contender, cores, scratch).await {
            Ok(mut running) => match running.talk.warm_up().await {
                Ok(()) => started.push((row, running)),
                Err(error) => report.missing.push((row.name(), running.why(&error.to_string()))),
            },
            Err(why) => report.missing.push((row.name(), why)),
        }
    }
    started
}

async fn turn(row: &mut Row, running: &mut Running<'_>, time: Duration) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    running.talk.reconnect().await.map_err(told)?;
    let times = running.talk.one_at_a_time(time).await.map_err(told)?;
    let quantile = |part| times.quantile(part).unwrap_or(f64::NAN);
    let rate = running.talk.many(time).await.map_err(told)?;
    row.turns.push([quantile(0.5), quantile(0.99), rate]);
    Ok(())
}

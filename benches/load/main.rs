//! Servers under load: 1,000 sessions that call once a second, 10,000 connections that are idle, one ping.
//!
//! `cargo run --release -p benches --bin load -- --help`

#![allow(unreachable_pub, reason = "in a program, `pub` says what a module gives to the others")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that shows a table")]
#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

mod caller;
#[path = "../side_by_side/cores.rs"]
mod cores;
#[path = "../side_by_side/drive/histogram.rs"]
mod histogram;
mod http;
mod parts;
mod python;
mod report;
mod run;
mod servers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use cores::Cores;
use report::Report;
use run::Run;
use servers::Places;

const A2E_TCP: &str = "a2e, TCP";
const A2E_HTTP: &str = "a2e, HTTP with SSE";

/// Puts A2E and its peers under load.
#[derive(Debug, Parser)]
struct Options {
    /// Sessions over HTTP, each with a call a second
    #[arg(long, default_value_t = 1000)]
    sessions: usize,
    /// Idle connections
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// How long the sessions call, in seconds
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Twenty sessions, two hundred connections, two seconds: whether it works
    #[arg(long)]
    short: bool,
    /// No peers: nothing is built or installed
    #[arg(long)]
    only_a2e: bool,
    /// A Python that has FastAPI and uvicorn; without it one is made in target/load, from PyPI
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// A Python that can import the server of the checkout that A2E_PYTHON_SDK names; without it that of the checkout's
    /// venv, or python3
    #[arg(long, value_name = "PATH")]
    sdk_python: Option<PathBuf>,
    /// Where load.md and load.json go
    #[arg(long, value_name = "DIR", default_value = "target/load")]
    out: PathBuf,
}

fn main() -> ExitCode {
    // The program is its own host.
    benches::run_role();
    let mut options = Options::parse();
    if options.short {
        (options.sessions, options.connections, options.seconds) = (20, 200, 2);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(&options)),
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("load: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let files = cores::raise_open_files();
    let places = Places {
        root,
        target: own.ancestors().nth(2).unwrap_or(root),
        with_peers: !options.only_a2e,
        python: options.python.as_deref(),
        sdk_python: options.sdk_python.as_deref(),
    };
    // Found before this program is bound to one processor: some are built.
    let servers = servers::servers(&places);
    let cores = Cores::pick(1)?;
    cores.bind_driver()?;
    let shared = if cores.is_shared() { ", hyper-threads of one core" } else { "" };
    let machine = cores::machine() + shared;
    let report = Report { machine, is_short: options.short, ..Report::default() };
    let mut run = Run { cores: &cores, scratch: scratch.path(), report };
    let connections =
        options.connections.min(usize::try_from(files).unwrap_or(1024).saturating_sub(100));
    for server in &servers {
        if let Some(why) = server.is_missing() {
            run.report.missing.push((server.name.to_owned(), why.to_owned()));
            continue;
        }
        run.sessions(server, options.sessions, Duration::from_secs(options.seconds)).await;
        run.idle(server, connections, Duration::from_secs(options.seconds.min(5))).await;
    }
    let (apart, by_turns): (Vec<_>, Vec<_>) =
        servers.iter().filter(|it| it.is_missing().is_none()).partition(|it| it.pings_apart);
    let rounds = if options.short { 50 } else { 2000 };
    run.pings(&by_turns, rounds).await;
    run.pings(&apart, rounds / 10).await;
    println!("{}", run.report.markdown());
    run.report.write(&options.out)
}

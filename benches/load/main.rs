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
mod report;
mod servers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use caller::{Caller, Speech};
use cores::Cores;
use report::Report;
use servers::Server;

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
    let target = own.ancestors().nth(2).unwrap_or(root);
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let files = cores::raise_open_files();
    // Found before this program is bound to one processor: some are built.
    let servers = servers::servers(root, target, !options.only_a2e, options.python.as_deref());
    let cores = Cores::pick(1)?;
    cores.bind_driver()?;
    let shared = if cores.is_shared() { ", hyper-threads of one core" } else { "" };
    let machine = cores::machine() + shared;
    let mut report = Report { machine, is_short: options.short, ..Report::default() };
    report.missing.push((
        "the reference's own server in Python".to_owned(),
        "no checkout of it is here".to_owned(),
    ));
    for server in &servers {
        if let Some(why) = server.is_missing() {
            report.missing.push((server.name.to_owned(), why.to_owned()));
        }
    }
    let connections =
        options.connections.min(usize::try_from(files).unwrap_or(1024).saturating_sub(100));
    for server in servers.iter().filter(|it| it.is_missing().is_none()) {
        eprintln!("{}: sessions", server.name);
        let running = server.start(&cores, scratch.path())?;
        let time = Duration::from_secs(options.seconds);
        match parts::sessions(&running, server.speech, options.sessions, time).await {
            Ok(it) => report.sessions.push((server.name.to_owned(), it)),
            Err(why) => report.missing.push((format!("{}, sessions", server.name), why)),
        }
        drop(running);
        eprintln!("{}: idle connections", server.name);
        let running = server.start(&cores, scratch.path())?;
        let speech = if running.tcp.is_some() { Speech::A2eLines } else { server.speech };
        let name = if running.tcp.is_some() { A2E_TCP } else { server.name };
        let time = Duration::from_secs(options.seconds.min(5));
        match parts::idle(&running, speech, connections, time).await {
            Ok(it) => report.idle.push((name.to_owned(), it)),
            Err(why) => report.missing.push((format!("{name}, idle"), why)),
        }
    }
    eprintln!("pings");
    report.pings = pings(&servers, &cores, scratch.path(), options).await?;
    println!("{}", report.markdown());
    report.write(&options.out)
}

async fn pings(
    servers: &[Server],
    cores: &Cores,
    scratch: &Path,
    options: &Options,
) -> Result<Vec<(String, [f64; 2])>, String> {
    let (mut running, mut ways) = (Vec::new(), Vec::new());
    for server in servers.iter().filter(|it| it.is_missing().is_none()) {
        let it = server.start(cores, scratch)?;
        let open = async |address, speech| {
            let caller = Caller::open(address, speech, true).await;
            caller.map_err(|error| format!("{}: {error}", server.name))
        };
        if let Some(tcp) = it.tcp {
            ways.push((A2E_TCP.to_owned(), open(tcp, Speech::A2eLines).await?));
            ways.push((A2E_HTTP.to_owned(), open(it.http, server.speech).await?));
        } else {
            ways.push((server.name.to_owned(), open(it.http, server.speech).await?));
        }
        running.push(it);
    }
    let rounds = if options.short { 50 } else { 2000 };
    let times = parts::pings(&mut ways, rounds).await?;
    drop(running);
    Ok(ways.into_iter().map(|(name, _)| name).zip(times).collect())
}

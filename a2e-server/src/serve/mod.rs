//! `a2e serve`: start the host, listen, and end in order.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

mod listen;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::ListenAddr;
use clap::Args;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::seconds;
use crate::{Failure, defaults, telemetry};
use listen::Listener;

/// How long plugins, children and audit may take to end after the one session over stdio has.
const END_LIMIT: Duration = Duration::from_millis(350);

#[derive(Debug, Args)]
#[command(
    after_help = "Where it listens: --stdio and --listen, else `listen` of the file, else its \
    `transport` and `server`.\nNothing given: stdio if stdin is not a terminal, else \
    tcp://127.0.0.1:8765.\nWithout a file: read-only tools over the current directory, memory in RAM, \
    demo tools.\n\n\
    SIGHUP reads FILE again and puts its plugins in force; what did not change is not touched. A file \
    with errors changes nothing; the log says why. SIGTERM and SIGINT drain and end.\n\n\
    Examples:\n  a2e serve --stdio < session.ndjson\n  \
    a2e serve -c a2e.yaml --listen unix:///run/user/1000/a2e/a2e.sock --listen tcp://127.0.0.1:8765"
)]
pub(crate) struct ServeArgs {
    /// The configuration (YAML)
    #[arg(short, long, value_name = "FILE", env = "A2E_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Serve one agent over stdin and stdout; end when it ends
    #[arg(long)]
    pub(crate) stdio: bool,
    /// Serve at an address; may be repeated: tcp://127.0.0.1:8765 · unix:///run/a2e/a2e.sock
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Vec<ListenAddr>,
    /// How long accepted requests may go on after the end of input or SIGTERM; the Python client
    /// waits 3 s for the end before it sends SIGTERM
    #[arg(long, value_name = "SECS", default_value_t = 2.0, value_parser = seconds)]
    pub(crate) drain: f64,
}

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    telemetry::start(None)?;
    let runtime = runtime()?;
    let result = runtime.block_on(serve(args));
    telemetry::finish();
    // A thread that hangs in a plugin must not keep the process.
    runtime.shutdown_background();
    result
}

/// A runtime with enough threads that a handler that hangs does not stop the others.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.max(2))
        .enable_all()
        .build()
        .map_err(|error| Failure::internal(format_args!("no runtime: {error}")))
}

/// Why the host is to end.
enum Stop {
    Signal(&'static str),
    StdioEnded,
    Failed(String),
}

async fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let config = defaults::load(args.config.as_deref())?;
    let drain = Duration::from_secs_f64(args.drain);
    let addresses = addresses(args, &config)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::internal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::internal)?;
    // A file size limit must show as a failed write, not end the host: the signal is taken and ignored.
    let _file_size = signal(SignalKind::from_raw(nix::libc::SIGXFSZ)).map_err(Failure::internal)?;
    // Bound before anything is loaded, so that an address in use costs nothing.
    let mut listeners = Vec::new();
    for address in addresses.iter().filter(|address| **address != ListenAddr::Stdio) {
        listeners.push(Listener::bind(address, &config).await?);
    }
    let mut hangup = signal(SignalKind::hangup()).map_err(Failure::internal)?;
    let mut builder = Executor::builder(config).guard("/proc/self/exe").drain(drain);
    if let Some(file) = &args.config {
        builder = builder.config_file(file);
    }
    let executor = Arc::new(builder.start().await.map_err(Failure::refused)?);
    let reloading = {
        let executor = Arc::clone(&executor);
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                // What it did, or why it did nothing, is in the log.
                let _logged = executor.reload_file().await;
            }
        })
    };
    for listener in &listeners {
        tracing::info!(address = %listener.address(), "listening");
    }
    if !listeners.is_empty() && executor.config().auth_token.is_none() {
        tracing::info!("no token is configured; every peer of this machine is served");
    }
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| tokio::spawn(listener.accept(Arc::clone(&executor))))
        .collect();
    let over_stdio = serve_stdio(&addresses, &executor)?;

    let stop = tokio::select! {
        () = over_stdio => Stop::StdioEnded,
        reason = executor.failed() => Stop::Failed(reason),
        _ = terminate.recv() => Stop::Signal("SIGTERM"),
        _ = interrupt.recv() => Stop::Signal("SIGINT"),
    };
    reloading.abort();
    for accept in &accepting {
        accept.abort();
    }
    let ended = async {
        match &stop {
            Stop::StdioEnded => within(END_LIMIT, executor.shutdown(Duration::ZERO)).await,
            Stop::Failed(reason) => {
                tracing::error!(reason, "the host cannot go on");
                within(END_LIMIT, executor.shutdown(Duration::ZERO)).await;
            }
            Stop::Signal(name) => {
                tracing::info!(signal = name, drain_s = args.drain, "draining");
                executor.shutdown(drain).await;
            }
        }
    };
    tokio::select! {
        () = ended => {}
        // A second signal ends at once.
        _ = terminate.recv() => return Err(Failure::refused("ended by a second signal")),
        _ = interrupt.recv() => return Err(Failure::refused("ended by a second signal")),
    }
    match stop {
        Stop::Failed(reason) => Err(Failure::internal(reason)),
        _ => Ok(()),
    }
}

async fn within(limit: Duration, end: impl Future<Output = ()>) {
    if tokio::time::timeout(limit, end).await.is_err() {
        tracing::warn!("plugins did not end in time; the process ends without them");
    }
}

/// Serves standard input and output, or never ends where they are not served.
fn serve_stdio(
    addresses: &[ListenAddr],
    executor: &Executor,
) -> Result<impl Future<Output = ()> + use<>, Failure> {
    let session = if addresses.contains(&ListenAddr::Stdio) {
        let session = executor.serve_stdio();
        Some(session.map_err(|error| Failure::internal(format_args!("stdio: {error}")))?)
    } else {
        None
    };
    Ok(async move {
        match session {
            Some(session) => session.await,
            None => std::future::pending().await,
        }
    })
}

/// Flags beat the file; the file's `listen` beats its `transport` and `server`.
fn addresses(
    args: &ServeArgs,
    config: &a2e_core::config::HostConfig,
) -> Result<Vec<ListenAddr>, Failure> {
    let mut addresses = args.listen.clone();
    if args.stdio {
        addresses.insert(0, ListenAddr::Stdio);
    }
    if addresses.is_empty() {
        addresses = config.addresses(std::io::stdin().is_terminal());
    }
    if addresses.is_empty() {
        return Err(Failure::refused(
            "`transport: direct` is for hosts inside a program; use --listen",
        ));
    }
    for address in &addresses {
        if let Some(problem) = config.check_address(address) {
            return Err(Failure::refused(problem));
        }
    }
    Ok(addresses)
}

//! `a2e serve`: start the host, listen, and end in order.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

#[cfg(feature = "mcp-server")]
mod held;
mod listen;
#[cfg(feature = "mcp-server")]
pub(crate) mod mcp;
#[cfg(feature = "tls")]
mod tls;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::ListenAddr;
use clap::Args;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::args::seconds;
use crate::defaults::ConfigArgs;
use crate::{Failure, address, telemetry};
use listen::Listener;

/// How long plugins, children and audit may take to end after the one session over stdio has.
const END_LIMIT: Duration = Duration::from_millis(350);

/// What is told at the start of a listener on TCP that asks for no token.
const OPEN_TCP: &str = "no token is configured: every program and every user of this machine is served \
    here; add \"auth_token: ${A2E_TOKEN}\", or listen at a unix:// address";

#[derive(Debug, Args)]
#[command(
    after_help = "Where it listens: --stdio and --listen, else `listen` of the file, else its \
    `transport` and `server`.\nNothing given: stdio if stdin is not a terminal, else a \
    socket of your own, $XDG_RUNTIME_DIR/a2e/a2e.sock or /tmp/a2e-UID/a2e.sock, where the other commands \
    look for it.\nWithout a file: read-only tools over the current directory, memory in RAM, \
    demo tools.\nWhat it speaks: A2E lines; at http:// addresses the same over POST, SSE and WebSockets, MCP at /mcp, \
    and environments as OpenEnv servers at /env/NAME. With --mcp it speaks MCP over stdin and stdout, and listens only where --listen says.\n\
    Who is let in: `auth_token` is one token for all, `server.principals` gives each peer a token, tenant, \
    rights and lists of what it may use; calls that `approve` names wait for a person (`a2e approve`). \
    a2e-server/examples/principals.yaml shows both.\n\n\
    SIGHUP reads FILE again and puts its plugins in force; what did not change is not touched. A file \
    with errors changes nothing; the log says why. SIGTERM and SIGINT drain and end.\n\n\
    Examples:\n  a2e serve --stdio < session.ndjson\n  a2e serve --mcp -c a2e.yaml\n  \
    a2e serve -c a2e.yaml --listen unix:///run/user/1000/a2e.sock --listen tcp://127.0.0.1:8765"
)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Serve one agent over stdin and stdout; end when it ends
    #[arg(long)]
    pub(crate) stdio: bool,
    /// Serve one MCP client over stdin and stdout (Claude Code, Cursor, goose, …); end when it ends
    #[cfg(feature = "mcp-server")]
    #[arg(long, conflicts_with = "stdio")]
    pub(crate) mcp: bool,
    /// Which list of tools the MCP client gets: full, search (two tools that find and call the others), or one of
    /// `mcp_server.views`
    #[cfg(feature = "mcp-server")]
    #[arg(long, value_name = "NAME", requires = "mcp")]
    pub(crate) view: Option<String>,
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
    Asked(Duration),
    StdioEnded,
    Failed(String),
}

async fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let config = args.config.load()?;
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
    #[cfg(feature = "mcp-server")]
    let mcp = mcp::Prepared::of(&config, args.view.as_deref())?;
    let mut builder = Executor::builder(config).guard("/proc/self/exe").drain(drain);
    if let Some(file) = args.config.path() {
        builder = builder.config_file(file);
    }
    if args.config.lenient {
        builder = builder.lenient();
    }
    #[cfg(feature = "mcp-server")]
    let builder = mcp.add_to(builder, args.mcp, listeners.iter().any(Listener::is_http));
    let (executor, cut) =
        (builder.start().await.map_err(Failure::refused)?, CancellationToken::new());
    let executor = Arc::new(executor);
    #[cfg(feature = "mcp-server")]
    let (front, view) = mcp.start(&executor, &cut)?;
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
    if !executor.config().needs_token() {
        for listener in listeners.iter().filter(|listener| listener.is_tcp()) {
            tracing::warn!(address = %listener.address(), "{OPEN_TCP}");
        }
    }
    let (accepting, ended) = (TaskTracker::new(), CancellationToken::new());
    for listener in listeners {
        #[cfg(all(feature = "http", feature = "mcp-server"))]
        let listener = listener.with_mcp(&front);
        accepting.spawn(listener.accept(Arc::clone(&executor), ended.clone()));
    }
    accepting.close();
    let over_stdio = serve_stdio(&addresses, &executor)?;

    #[cfg(feature = "mcp-server")]
    let over_mcp = over_mcp(args.mcp.then_some((front, view)), ended.clone());
    #[cfg(not(feature = "mcp-server"))]
    let over_mcp = std::future::pending::<()>();

    let stop = tokio::select! {
        () = over_stdio => Stop::StdioEnded,
        () = over_mcp => Stop::StdioEnded,
        reason = executor.failed() => Stop::Failed(reason),
        drain = executor.stop_asked() => Stop::Asked(drain),
        _ = terminate.recv() => Stop::Signal("SIGTERM"),
        _ = interrupt.recv() => Stop::Signal("SIGINT"),
    };
    reloading.abort();
    ended.cancel();
    let over = async {
        match &stop {
            Stop::StdioEnded => within(END_LIMIT, executor.shutdown(Duration::ZERO)).await,
            Stop::Failed(reason) => {
                tracing::error!(reason, "the host cannot go on");
                within(END_LIMIT, executor.shutdown(Duration::ZERO)).await;
            }
            Stop::Asked(drain) => {
                tracing::info!(
                    drain_s = drain.as_secs_f64(),
                    "an operator asked for the end; draining"
                );
                executor.shutdown(*drain).await;
            }
            Stop::Signal(name) => {
                tracing::info!(signal = name, drain_s = args.drain, "draining");
                executor.shutdown(drain).await;
            }
        }
        leave(&accepting, &cut).await;
    };
    tokio::select! {
        () = over => {}
        // A second signal ends at once.
        _ = terminate.recv() => return Err(Failure::refused("ended by a second signal")),
        _ = interrupt.recv() => return Err(Failure::refused("ended by a second signal")),
    }
    match stop {
        Stop::Failed(reason) => Err(Failure::internal(reason)),
        _ => Ok(()),
    }
}

/// Waits until what was answered last has left over HTTP, then cuts what clients of MCP hold open.
async fn leave(accepting: &TaskTracker, cut: &CancellationToken) {
    if tokio::time::timeout(END_LIMIT, accepting.wait()).await.is_err() {
        cut.cancel();
        let _long_enough = tokio::time::timeout(END_LIMIT, accepting.wait()).await;
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

/// Serves an MCP client on standard input and output, or never ends where none is served.
#[cfg(feature = "mcp-server")]
async fn over_mcp(front: Option<(Arc<mcp::McpFront>, mcp::View)>, ended: CancellationToken) {
    match front {
        Some((front, view)) => front.serve_stdio(view, ended).await,
        None => std::future::pending().await,
    }
}

/// Flags beat the file; the file's `listen` beats its `transport` and `server`.
fn addresses(
    args: &ServeArgs,
    config: &a2e_core::config::HostConfig,
) -> Result<Vec<ListenAddr>, Failure> {
    let mut addresses = args.listen.clone();
    #[cfg(feature = "mcp-server")]
    if args.mcp {
        // Each client starts a host of its own from one file: it cannot listen where the others do.
        return Ok(addresses);
    }
    if args.stdio {
        addresses.insert(0, ListenAddr::Stdio);
    }
    let is_said = !config.listen.is_empty() || config.transport.is_some();
    if addresses.is_empty() && !is_said && std::io::stdin().is_terminal() {
        addresses.push(ListenAddr::Unix(address::default_socket()?));
    }
    if addresses.is_empty() {
        addresses = config.addresses();
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

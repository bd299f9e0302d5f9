//! The program `a2e` as a library: an outside crate becomes a full `a2e` with its own plugins.
//!
//! ```no_run
//! use my_plugins as _; // the crate that registers them
//!
//! fn main() -> std::process::ExitCode {
//!     a2e_server::cli(std::env::args_os())
//! }
//! # mod my_plugins {}
//! ```
//!
//! `examples/hello_plugin.rs` is such a program with its plugin in the same file, `examples/tally.rs` one whose plugin keeps state.

mod address;
mod args;
#[cfg(any(feature = "http", feature = "tls"))]
mod batch_sink;
mod commands;
mod defaults;
mod failure;
#[cfg(feature = "http")]
mod http;
mod serve;
#[cfg(feature = "otlp")]
mod spans;
mod stdout;
mod telemetry;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
pub use failure::Failure;

// Without this line the linker leaves out the crate, and with it every plugin that it registers.
use a2e_caps as _;

/// Runs the command line: parses `args` (the program's name first), does what they say, and returns
/// the exit code: 0, 1 (refused, or problems found), 2 (usage), 70 (internal).
///
/// Call it first thing in `main`, before any thread is started: the same program also serves as the
/// guard of its child processes.
pub fn cli(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    a2e_core::children::run_if_guard();
    a2e_caps::link();
    let args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).is_some_and(|arg| arg == commands::bench::ECHO) {
        // Not a command of the command line: it would stand in completions.
        return commands::bench::echo()
            .map_or_else(|failure| failure.report(false), |()| ExitCode::SUCCESS);
    }
    let is_json = args.iter().any(|arg| arg == "--json");
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout with code 0, usage errors to stderr with code 2.
            let code = error.exit_code();
            let _nobody_reads = error.print();
            return ExitCode::from(u8::try_from(code).unwrap_or(2));
        }
    };
    let result = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Call(args) => commands::call::run(args),
        Command::Connect(args) => commands::connect::run(&args),
        Command::Status(args) => commands::operate::status::run(&args),
        #[cfg(feature = "top")]
        Command::Top(args) => commands::top::run(&args),
        Command::Approve(args) => commands::operate::approve::run(args),
        Command::Reload(args) => commands::operate::reload::run(&args),
        Command::Stop(args) => commands::operate::stop::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Plugins(args) => commands::plugins::run(&args),
        Command::Snapshot(args) => commands::snapshot::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        #[cfg(feature = "mcp")]
        Command::Mcp(args) => commands::mcp::run(args),
        #[cfg(feature = "mcp")]
        Command::Import(args) => commands::import::run(&args),
        Command::Schema(args) => commands::schema::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Completions(args) => commands::manual::completions(&args),
        Command::Man(args) => commands::manual::man(&args),
        Command::Audit(args) => commands::audit::run(&args),
        Command::Learn(args) => commands::learn::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(is_json),
    }
}

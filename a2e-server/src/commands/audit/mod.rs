//! `a2e audit`: shows, checks and summarises audit files.

mod bars;
mod buckets;
mod stats;
mod tail;
mod verify;

use clap::{Args, Subcommand};

use crate::Failure;

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Show the last records, and those that are added
    Tail(tail::TailArgs),
    /// Check that no line was changed, removed, added or moved; exit code 1 if one was
    Verify(verify::VerifyArgs),
    /// Count outcomes and show latencies of each message type
    Stats(stats::StatsArgs),
}

pub(crate) fn run(args: &AuditArgs) -> Result<(), Failure> {
    match &args.command {
        AuditCommand::Tail(args) => tail::run(args),
        AuditCommand::Verify(args) => verify::run(args),
        AuditCommand::Stats(args) => stats::run(args),
    }
}

/// A failure that names the file.
fn unread(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::refused(format_args!("{}: {error}", path.display()))
}

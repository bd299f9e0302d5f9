//! `a2e audit`: shows, checks and summarises audit files.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

mod bars;
mod buckets;
mod stats;
mod tail;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::Failure;
use crate::defaults::{from_variable, is_config, load};

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

/// The audit file that is meant.
#[derive(Debug, Args)]
struct FileArgs {
    /// The audit file; a configuration (FILE.yaml) stands for its `audit.path`
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The configuration whose `audit.path` is meant; A2E_CONFIG where neither is given
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
}

impl FileArgs {
    fn path(&self) -> Result<PathBuf, Failure> {
        audit_file(self.file.as_deref(), self.config.as_deref())
    }
}

/// What was named, or the audit file of a configuration.
fn audit_file(named: Option<&Path>, config: Option<&Path>) -> Result<PathBuf, Failure> {
    let config = match named {
        Some(file) if !is_config(file) => return Ok(file.to_owned()),
        Some(file) => Some(file.to_owned()),
        None => config.map(Path::to_owned).or_else(from_variable),
    };
    let unsaid = || Failure::usage("say which file: FILE, -c FILE or A2E_CONFIG (see --help)");
    let file = config.ok_or_else(unsaid)?;
    let nowhere =
        || Failure::refused(format_args!("{}: there is no `audit.path` in it", file.display()));
    load(Some(&file), false)?.audit.path.ok_or_else(nowhere)
}

/// A failure that names the file.
fn unread(path: &Path, error: &std::io::Error) -> Failure {
    Failure::refused(format_args!("{}: {error}", path.display()))
}

//! `a2e learn export`: what a host has learned, as samples for trainers.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;

use a2e_caps::learn::export::{Samples, export};
use clap::{Args, Subcommand, ValueEnum};

use crate::Failure;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  a2e learn export /var/lib/a2e/learned > pairs.jsonl\n  \
    a2e learn export /var/lib/a2e/learned --samples rewards | head")]
pub(crate) struct LearnArgs {
    #[command(subcommand)]
    command: LearnCommand,
}

#[derive(Debug, Subcommand)]
enum LearnCommand {
    /// Print samples of the judgements and steps in a folder, a JSON object a line
    Export(ExportArgs),
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// The `store_root` of a learn plugin; its host may run
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Which samples
    #[arg(long, value_enum, default_value = "pairs")]
    samples: Which,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// Preference pairs: prompt, chosen, rejected
    Pairs,
    /// Rewards of answers and of steps
    Rewards,
}

/// Prints the samples.
pub(crate) fn run(args: &LearnArgs) -> Result<(), Failure> {
    let LearnCommand::Export(ExportArgs { folder, samples }) = &args.command;
    let samples = match samples {
        Which::Pairs => Samples::Pairs,
        Which::Rewards => Samples::Rewards,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    match export(folder, samples, &mut out).and_then(|_count| out.flush()) {
        // The reader has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => {
            other.map_err(|error| Failure::refused(format_args!("{}: {error}", folder.display())))
        }
    }
}

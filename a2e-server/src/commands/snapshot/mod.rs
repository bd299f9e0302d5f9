//! `a2e snapshot`: the saved states of plugins, looked at, carried away, put back, compared.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

mod diff;
mod fields;
mod list;
mod restore;
mod save;
mod source;

use std::path::PathBuf;

use a2e_core::snapshot::{State, StorePlace};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::defaults::ConfigArgs;
use crate::{Failure, telemetry};

#[derive(Debug, Args)]
#[command(
    after_help = "A store is a folder or an SQLite file, an archive is what `save` writes: JSON \
    lines.\n\nExamples:\n  a2e snapshot list -c a2e.yaml\n  \
    a2e snapshot save before.jsonl -c a2e.yaml --to unix:///run/user/1000/a2e.sock\n  \
    a2e snapshot diff before.jsonl /var/lib/a2e/state\n  \
    a2e snapshot restore before.jsonl -c a2e.yaml --dry-run"
)]
pub(crate) struct SnapshotArgs {
    #[command(subcommand)]
    command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
enum SnapshotCommand {
    /// List what is saved, both generations, with what is wrong; exit code 1 if anything is
    List(list::ListArgs),
    /// Have a running host save now, or copy a store into an archive, or both
    Save(save::SaveArgs),
    /// Put the states of an archive (or of another store) into a store
    Restore(restore::RestoreArgs),
    /// Compare archives, stores or generations, key by key; exit code 1 if they differ
    Diff(diff::DiffArgs),
}

/// The store that is meant.
#[derive(Debug, Args)]
struct StoreArgs {
    /// The store: a folder or an SQLite file; beats -c
    #[arg(long, value_name = "PATH")]
    store: Option<PathBuf>,
    /// The configuration whose `snapshot_store` is meant
    #[command(flatten)]
    config: ConfigArgs,
}

impl StoreArgs {
    /// Where the store is; none was named: `None`.
    fn place(&self) -> Result<Option<StorePlace>, Failure> {
        // The command line beats the environment.
        if let Some(path) = &self.store {
            return StorePlace::find(path)
                .map(Some)
                .map_err(|error| Failure::refused(error.message()));
        }
        let Some(file) = self.config.path() else { return Ok(None) };
        source::configured(&file, self.config.lenient).map(Some)
    }

    fn needed(&self) -> Result<StorePlace, Failure> {
        self.place()?.ok_or_else(|| {
            Failure::usage(
                "say which store: --store PATH, or -c FILE with a `snapshot_store` (see --help)",
            )
        })
    }
}

pub(crate) fn run(args: &SnapshotArgs) -> Result<(), Failure> {
    // What a store warns of stands in what is printed.
    telemetry::start(Some("error"))?;
    let result = match &args.command {
        SnapshotCommand::List(args) => list::run(args),
        SnapshotCommand::Save(args) => save::run(args),
        SnapshotCommand::Restore(args) => restore::run(args),
        SnapshotCommand::Diff(args) => diff::run(args),
    };
    telemetry::finish();
    result
}

/// What a state is, without what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct About {
    version: u32,
    codec: &'static str,
    bytes: usize,
}

impl About {
    fn of(state: &State) -> Self {
        let (version, codec) = (state.version(), state.codec().as_str());
        Self { version, codec, bytes: state.bytes().len() }
    }
}

impl std::fmt::Display for About {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "version {}, {}, {} bytes", self.version, self.codec, self.bytes)
    }
}

/// Exit code 1 of a command that has printed what it found.
fn found(anything: bool) -> Result<(), Failure> {
    if anything { Err(Failure::silent()) } else { Ok(()) }
}

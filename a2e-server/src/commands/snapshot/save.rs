//! `a2e snapshot save`: a running host saves now; a store is copied into an archive.

use std::path::{Path, PathBuf};
use std::time::Duration;

use a2e_core::protocol::PluginName;
use a2e_core::protocol::host::{HostSnapshot, HostSnapshotRequest};
use a2e_core::snapshot::{ArchiveWriter, StorePlace};
use a2e_core::{Clock, SystemClock};
use clap::Args;
use serde::Serialize;

use super::source::existing;
use super::{About, StoreArgs, found};
use crate::args::seconds;
use crate::commands::remote::Remote;
use crate::defaults::is_config;
use crate::stdout::{print, print_json};
use crate::{Failure, address};

#[derive(Debug, Args)]
pub(super) struct SaveArgs {
    /// The archive to write; without it, a running host saves and that is all: that of --to, else the one
    /// that a bare `a2e serve` runs
    #[arg(value_name = "ARCHIVE")]
    archive: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// A running host that is to save first: unix:///PATH, tcp://HOST:PORT, http://HOST:PORT or
    /// ws://HOST:PORT; needs a socket of your own
    /// user, or the operator token
    #[arg(long, value_name = "ADDR")]
    to: Option<String>,
    /// The host's operator token
    #[arg(long, env = "A2E_TOKEN", hide_env_values = true, hide = true, default_value = "")]
    token: String,
    /// How long to wait for the host, connecting included
    #[arg(long, value_name = "SECS", default_value_t = 30.0, value_parser = seconds)]
    timeout: f64,
    /// Only the states of this plugin go into the archive
    #[arg(long, value_name = "NAME", requires = "archive")]
    plugin: Option<String>,
    /// Replace an archive that exists
    #[arg(long, requires = "archive")]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Outcome {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<HostSnapshot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<Archived>,
}

#[derive(Serialize)]
struct Archived {
    path: String,
    from: String,
    states: Vec<Named>,
    /// What was wrong: a state that is not in the archive, or an older one in its place.
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Named {
    key: String,
    #[serde(flatten)]
    about: About,
}

pub(super) fn run(args: &SaveArgs) -> Result<(), Failure> {
    // Whatever the command line lacks is said before a host is bothered.
    let target = match &args.archive {
        Some(archive) if is_config(archive) => {
            return Err(Failure::usage(format_args!(
                "{} is a configuration; the archive comes first (see --help)",
                archive.display()
            )));
        }
        Some(archive) => Some((archive, args.store.needed()?)),
        None => None,
    };
    if let Some((archive, _)) = &target
        && archive.exists()
        && !args.force
    {
        let path = archive.display();
        return Err(Failure::refused(format_args!("{path} exists; --force replaces it")));
    }
    let to = match &target {
        Some(_) => args.to.clone(),
        None => Some(address::find_host(args.to.as_deref()).ok_or_else(|| {
            Failure::usage("say what to save: an ARCHIVE, or --to ADDR (see --help); no host runs")
        })?),
    };
    let host = to.map(|address| ask(args, address)).transpose()?;
    let archive = target.map(|(path, place)| write(args, path, &place)).transpose()?;
    let has_problem = host.as_ref().is_some_and(|it| !it.failed.is_empty())
        || archive.as_ref().is_some_and(|it| !it.problems.is_empty());
    let outcome = Outcome { host, archive };
    if args.json {
        print_json(&outcome)?;
    } else {
        print(&text(&outcome))?;
    }
    found(has_problem)
}

/// Has a host save.
fn ask(args: &SaveArgs, address: String) -> Result<HostSnapshot, Failure> {
    let limit = Duration::from_secs_f64(args.timeout);
    Remote { address, token: args.token.clone(), limit }.ask_now(&HostSnapshotRequest {})
}

fn write(args: &SaveArgs, path: &Path, place: &StorePlace) -> Result<Archived, Failure> {
    let refused = |error: a2e_core::Error| Failure::refused(error.message());
    let store = existing(place)?;
    let plugin = args.plugin.as_deref().map(PluginName::from);
    let keys = store.keys(plugin.as_ref()).map_err(refused)?;
    let now = SystemClock::new().now().wall;
    let mut writer = ArchiveWriter::create(path, now).map_err(refused)?;
    let (mut states, mut problems) = (Vec::new(), Vec::new());
    for key in keys {
        match store.load(&key) {
            Ok(Some(loaded)) => {
                writer.add(&key, &loaded.state).map_err(refused)?;
                let problem =
                    loaded.problem.map(|it| format!("{key}: the previous one is taken: {it}"));
                problems.extend(problem);
                states.push(Named { key: key.to_string(), about: About::of(&loaded.state) });
            }
            // It was deleted since the keys were read.
            Ok(None) => {}
            Err(error) => problems.push(format!("{key}: {}", error.message())),
        }
    }
    writer.finish().map_err(refused)?;
    let (path, from) = (path.display().to_string(), place.path().display().to_string());
    Ok(Archived { path, from, states, problems })
}

fn text(outcome: &Outcome) -> String {
    let mut lines = Vec::new();
    if let Some(host) = &outcome.host {
        lines.push(format!("the host has saved {} plugins", host.saved));
        lines.extend(host.failed.iter().map(|failed| format!("  not saved: {failed}")));
    }
    if let Some(archive) = &outcome.archive {
        let count = archive.states.len();
        lines.push(format!("{}: {count} states of {}", archive.path, archive.from));
        lines.extend(archive.states.iter().map(|it| format!("  {}: {}", it.key, it.about)));
        lines.extend(archive.problems.iter().map(|problem| format!("  problem: {problem}")));
    }
    lines.push(String::new());
    lines.join("\n")
}

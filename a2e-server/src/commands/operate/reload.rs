//! `a2e reload`: a running host reads its configuration again.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::fmt::Write;

use a2e_core::protocol::host::{HostReloadRequest, ReloadReport};
use clap::Args;

use crate::commands::remote::HostArgs;
use crate::stdout::{print, print_json};
use crate::{Failure, telemetry};

#[derive(Debug, Args)]
#[command(
    after_help = "The host reads the file that it was started with; with a configuration here, the host \
    is asked that listens where that says. What did not change is not touched. A file with errors \
    changes nothing: exit code 1.\n\nExamples:\n  a2e reload\n  a2e reload -c a2e.yaml\n  \
    a2e reload --rebuild memory"
)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    host: HostArgs,
    /// Build this plugin anew although nothing changed; may be repeated, `*` is all of them
    #[arg(long, value_name = "NAME")]
    rebuild: Vec<String>,
    /// Print the whole reply as one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ReloadArgs) -> Result<(), Failure> {
    telemetry::start(Some("error"))?;
    let request = HostReloadRequest { rebuild: args.rebuild.clone() };
    let report = args.host.needed()?.ask_now(&request)?;
    telemetry::finish();
    if args.json {
        print_json(&report)?;
    }
    if !report.ok {
        let problems: Vec<&str> = report.problems.iter().map(|it| it.message.as_str()).collect();
        let text = format!("refused, nothing has changed: {}", problems.join("\n"));
        return Err(Failure::reported(text));
    }
    if args.json { Ok(()) } else { print(&text(&report)) }
}

fn text(it: &ReloadReport) -> String {
    let mut text = format!("in force: generation {}\n", it.generation);
    for (what, names) in [
        ("added", &it.added),
        ("removed", &it.removed),
        ("rebuilt", &it.rebuilt),
        ("adjusted", &it.adjusted),
        ("kept", &it.kept),
        ("failed", &it.failed),
        ("at restart", &it.needs_restart),
    ] {
        if !names.is_empty() {
            // Writing to a string cannot fail.
            let _written = writeln!(text, "  {what:<10} {}", names.join(", "));
        }
    }
    text
}

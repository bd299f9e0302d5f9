//! `a2e stop`: a running host finishes its work and ends.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::time::Duration;

use a2e_core::protocol::host::HostStopRequest;
use clap::Args;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::args::seconds;
use crate::commands::remote::{HostArgs, Remote, run as run_to_end};
use crate::stdout::{print, print_json};
use crate::{Failure, telemetry};

/// How often the process of the host is looked for.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug, Args)]
#[command(
    after_help = "It takes no new work, finishes what it accepted for up to --drain, saves state and \
    ends, as at SIGTERM. The command returns when it has.\n\nExamples:\n  a2e stop\n  \
    a2e stop -c a2e.yaml --drain 30"
)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    host: HostArgs,
    /// How long accepted requests may go on; without it, as the host was told when it was started
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    drain: Option<f64>,
    /// Print the whole reply as one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &StopArgs) -> Result<(), Failure> {
    telemetry::start(Some("error"))?;
    let result = run_to_end(stop(args, &args.host.needed()?));
    telemetry::finish();
    result
}

async fn stop(args: &StopArgs, host: &Remote) -> Result<(), Failure> {
    let client = host.connect().await?;
    let reply = client.rpc(&HostStopRequest { drain_s: args.drain }).await?;
    if args.json {
        print_json(&reply)?;
    }
    let limit = host.limit.saturating_add(Duration::from_secs_f64(reply.drain_s));
    let ended = async {
        client.closed().await;
        // The session ends before the host has saved its state. Only a Unix socket tells that the
        // host is on this machine.
        while host.address.starts_with("unix:") && lives(reply.pid) {
            tokio::time::sleep(PAUSE).await;
        }
    };
    if tokio::time::timeout(limit, ended).await.is_err() {
        return Err(Failure::refused(format_args!(
            "the host was told to stop, and has not ended within {} s",
            limit.as_secs_f64()
        )));
    }
    if args.json { Ok(()) } else { print("stopped\n") }
}

/// Whether a process runs; one that has ended may still wait for its parent to take note.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let has_ended = stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z'));
    let is_there =
        i32::try_from(pid).is_ok_and(|pid| pid > 0 && kill(Pid::from_raw(pid), None).is_ok());
    is_there && !has_ended
}

//! `a2e status`: how a running host stands, on one screen.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::fmt::Write;

use a2e_core::protocol::host::{HostStatus, HostStatusRequest, PluginStatus};
use clap::Args;

use crate::commands::remote::HostArgs;
use crate::stdout::{print, print_json};
use crate::{Failure, telemetry};

#[derive(Debug, Args)]
#[command(
    after_help = "With a configuration it asks the host that listens where that says. Exit code 1 when \
    something is not as it should be; `a2e plugins` tells more of each plugin.\n\nExamples:\n  \
    a2e status\n  a2e status -c a2e.yaml\n  a2e status --to tcp://127.0.0.1:8765 --json"
)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    host: HostArgs,
    /// Print the whole reply as one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &StatusArgs) -> Result<(), Failure> {
    telemetry::start(Some("error"))?;
    let status = args.host.needed()?.ask_now(&HostStatusRequest {})?;
    telemetry::finish();
    if args.json {
        print_json(&status)?;
    } else {
        print(&text(&status))?;
    }
    let is_well = !status.is_degraded && status.plugins.iter().all(|it| it.health.is_well());
    if is_well { Ok(()) } else { Err(Failure::silent()) }
}

fn text(it: &HostStatus) -> String {
    let mut text = String::new();
    let mut line = |name: &str, what: String| {
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{name:<10} {what}");
    };
    let (up, of) = (span(it.uptime_seconds), it.generation);
    line("host", format!("{}, a2e {}, up {up}, generation {of}", it.host_id, it.program));
    let parked = few(it.parked_sessions, "parked");
    line("sessions", format!("{}{parked}", it.sessions));
    let unsent = few(it.unsent_bytes, "bytes unsent");
    line("requests", format!("{} in flight, {} waiting{unsent}", it.in_flight, it.waiting));
    line("children", format!("{}, held by {}", it.children, it.isolation));
    let path = it.audit_path.as_ref().map(|path| format!(" to {path}")).unwrap_or_default();
    let lost = few(usize::try_from(it.audit_lost).unwrap_or(usize::MAX), "lost");
    line("audit", format!("{}{path}, {} records{lost}", it.audit, it.audit_written));
    let problems = it.trouble.iter().cloned();
    let audit = it.audit_failing.iter().map(|why| format!("audit: {why}"));
    for problem in problems.chain(audit) {
        line("problem", problem);
    }
    for (place, plugin) in it.plugins.iter().enumerate() {
        line(if place == 0 { "plugins" } else { "" }, plugin_line(plugin));
    }
    for (place, it) in it.approvals.iter().enumerate() {
        let (id, caller, age) = (&it.approval_id, &it.principal, span(it.age_seconds));
        let what = format!("{id} {} of {caller:?} waits for {age}", it.message_type);
        line(if place == 0 { "approvals" } else { "" }, what);
    }
    for name in &it.retiring {
        line("ending", name.clone());
    }
    let unusual = it.counters.iter().filter(|(_, count)| **count > 0);
    let unusual: Vec<String> = unusual.map(|(name, count)| format!("{name} {count}")).collect();
    if !unusual.is_empty() {
        line("counters", unusual.join(", "));
    }
    text
}

fn plugin_line(it: &PluginStatus) -> String {
    let mut text = format!("{:<14} {:<11} {} calls", it.name, it.health.as_str(), it.calls);
    let running = few(it.running, "running") + &few(it.queued, "queued") + &few(it.stuck, "stuck");
    text.push_str(&running);
    for why in it.reason.iter().chain(&it.state_problem) {
        text.push_str("; ");
        text.push_str(why);
    }
    text
}

/// Nothing for none.
fn few(count: usize, what: &str) -> String {
    if count == 0 { String::new() } else { format!(", {count} {what}") }
}

fn span(seconds: f64) -> String {
    // Hosts do not run for centuries, and a negative time is none.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
    let seconds = seconds as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

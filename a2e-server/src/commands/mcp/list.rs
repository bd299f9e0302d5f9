//! `a2e mcp list`: the servers, where each stands and what it offers.

use a2e_caps::mcp::protocol::{McpServerInfo, ServerStatus};
use clap::Args;

use super::servers;
use crate::commands::remote::HostArgs;
use crate::stdout::{print_foreign, print_json};
use crate::{Failure, telemetry};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    host: HostArgs,
    /// Print one JSON list
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ListArgs) -> Result<(), Failure> {
    telemetry::start(Some("off"))?;
    let servers = servers(&args.host);
    telemetry::finish();
    let servers = servers?;
    if args.json {
        print_json(&servers)?;
    } else {
        print_foreign(&text(&servers))?;
    }
    let is_well = |it: &McpServerInfo| {
        it.status != ServerStatus::Error && it.error.is_empty() && it.quarantined.is_empty()
    };
    if servers.iter().all(is_well) { Ok(()) } else { Err(Failure::silent()) }
}

fn text(servers: &[McpServerInfo]) -> String {
    if servers.is_empty() {
        return "no servers\n".to_owned();
    }
    let mut lines = Vec::new();
    for it in servers {
        let offers = format!(
            "{} tools, {} resources, {} prompts",
            it.tools_count, it.resources_count, it.prompts_count
        );
        let who = format!("{} {}", it.server_name, it.server_version);
        lines.push(format!(
            "{:<20} {:<6} {:<13} {:<11} {offers}  {}",
            it.server_id,
            it.transport,
            it.status.as_str(),
            it.mcp_version,
            who.trim()
        ));
        if !it.error.is_empty() {
            lines.push(format!("{:<20} {}", "", it.error));
        }
        if !it.quarantined.is_empty() {
            let names = it.quarantined.join(", ");
            lines.push(format!("{:<20} waits for `a2e mcp approve`: {names}", ""));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

//! `a2e mcp approve`: shows definitions of tools that wait, and approves them.

use a2e_caps::mcp::approvals::{WaitingTool, approve, waiting};
use clap::Args;

use super::settings;
use crate::Failure;
use crate::defaults::load;
use crate::stdout::{print, print_json};

#[derive(Debug, Args)]
#[command(
    after_help = "Without SERVER the definitions that wait are shown, and nothing is approved."
)]
pub(crate) struct ApproveArgs {
    /// The server whose definitions are approved, as it told them last
    #[arg(value_name = "SERVER")]
    server: Option<String>,
    /// Only these tools
    #[arg(value_name = "TOOL")]
    tools: Vec<String>,
    /// The configuration whose servers are meant; A2E_CONFIG where it is not given
    #[arg(short, long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// Print one JSON list of what waits, or of what was approved
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ApproveArgs) -> Result<(), Failure> {
    let file = args.config.clone().or_else(crate::defaults::from_variable);
    let unsaid = || Failure::usage("say which configuration: -c FILE or A2E_CONFIG (see --help)");
    let config = load(Some(&file.ok_or_else(unsaid)?), true)?;
    let settings = settings(&config)?;
    let Some(server) = &args.server else {
        let waits: Vec<WaitingTool> = settings.iter().flat_map(waiting).collect();
        if args.json {
            return print_json(&waits);
        }
        return print(&waits.iter().map(text).collect::<String>());
    };
    let has = settings.iter().find(|it| it.servers.0.contains_key(server));
    let unknown =
        || Failure::refused(format_args!("no server of the configuration has the id `{server}`"));
    let approved =
        approve(has.ok_or_else(unknown)?, server, &args.tools).map_err(Failure::refused)?;
    if args.json {
        return print_json(&approved);
    }
    let told = approved.iter().map(|tool| format!("approved {server} {tool}\n"));
    print(&told.collect::<String>())
}

fn text(it: &WaitingTool) -> String {
    let state = if it.approved.is_some() { "has changed" } else { "is new" };
    let about = it.description.replace('\n', "\n    ");
    format!(
        "{} {} {state} ({})\n    {about}\n    {}\n",
        it.server, it.tool, it.found, it.input_schema
    )
}

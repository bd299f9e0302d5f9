//! `a2e mcp approve`: shows definitions of tools that wait, and approves them.

use std::io::IsTerminal;

use a2e_caps::mcp::approvals::{WaitingTool, approve, waiting};
use clap::Args;

use super::settings;
use crate::Failure;
use crate::defaults::load;
use crate::stdout::{print, print_foreign, print_json};

#[derive(Debug, Args)]
#[command(
    after_help = "Without SERVER the definitions that wait are shown, and nothing is approved. With SERVER alone \
    those of it are shown, and a person at a terminal is asked."
)]
pub(crate) struct ApproveArgs {
    /// The server whose definitions are approved
    #[arg(value_name = "SERVER")]
    server: Option<String>,
    /// These definitions, as they are shown: the name of the tool, `@`, the hash
    #[arg(value_name = "TOOL@HASH")]
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
        return show(args, &settings.iter().flat_map(waiting).collect::<Vec<_>>());
    };
    let has = settings.iter().find(|it| it.servers.0.contains_key(server));
    let unknown =
        || Failure::refused(format_args!("no server of the configuration has the id `{server}`"));
    let settings = has.ok_or_else(unknown)?;
    let definitions = if args.tools.is_empty() {
        let waits = waiting(settings).into_iter().filter(|it| it.server == *server).collect();
        if !is_agreed(args, server, &waits)? {
            return Ok(());
        }
        waits.into_iter().map(|it| (it.tool, it.found)).collect()
    } else {
        args.tools.iter().map(|it| definition(it)).collect::<Result<Vec<_>, _>>()?
    };
    let approved = approve(settings, server, &definitions).map_err(Failure::refused)?;
    if args.json {
        return print_json(&approved);
    }
    let told = approved.iter().map(|tool| format!("approved {server} {tool}\n"));
    print_foreign(&told.collect::<String>())
}

/// The tool and the hash; a definition without one may have changed since it was shown.
fn definition(words: &str) -> Result<(String, String), Failure> {
    let parts = words.rsplit_once('@').filter(|(_, hash)| hash.starts_with("sha256:"));
    let (tool, hash) = parts.ok_or_else(|| {
        let text =
            format!("say which definition of `{words}`: TOOL@HASH, as `a2e mcp approve` shows it");
        Failure::usage(text)
    })?;
    Ok((tool.to_owned(), hash.to_owned()))
}

/// Whether a person agrees to what is shown here.
fn is_agreed(args: &ApproveArgs, server: &str, waits: &Vec<WaitingTool>) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() || args.json {
        let text = format!("nobody is asked here: `a2e mcp approve {server} TOOL@HASH`");
        return Err(Failure::usage(text));
    }
    show(args, waits)?;
    if waits.is_empty() {
        print("nothing waits\n")?;
        return Ok(false);
    }
    print("approve? [y/N] ")?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(Failure::internal)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

fn show(args: &ApproveArgs, waits: &Vec<WaitingTool>) -> Result<(), Failure> {
    if args.json {
        return print_json(waits);
    }
    print_foreign(&waits.iter().map(text).collect::<String>())
}

fn text(it: &WaitingTool) -> String {
    let state = if it.approved.is_some() { "has changed" } else { "is new" };
    let mut definition = it.definition.clone();
    // What models read first stands first, as text.
    let about = definition.as_object_mut().and_then(|fields| {
        fields.remove("name");
        fields.remove("description")?.as_str().map(|text| text.replace('\n', "\n    "))
    });
    let about = about.unwrap_or_default();
    format!("{} {}@{} {state}\n    {about}\n    {definition}\n", it.server, it.tool, it.found)
}

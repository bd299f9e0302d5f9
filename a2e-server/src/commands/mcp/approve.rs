//! `a2e mcp approve`: shows definitions of tools that wait, and approves them.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use a2e_caps::mcp::approvals::{WaitingTool, approve, waiting};
use clap::Args;

use super::settings;
use crate::Failure;
use crate::defaults::{from_variable, is_config, load};
use crate::stdout::{forget_what_was_typed, print, print_foreign, print_json};

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
    /// The configuration whose servers are meant; a bare FILE at the end is the same, and so is A2E_CONFIG where
    /// neither is given
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON list of what waits, or of what was approved
    #[arg(long)]
    json: bool,
}

impl ApproveArgs {
    /// A configuration at the end is one, as in other commands.
    fn file(&mut self) -> Result<PathBuf, Failure> {
        let is_file = |it: &mut String| is_config(Path::new(it.as_str()));
        if self.config.is_none() {
            let bare = self.tools.pop_if(is_file).or_else(|| self.server.take_if(is_file));
            self.config = bare.map(PathBuf::from);
        }
        self.config.clone().or_else(from_variable).ok_or_else(|| {
            Failure::usage("say which configuration: FILE, -c FILE or A2E_CONFIG (see --help)")
        })
    }
}

pub(crate) fn run(mut args: ApproveArgs) -> Result<(), Failure> {
    let config = load(Some(&args.file()?), true)?;
    let args = &args;
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
    forget_what_was_typed();
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

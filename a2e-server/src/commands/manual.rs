//! `a2e completions` and `a2e man`: made from the command line's own definition, so never out of date.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::Failure;
use crate::args::Cli;
use crate::stdout::print;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  a2e completions bash > ~/.local/share/bash-completion/completions/a2e\n  \
    a2e completions zsh > ~/.zfunc/_a2e\n  \
    a2e completions fish > ~/.config/fish/completions/a2e.fish"
)]
pub(crate) struct CompletionsArgs {
    /// The shell that is to complete
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  a2e man | man -l -\n  a2e man --all ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Write the page of `a2e` and one for each command into this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) all: Option<PathBuf>,
}

pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "a2e", &mut script);
    print(&String::from_utf8_lossy(&script))
}

pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    let command = Cli::command();
    let Some(folder) = &args.all else {
        return print(&page(command)?);
    };
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure::refused(format_args!("{}: {error}", folder.display())))?;
    write_pages(&command, "a2e", folder)
}

fn page(command: clap::Command) -> Result<String, Failure> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text).map_err(Failure::internal)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The page of a command, then those of its own commands: `a2e.1`, `a2e-audit.1`, `a2e-audit-tail.1`.
fn write_pages(command: &clap::Command, name: &str, folder: &Path) -> Result<(), Failure> {
    let file = folder.join(format!("{name}.1"));
    // A command's name is part of what the page shows.
    let shown: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let text = page(command.clone().name(shown))?;
    std::fs::write(&file, text)
        .map_err(|error| Failure::refused(format_args!("{}: {error}", file.display())))?;
    for inner in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        write_pages(inner, &format!("{name}-{}", inner.get_name()), folder)?;
    }
    Ok(())
}

//! `a2e check`: everything that is wrong with a configuration, at once.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::path::PathBuf;

use a2e_core::config::{HostConfig, Problem, Severity};
use a2e_core::plugin::Registry;
use a2e_core::protocol::CapabilityName;
use clap::Args;

use crate::Failure;
use crate::stdout::{print, print_json};

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration (YAML)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Treat warnings as errors
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print the problems as one JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let problems = problems(args)?;
    let has_error = problems.iter().any(|problem| problem.is_error() || args.strict);
    if args.json {
        print_json(&problems)?;
    } else {
        for problem in &problems {
            print(&format!("{}: {problem}\n", severity(problem)))?;
        }
        let errors = problems.iter().filter(|problem| problem.is_error()).count();
        let file = args.file.display();
        print(&match (errors, problems.len() - errors) {
            (0, 0) => format!("{file}: no problems\n"),
            (errors, warnings) => format!("{file}: errors: {errors}, warnings: {warnings}\n"),
        })?;
    }
    if has_error { Err(Failure::silent()) } else { Ok(()) }
}

fn severity(problem: &Problem) -> &'static str {
    if problem.is_error() { "error" } else { "warning" }
}

fn problems(args: &CheckArgs) -> Result<Vec<Problem>, Failure> {
    let loaded = match HostConfig::from_yaml(&args.file) {
        Ok(loaded) => loaded,
        Err(errors) => return Ok(errors.problems().to_vec()),
    };
    let registry = Registry::linked().map_err(Failure::internal)?;
    let mut problems = loaded.warnings;
    for plugin in loaded.config.enabled_plugins() {
        if let Some(class) = registry.find(&plugin.cls) {
            problems.extend(class.check(plugin));
            if CapabilityName::parse(class.capability()) != plugin.capability {
                let text = format!(
                    "this class is of type `{}`, not `{}`",
                    class.capability(),
                    plugin.type_name
                );
                problems.push(plugin.cls_problem(Severity::Warning, text, None));
            }
            continue;
        }
        let text = format!("no plugin class `{}` is linked into this program", plugin.cls);
        let nearest = registry.nearest(&plugin.cls).into_iter().next();
        let hint = nearest.map(|name| format!("did you mean `{name}`?"));
        problems.push(plugin.cls_problem(Severity::Error, text, hint));
    }
    problems.sort_by_key(|problem| (problem.line, problem.column));
    Ok(problems)
}

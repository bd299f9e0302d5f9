//! `a2e check`: everything that is wrong with a configuration, at once.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::path::Path;

use a2e_core::Executor;
use a2e_core::config::{AuditMode, ConfigErrors, HostConfig, ListenAddr, Problem, Severity};
use clap::Args;

use super::remote;
use crate::defaults::ConfigArgs;
use crate::stdout::{print, print_json};
use crate::{Failure, telemetry};

#[derive(Debug, Args)]
#[command(
    after_help = "It reads the file, checks the settings of each plugin and builds it, as `a2e serve` \
    would; no plugin is started and nothing is listened at. Exit code 1 when there is an error.\n\n\
    Examples:\n  a2e check a2e.yaml\n  a2e check -c a2e.yaml --strict --json"
)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Treat warnings as errors
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print the problems as one JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    // What is wrong stands in the list.
    telemetry::start(Some("off"))?;
    let problems = problems(args)?;
    telemetry::finish();
    let has_error = problems.iter().any(|problem| problem.is_error() || args.strict);
    if args.json {
        print_json(&problems)?;
    } else {
        for problem in &problems {
            print(&format!("{}: {problem}\n", severity(problem)))?;
        }
        let errors = problems.iter().filter(|problem| problem.is_error()).count();
        let file = args.config.path().unwrap_or_default();
        let file = file.display();
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
    let Some(file) = args.config.path() else {
        return Err(Failure::usage(
            "say which configuration: FILE, -c FILE or A2E_CONFIG (see --help)",
        ));
    };
    let (config, mut problems) = match read(&file, args.config.lenient) {
        Ok(read) => read,
        Err(errors) => return Ok(errors.problems().to_vec()),
    };
    problems.extend(missing_folders(&config, &file));
    #[cfg(feature = "mcp-server")]
    problems.extend(crate::serve::mcp::McpSettings::of(&config).1);
    let is_idle = config.enabled_plugins().next().is_none() && !args.config.lenient;
    let mut builder = Executor::builder(config).guard("/proc/self/exe");
    if args.config.lenient {
        builder = builder.lenient();
    }
    let trial = remote::run(async { builder.try_out().await.map_err(Failure::internal) })?;
    problems.extend(trial.problems);
    if is_idle {
        let text = "no plugin is enabled, so a host could do nothing";
        problems.push(general(&file, "plugins", text.to_owned()));
    }
    problems.sort_by_key(|problem| (problem.line, problem.column));
    Ok(problems)
}

/// The configuration and what is wrong with it. Where that is nothing but keys that nobody reads, the rest can
/// be looked at as well.
fn read(file: &Path, is_lenient: bool) -> Result<(HostConfig, Vec<Problem>), ConfigErrors> {
    let errors = match HostConfig::from_yaml_as(file, is_lenient) {
        Ok(loaded) => return Ok((loaded.config, loaded.warnings)),
        Err(errors) => errors,
    };
    let Ok(mut loaded) = HostConfig::from_yaml_as(file, true) else { return Err(errors) };
    let plugins = loaded.config.plugins.into_iter();
    loaded.config.plugins = plugins.map(|it| it.lenient(is_lenient)).collect();
    Ok((loaded.config, errors.problems().to_vec()))
}

/// Folders that the host needs and does not make.
fn missing_folders(config: &HostConfig, file: &Path) -> Vec<Problem> {
    let sockets = config.listen.iter().filter_map(|address| match address {
        ListenAddr::Unix(path) => Some(("listen", path)),
        _ => None,
    });
    let is_audited = config.audit.mode != AuditMode::Off;
    let audit = config.audit.path.iter().filter(|_| is_audited).map(|path| ("audit.path", path));
    let missing = sockets.chain(audit).filter_map(|(key, path)| {
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty() && !it.is_dir())?;
        let text = format!("the folder {} of {} is missing", folder.display(), path.display());
        Some(general(file, key, text))
    });
    missing.collect()
}

/// An error that is at no one place of the file.
fn general(file: &Path, path: &str, message: String) -> Problem {
    Problem {
        severity: Severity::Error,
        file: file.display().to_string(),
        line: 0,
        column: 0,
        plugin: None,
        path: path.to_owned(),
        message,
        hint: None,
    }
}

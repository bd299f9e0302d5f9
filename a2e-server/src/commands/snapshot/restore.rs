//! `a2e snapshot restore`: states of an archive, or of another store, are put into a store.

use a2e_core::protocol::PluginName;
use a2e_core::snapshot::{SnapshotStore, StateKey, StorePlace};
use clap::Args;
use serde::Serialize;

use super::source::Source;
use super::{About, StoreArgs, found};
use crate::Failure;
use crate::stdout::{print, print_json};

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// An archive or a store, or one generation of it: PATH@previous
    #[arg(value_name = "ARCHIVE")]
    from: String,
    #[command(flatten)]
    store: StoreArgs,
    /// Only the states of this plugin
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Also while a host works with the store, which may overwrite what is restored with its next save
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Outcome {
    from: String,
    into: String,
    is_dry_run: bool,
    restored: Vec<Step>,
    /// A text for each state that was not restored.
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Step {
    key: String,
    /// `new`, `overwrites` or `same`.
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<About>,
    /// Why there is something, but nothing is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_problem: Option<String>,
    new: About,
}

pub(super) fn run(args: &RestoreArgs) -> Result<(), Failure> {
    let into = args.store.needed()?;
    // An archive is checked as a whole before anything is written.
    let from = Source::named(&args.from)?;
    let store = if args.dry_run && !into.path().exists() {
        None
    } else {
        Some(into.open().map_err(|error| Failure::refused(error.message()))?)
    };
    let alone = if args.dry_run { None } else { alone(&into, args.force)? };
    let outcome = restore(args, &from, &into, store.as_deref())?;
    drop(alone);
    let has_problem = !outcome.problems.is_empty();
    if args.json {
        print_json(&outcome)?;
    } else {
        print(&text(&outcome))?;
    }
    found(has_problem)
}

/// Keeps hosts out; without it only by force.
fn alone(into: &StorePlace, is_forced: bool) -> Result<Option<a2e_core::snapshot::Alone>, Failure> {
    let path = into.path().display();
    match into.alone() {
        Ok(Some(alone)) => Ok(Some(alone)),
        _ if is_forced => Ok(None),
        Ok(None) => Err(Failure::refused(format_args!(
            "{path}: a host works with this store and would overwrite what is restored; stop it, or use \
             --force"
        ))),
        Err(error) => Err(Failure::refused(format_args!(
            "{}; it is not known whether a host works with this store: --force goes on",
            error.message()
        ))),
    }
}

fn restore(
    args: &RestoreArgs,
    from: &Source,
    into: &StorePlace,
    store: Option<&dyn SnapshotStore>,
) -> Result<Outcome, Failure> {
    let plugin = args.plugin.as_deref().map(PluginName::from);
    let keys = from.store.keys(plugin.as_ref());
    let keys = keys.map_err(|error| Failure::refused(error.message()))?;
    let mut outcome = Outcome {
        from: from.name.clone(),
        into: into.path().display().to_string(),
        is_dry_run: args.dry_run,
        restored: Vec::new(),
        problems: Vec::new(),
    };
    for key in keys {
        match one(args, from, &key, store) {
            Ok(step) => outcome.restored.extend(step),
            Err(problem) => outcome.problems.push(format!("{key}: {problem}")),
        }
    }
    Ok(outcome)
}

fn one(
    args: &RestoreArgs,
    from: &Source,
    key: &StateKey,
    store: Option<&dyn SnapshotStore>,
) -> Result<Option<Step>, String> {
    let Some(state) = from.state(key)? else { return Ok(None) };
    let (old, old_problem) = match store.map(|store| store.load(key)).transpose() {
        Ok(old) => (old.flatten(), None),
        Err(error) => (None, Some(error.message().to_owned())),
    };
    let is_same = old.as_ref().is_some_and(|old| old.state == state && old.problem.is_none());
    let what = match (&old, &old_problem) {
        _ if is_same => "same",
        (None, None) => "new",
        _ => "overwrites",
    };
    if let Some(store) = store
        && !args.dry_run
        && !is_same
    {
        store.save(key, &state).map_err(|error| error.message().to_owned())?;
    }
    let old = old.map(|it| About::of(&it.state));
    Ok(Some(Step { key: key.to_string(), what, old, old_problem, new: About::of(&state) }))
}

fn text(outcome: &Outcome) -> String {
    let Outcome { from, into, is_dry_run, restored, problems } = outcome;
    let done = if *is_dry_run { "would be restored" } else { "restored" };
    let mut lines = vec![format!("{} states of {from} {done} into {into}", restored.len())];
    for Step { key, what, old, old_problem, new } in restored {
        lines.push(match (*what, old, old_problem) {
            ("same", ..) => format!("  {key}: is the same already"),
            (_, Some(old), _) => format!("  {key}: {new}; overwrites {old}"),
            (_, None, Some(problem)) => {
                format!("  {key}: {new}; overwrites what is damaged: {problem}")
            }
            (_, None, None) => format!("  {key}: {new}; new"),
        });
    }
    lines.extend(problems.iter().map(|problem| format!("  not restored: {problem}")));
    lines.push(String::new());
    lines.join("\n")
}

//! `a2e snapshot diff`: the differences between two sets of states.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use a2e_core::snapshot::{Codec, Generation, State};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::fields::{Field, Fields};
use super::source::Source;
use super::{About, found};
use crate::Failure;
use crate::defaults::from_variable;
use crate::stdout::{print, print_json};

/// Most characters of a value that are shown.
const SHOWN: usize = 60;

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// An archive or a store, or one generation of it: PATH@current, PATH@previous; a configuration
    /// (FILE.yaml) stands for its store, and so does -c FILE or A2E_CONFIG where A is left out
    #[arg(value_name = "A")]
    old: Option<String>,
    /// The other one; without it, the two generations of A are compared
    #[arg(value_name = "B")]
    new: Option<String>,
    /// The configuration whose `snapshot_store` is meant
    #[arg(short, long, value_name = "FILE", conflicts_with = "old")]
    config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Default, Serialize)]
struct Difference {
    old: String,
    new: String,
    added: Vec<Named>,
    removed: Vec<Named>,
    changed: Vec<Changed>,
    /// How many states are the same.
    same: usize,
    /// A text for each state that could not be read.
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Named {
    key: String,
    #[serde(flatten)]
    about: About,
}

#[derive(Serialize)]
struct Changed {
    key: String,
    old: About,
    new: About,
    /// The first byte that differs, where the states are not both JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte: Option<usize>,
    /// What differs in JSON.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<Field>,
    /// How many more fields differ.
    #[serde(skip_serializing_if = "is_zero")]
    more_fields: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

pub(super) fn run(args: &DiffArgs) -> Result<(), Failure> {
    let file = || args.config.clone().or_else(from_variable);
    let named = args.old.clone().or_else(|| Some(file()?.to_str()?.to_owned()));
    let unsaid = || Failure::usage("say what to compare: A, -c FILE or A2E_CONFIG (see --help)");
    let first = Source::named(&named.ok_or_else(unsaid)?)?;
    let (old, new) = match &args.new {
        Some(new) => (first, Source::named(new)?),
        None if first.has_generation() => {
            return Err(Failure::usage(
                "give a second one, or the first one without its generation",
            ));
        }
        None => (first.at(Generation::Previous), first.at(Generation::Current)),
    };
    let difference = compare(&old, &new)?;
    if args.json {
        print_json(&difference)?;
    } else {
        print(&text(&difference))?;
    }
    let Difference { added, removed, changed, problems, .. } = &difference;
    found(!(added.is_empty() && removed.is_empty() && changed.is_empty() && problems.is_empty()))
}

fn compare(old: &Source, new: &Source) -> Result<Difference, Failure> {
    let keys: BTreeSet<_> = old.keys()?.into_iter().chain(new.keys()?).collect();
    let (old_name, new_name) = (old.name.clone(), new.name.clone());
    let mut difference = Difference { old: old_name, new: new_name, ..Difference::default() };
    for key in keys {
        let name = key.to_string();
        let (before, after) = match (old.state(&key), new.state(&key)) {
            (Ok(before), Ok(after)) => (before, after),
            (before, after) => {
                for problem in [before.err(), after.err()].into_iter().flatten() {
                    difference.problems.push(format!("{name}: {problem}"));
                }
                continue;
            }
        };
        match (before, after) {
            (None, None) => {}
            (Some(state), None) => {
                difference.removed.push(Named { key: name, about: About::of(&state) });
            }
            (None, Some(state)) => {
                difference.added.push(Named { key: name, about: About::of(&state) });
            }
            (Some(before), Some(after)) if before == after => difference.same += 1,
            (Some(before), Some(after)) => difference.changed.push(changed(name, &before, &after)),
        }
    }
    Ok(difference)
}

fn changed(key: String, old: &State, new: &State) -> Changed {
    let json = |state: &State| match state.codec() {
        Codec::Json => serde_json::from_slice::<Value>(state.bytes()).ok(),
        Codec::Bincode => None,
    };
    let about = (About::of(old), About::of(new));
    let mut changed = Changed {
        key,
        old: about.0,
        new: about.1,
        first_byte: None,
        fields: Vec::new(),
        more_fields: 0,
    };
    if let (Some(old), Some(new)) = (json(old), json(new)) {
        let Fields { told, more } = Fields::of(&old, &new);
        (changed.fields, changed.more_fields) = (told, more);
    } else if old.bytes() != new.bytes() {
        let same = old.bytes().iter().zip(new.bytes()).take_while(|(old, new)| old == new);
        changed.first_byte = Some(same.count());
    }
    changed
}

fn text(difference: &Difference) -> String {
    let Difference { old, new, added, removed, changed, same, problems } = difference;
    let mut lines = vec![format!("- {old}"), format!("+ {new}")];
    lines.extend(removed.iter().map(|it| format!("- {}: {}", it.key, it.about)));
    lines.extend(added.iter().map(|it| format!("+ {}: {}", it.key, it.about)));
    for it in changed {
        lines.push(if it.old == it.new {
            format!("! {}: {}", it.key, it.new)
        } else {
            format!("! {}: {} -> {}", it.key, it.old, it.new)
        });
        lines.extend(it.first_byte.map(|at| format!("    differs from byte {at} on")));
        for Field { path, old, new } in &it.fields {
            let path = if path.is_empty() { "(all of it)" } else { path };
            lines.push(match (old, new) {
                (Some(old), None) => format!("  - {path}: {}", short(old)),
                (None, Some(new)) => format!("  + {path}: {}", short(new)),
                (old, new) => {
                    let shown = |it: &Option<Value>| it.as_ref().map(short).unwrap_or_default();
                    format!("  ! {path}: {} -> {}", shown(old), shown(new))
                }
            });
        }
        if it.more_fields > 0 {
            lines.push(format!("    and {} more fields", it.more_fields));
        }
    }
    lines.extend(problems.iter().map(|problem| format!("? {problem}")));
    lines.push(format!(
        "{} added, {} removed, {} changed, {same} the same\n",
        added.len(),
        removed.len(),
        changed.len()
    ));
    lines.join("\n")
}

/// A value on one line, cut.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

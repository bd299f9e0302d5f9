//! `a2e snapshot list`: the saved states and their problems.

use std::path::PathBuf;
use std::sync::Arc;

use a2e_core::protocol::PluginName;
use a2e_core::snapshot::{SavedGeneration, SnapshotStore, StateKey};
use a2e_core::{Clock, SystemClock};
use clap::Args;
use serde::Serialize;

use super::source::{self, existing, open, word};
use super::{About, StoreArgs, found};
use crate::Failure;
use crate::defaults::is_config;
use crate::stdout::{print, print_json};

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// A store or an archive; a configuration (FILE.yaml) stands for its store
    #[arg(value_name = "PATH", conflicts_with = "store")]
    path: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// Only the states of this plugin
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listing {
    store: String,
    /// Whether a host works with it now; not known of an archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_live: Option<bool>,
    states: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    key: String,
    plugin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<&'static str>,
    #[serde(flatten)]
    about: Option<About>,
    /// Seconds since it was saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    age_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

pub(super) fn run(args: &ListArgs) -> Result<(), Failure> {
    let configured = args.path.as_ref().filter(|path| is_config(path));
    let (name, store, is_live) = if let (Some(path), None) = (&args.path, configured) {
        (path.display().to_string(), open(path)?, None)
    } else {
        let place = match configured {
            Some(file) => source::configured(file, false)?,
            None => args.store.needed()?,
        };
        let store = existing(&place)?;
        // Unknown where the system has no such locks.
        let is_live = place.alone().ok().map(|alone| alone.is_none());
        (place.path().display().to_string(), store, is_live)
    };
    let plugin = args.plugin.as_deref().map(PluginName::from);
    let keys = store.keys(plugin.as_ref()).map_err(|error| Failure::refused(error.message()))?;
    let states: Vec<Listed> = keys.iter().flat_map(|key| listed(&store, key)).collect();
    let has_problem = states.iter().any(|state| state.problem.is_some());
    let listing = Listing { store: name, is_live, states };
    if args.json {
        print_json(&listing)?;
    } else {
        print(&text(&listing))?;
    }
    found(has_problem)
}

fn listed(store: &Arc<dyn SnapshotStore>, key: &StateKey) -> Vec<Listed> {
    let now = SystemClock::new().now().wall;
    let one = |generation, about, age_s, problem| Listed {
        key: key.to_string(),
        plugin: key.plugin.as_str().to_owned(),
        session: key.session.as_ref().map(|it| it.as_str().to_owned()),
        generation,
        about,
        age_s,
        problem,
    };
    let kept = match store.generations(key) {
        Ok(kept) => kept,
        Err(error) => return vec![one(None, None, None, Some(error.message().to_owned()))],
    };
    let listed = |SavedGeneration { generation, saved, state }: SavedGeneration| {
        let (about, problem) = match &state {
            Ok(state) => (Some(About::of(state)), None),
            Err(problem) => (None, Some(problem.clone())),
        };
        let age_s = saved.map(|saved| now.saturating_sub(saved).as_secs());
        one(Some(word(generation)), about, age_s, problem)
    };
    kept.into_iter().map(listed).collect()
}

fn text(listing: &Listing) -> String {
    let live = match listing.is_live {
        Some(true) => " (a host works with it)",
        _ => "",
    };
    let mut lines = vec![format!("{}{live}: {} generations", listing.store, listing.states.len())];
    let width = listing.states.iter().map(|state| state.key.chars().count()).max().unwrap_or(0);
    let width = width.min(60);
    for state in &listing.states {
        let generation = state.generation.unwrap_or("-");
        let age = state.age_s.map_or("-".to_owned(), age);
        let what = match (&state.about, &state.problem) {
            (_, Some(problem)) => format!("damaged: {problem}"),
            (Some(about), None) => about.to_string(),
            (None, None) => String::new(),
        };
        lines.push(format!("  {:<width$}  {generation:<8}  {age:>6}  {what}", state.key));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// An age that people read at a glance.
fn age(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5_999 => format!("{} min", seconds / 60),
        6_000..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn ages_at_a_glance() {
        for (seconds, expected) in
            [(0, "0 s"), (99, "99 s"), (100, "1 min"), (6_000, "1 h"), (172_800, "2 d")]
        {
            assert_eq!(age(seconds), expected);
        }
    }
}

//! The episodes of a session as they are kept while it has no connection, and over a restart.

use std::sync::{Arc, PoisonError};

use a2e_core::snapshot::State;
use a2e_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::desk::Desk;
use super::episode::Episode;
use crate::env::contract::JsonObject;
use crate::env::kind::Served;
use crate::env::protocol::{EnvExperience, EnvSnapshot};

/// Of what this program writes.
const VERSION: u32 = 1;

/// Bytes of the options of a reset.
const MOST_OPTIONS: usize = 256 << 10;

/// Bytes of actions that a snapshot may bring.
const MOST_ACTIONS: usize = 256 << 10;

#[derive(Serialize, Deserialize)]
struct Saved {
    /// Oldest first; `obs.episode_id` is the id.
    episodes: Vec<EnvSnapshot>,
    history: Vec<EnvExperience>,
}

/// Bytes of options that an agent gives.
///
/// # Errors
/// `schema_violation` when they are too many.
pub(in crate::env) fn options_weight(options: &JsonObject, loc: &str) -> Result<usize> {
    let bytes = options.raw().get().len();
    if bytes <= MOST_OPTIONS {
        return Ok(bytes);
    }
    Err(Error::schema(loc, format!("{bytes} bytes; at most {MOST_OPTIONS}")))
}

/// Whether an agent may give this snapshot.
///
/// # Errors
/// `schema_violation` when a part of it is too large.
pub(in crate::env) fn check(snapshot: &EnvSnapshot) -> Result<()> {
    options_weight(&snapshot.options, "snapshot.options")?;
    let bytes: usize = snapshot.actions.iter().map(|it| it.raw().get().len()).sum();
    if bytes <= MOST_ACTIONS {
        return Ok(());
    }
    Err(Error::schema("snapshot.actions", format!("{bytes} bytes; at most {MOST_ACTIONS}")))
}

/// Bytes that an episode begins with.
pub(in crate::env) fn weight(snapshot: &EnvSnapshot) -> usize {
    let EnvSnapshot { options, actions, saved, obs, .. } = snapshot;
    let parts = [Some(options), Some(&obs.state), obs.metadata.as_ref(), obs.info.as_ref()];
    let parts = parts.into_iter().flatten().chain(actions).map(JsonObject::raw);
    parts.chain(saved).map(|it| it.get().len()).sum()
}

/// All that can be kept; `None` where that is nothing.
pub(in crate::env) fn save(desk: &Desk) -> Result<Option<State>> {
    let mut episodes = Vec::new();
    for episode in desk.all() {
        match episode.snapshot_blocking() {
            Ok(snapshot) => episodes.push(snapshot),
            Err(error) => tracing::warn!(episode = episode.id, %error, "an episode is not kept"),
        }
    }
    let history = desk.history.lock().unwrap_or_else(PoisonError::into_inner).all();
    if episodes.is_empty() && history.is_empty() {
        return Ok(None);
    }
    State::json(VERSION, &Saved { episodes, history }).map(Some)
}

/// Puts everything on an empty desk, asleep; what is not served any more is left out.
pub(in crate::env) fn restore(
    state: &State,
    desk: &Desk,
    find: impl Fn(&str) -> Option<Arc<Served>>,
) -> Result<()> {
    let Saved { episodes, history } = state.decode()?;
    for snapshot in episodes {
        let id = snapshot.obs.episode_id.clone();
        let served = find(&snapshot.env_name);
        let bytes = weight(&snapshot);
        let start = served.and_then(|served| desk.start_again(id, &served, bytes));
        if let Some(start) = start {
            desk.add(Arc::new(Episode::restored(start, snapshot)));
        } else {
            tracing::warn!(env = snapshot.env_name, "an episode was not taken back");
        }
    }
    let mut kept = desk.history.lock().unwrap_or_else(PoisonError::into_inner);
    for step in history {
        kept.push(step);
    }
    Ok(())
}

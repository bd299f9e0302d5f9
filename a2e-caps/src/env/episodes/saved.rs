//! The episodes of a session as they are kept while it has no connection, and over a restart.

use std::sync::{Arc, PoisonError};

use a2e_core::Result;
use a2e_core::snapshot::State;
use serde::{Deserialize, Serialize};

use super::desk::Desk;
use super::episode::Episode;
use crate::env::kind::Served;
use crate::env::protocol::{EnvExperience, EnvSnapshot};

/// Of what this program writes.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Saved {
    /// Oldest first; `obs.episode_id` is the id.
    episodes: Vec<EnvSnapshot>,
    history: Vec<EnvExperience>,
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
        let start = served.and_then(|served| desk.start_again(id, &served));
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

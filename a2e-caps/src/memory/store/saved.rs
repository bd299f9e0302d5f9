//! The memory in a snapshot: semantic entries and those of agents.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::codec::RawJson;
use a2e_core::snapshot::{State, Versions};
use a2e_core::{Error, Result, Time};
use serde::{Deserialize, Serialize};

use super::Lasting;
use super::shelves::{Owner, Partition};
use super::tier::Entry;
use crate::json::JsonObject;
use crate::memory::protocol::{MemoryEntry, MemoryTier};

/// The version of [`Saved`].
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Saved {
    /// Oldest first.
    semantic: Vec<SavedEntry>,
    /// Longest unused first.
    episodic: Vec<SavedPartition>,
}

#[derive(Serialize, Deserialize)]
struct SavedPartition {
    agent: String,
    namespace: String,
    scope: BTreeMap<String, String>,
    entries: Vec<SavedEntry>,
}

#[derive(Serialize, Deserialize)]
struct SavedEntry {
    /// JSON texts.
    key: String,
    content: String,
    tags: Vec<String>,
    source: String,
    score: f64,
    ttl: u64,
    created_at: f64,
    updated_at: f64,
    /// When it ends, in microseconds since the Unix epoch: the monotonic scale ends with the host.
    end_us: Option<u64>,
}

/// The state to keep.
///
/// # Errors
/// When it is larger than a snapshot may be, which the bounds of the store exclude.
pub(in crate::memory) fn save(
    lasting: &Lasting<Arc<Entry>, Arc<Partition>>,
    now: Time,
) -> Result<State> {
    let (semantic, episodic) = lasting;
    let entries = |list: &[Arc<Entry>]| list.iter().map(|it| save_entry(it, now)).collect();
    let mut saved = Saved { semantic: entries(semantic), episodic: Vec::new() };
    for (partition, list) in episodic {
        let Partition { owner, namespace, scope } = partition.as_ref();
        // The entries of a session without an agent end with it.
        let Owner::Agent(agent) = owner else { continue };
        saved.episodic.push(SavedPartition {
            agent: agent.clone(),
            namespace: namespace.clone(),
            scope: scope.clone(),
            entries: entries(list),
        });
    }
    State::bincode(VERSION, &saved)
}

/// Reads what [`save`] made. An entry goes on for what the wall clock says is left of it, but not for
/// longer than its `ttl`; one that has ended meanwhile is left out.
///
/// # Errors
/// When the state has another version, or a text in it is not the JSON that it should be.
pub(in crate::memory) fn restore(state: &State, now: Time) -> Result<Lasting<Entry, Partition>> {
    let saved = Versions::first::<Saved>(VERSION).read(state)?;
    let entries = |list: Vec<SavedEntry>, tier| -> Result<Vec<Entry>> {
        list.into_iter().filter_map(|it| restore_entry(it, tier, now).transpose()).collect()
    };
    let mut episodic = Vec::new();
    for SavedPartition { agent, namespace, scope, entries: list } in saved.episodic {
        let partition = Partition { owner: Owner::Agent(agent), namespace, scope };
        episodic.push((partition, entries(list, MemoryTier::Episodic)?));
    }
    Ok((entries(saved.semantic, MemoryTier::Semantic)?, episodic))
}

fn save_entry(entry: &Entry, now: Time) -> SavedEntry {
    let wire = &entry.wire;
    let end = entry.end.map(|end| now.wall + end.saturating_sub(now.mono));
    SavedEntry {
        key: wire.key.raw().get().to_owned(),
        content: wire.content.get().to_owned(),
        tags: wire.tags.clone(),
        source: wire.source.clone(),
        score: wire.score,
        ttl: wire.ttl,
        created_at: wire.created_at.unwrap_or_default(),
        updated_at: wire.updated_at.unwrap_or_default(),
        end_us: end.map(|end| u64::try_from(end.as_micros()).unwrap_or(u64::MAX)),
    }
}

fn restore_entry(saved: SavedEntry, tier: MemoryTier, now: Time) -> Result<Option<Entry>> {
    let not_json = |error: serde_json::Error| Error::internal(format!("saved entry: {error}"));
    let key: JsonObject = serde_json::from_str(&saved.key).map_err(not_json)?;
    let content = RawJson::parse(saved.content).map_err(not_json)?;
    let wire = MemoryEntry {
        tags: saved.tags,
        source: saved.source,
        score: saved.score,
        ttl: saved.ttl,
        created_at: Some(saved.created_at),
        updated_at: Some(saved.updated_at),
        ..MemoryEntry::new(key, content, tier)
    };
    let mut entry =
        Entry::new(wire, now).map_err(|error| Error::internal(format!("saved key: {error}")))?;
    if let Some(end_us) = saved.end_us {
        let left = Duration::from_micros(end_us).saturating_sub(now.wall);
        if left.is_zero() {
            return Ok(None);
        }
        entry.end = entry.end.map(|end| end.min(now.mono.saturating_add(left)));
    }
    Ok(Some(entry))
}

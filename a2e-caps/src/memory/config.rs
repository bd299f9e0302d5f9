//! The settings of a memory plugin.

use std::num::NonZeroUsize;

use a2e_core::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::protocol::MemoryLimits;

/// The host keeps no larger snapshot than 64 MiB; the rest is for lengths and names.
const MOST_BYTES: usize = 60 << 20;

/// The bounds of a memory. What an entry counts: the bytes of content, source, tags and key (once
/// as written and once as compared), 32 for each tag and 256 for the entry.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct MemoryConfig {
    /// Where entries are kept.
    #[serde(default)]
    pub backend: Backend,
    /// The file of the backend `sqlite`; made with its folder if it is missing.
    #[serde(default)]
    pub path: Option<String>,
    /// Most working entries of a session; the oldest leaves first.
    #[serde(default = "default_tier_limit")]
    pub working_limit: NonZeroUsize,
    /// Most episodic entries of an agent in one namespace and scope; the oldest leaves first.
    #[serde(default = "default_tier_limit")]
    pub episodic_limit: NonZeroUsize,
    /// Most semantic entries of the host; the oldest leaves first.
    #[serde(default = "default_tier_limit")]
    pub semantic_limit: NonZeroUsize,
    /// Most memories that a session may open; the next `memory/init` is refused with `memory_full`.
    #[serde(default = "default_max_memories")]
    pub max_memories: NonZeroUsize,
    /// Most partitions (agent, namespace and scope) of episodic entries that are kept while no memory
    /// is open on them; the one that has been closed for the longest leaves first.
    #[serde(default = "default_max_partitions")]
    pub max_partitions: NonZeroUsize,
    /// Most that one entry may count, in bytes; a larger one is reported in `errors`.
    #[serde(default = "default_max_entry_bytes")]
    pub max_entry_bytes: NonZeroUsize,
    /// Most that all entries may count, in bytes; at most 60 MiB in RAM. Closed partitions leave as by
    /// `max_partitions`; an entry that still finds no room is reported in `errors`.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: NonZeroUsize,
}

/// Where entries are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// In RAM, saved with the host's snapshots.
    #[default]
    Memory,
    /// In an SQLite file, which several hosts may share. Needs `path`.
    Sqlite,
}

impl MemoryConfig {
    /// What agents are told of them.
    pub(super) fn limits(&self) -> MemoryLimits {
        MemoryLimits {
            working: self.working_limit.get(),
            episodic: self.episodic_limit.get(),
            semantic: self.semantic_limit.get(),
            max_entry_bytes: self.max_entry_bytes.get(),
            max_bytes: self.max_bytes.get(),
            max_memories: self.max_memories.get(),
        }
    }

    /// What the types of the fields cannot say.
    ///
    /// # Errors
    /// A backend that this program has not or that lacks its path, or a bound that the snapshot could
    /// not hold.
    pub(super) fn check(&self) -> Result<()> {
        if self.backend == Backend::Sqlite {
            if cfg!(not(feature = "sqlite")) {
                let text = "backend `sqlite`: this program was built without the feature `sqlite`; \
                            use `memory`, which keeps entries in RAM and in the `snapshot_store`";
                return Err(Error::runtime(text));
            }
            if self.path.as_deref().is_none_or(str::is_empty) {
                let text = "backend `sqlite` needs `path`, the file that it is to keep entries in";
                return Err(Error::runtime(text));
            }
            return Ok(());
        }
        if self.max_bytes.get() > MOST_BYTES {
            let text = format!(
                "max_bytes: {} is above {MOST_BYTES}, the most that a snapshot can hold",
                self.max_bytes
            );
            return Err(Error::runtime(text));
        }
        Ok(())
    }
}

fn default_tier_limit() -> NonZeroUsize {
    at_least_one(50)
}

/// Enough for a namespace of each project that an agent works on.
fn default_max_memories() -> NonZeroUsize {
    at_least_one(16)
}

/// Client libraries draw a new agent id for each connection, so partitions of the past pile up.
fn default_max_partitions() -> NonZeroUsize {
    at_least_one(1024)
}

fn default_max_entry_bytes() -> NonZeroUsize {
    at_least_one(64 << 10)
}

fn default_max_bytes() -> NonZeroUsize {
    at_least_one(32 << 20)
}

fn at_least_one(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
impl Default for MemoryConfig {
    fn default() -> Self {
        serde_json::from_str("{}").expect("every setting has a default")
    }
}

//! Snapshots: the state of a plugin, saved by key so that a kill or a power cut leaves a whole one.
//!
//! A plugin makes a [`State`] from its own struct, the kernel saves it under a [`StateKey`] in a
//! [`SnapshotStore`]. What comes back was checked: a value that fails its check is never returned.
//!
//! ```
//! use a2e_core::snapshot::{MemoryStore, SnapshotStore, State, StateKey};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Counter {
//!     calls: u64,
//! }
//!
//! let store = MemoryStore::new();
//! let key = StateKey::new("counter", "state", None);
//! store.save(&key, &State::bincode(1, &Counter { calls: 3 })?)?;
//!
//! let loaded = store.load(&key)?.ok_or(a2e_core::Error::runtime("gone"))?;
//! assert_eq!(loaded.state.version(), 1);
//! assert_eq!(loaded.state.decode::<Counter>()?.calls, 3);
//! # Ok::<(), a2e_core::Error>(())
//! ```

mod archive;
mod envelope;
mod file;
mod key;
mod live;
mod memory;
mod migrate;
mod place;
#[cfg(feature = "sqlite")]
mod sqlite;
mod state;
#[cfg(test)]
mod tests;

pub use archive::{Archive, ArchiveWriter};
pub use file::FileStore;
pub use key::StateKey;
pub use live::Alone;
pub use memory::MemoryStore;
pub use migrate::Versions;
pub use place::StorePlace;
pub(crate) use place::open_for_host;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use state::{Codec, State};

use std::time::Duration;

use crate::Result;
use crate::protocol::PluginName;

/// Where states are kept. The calls block; the kernel makes them on threads that may.
pub trait SnapshotStore: Send + Sync + std::fmt::Debug {
    /// Saves a state; what was there before becomes the previous generation.
    ///
    /// # Errors
    /// When it could not be saved whole. What was saved before is then still there.
    fn save(&self, key: &StateKey, state: &State) -> Result<()>;

    /// Loads a state; none was saved: `None`.
    ///
    /// # Errors
    /// When something is there, but no generation of it is whole; the message names each and why.
    fn load(&self, key: &StateKey) -> Result<Option<LoadedState>>;

    /// Forgets a state; a missing one is no error.
    ///
    /// # Errors
    /// When it is still there.
    fn delete(&self, key: &StateKey) -> Result<()>;

    /// Every key that is stored, each once and sorted by plugin, key and session; of one plugin or,
    /// with `None`, of all.
    ///
    /// A key is listed as long as one generation of it is there, whole or not: [`SnapshotStore::load`]
    /// may still fail for it, [`SnapshotStore::delete`] does not.
    ///
    /// # Errors
    /// When the store as a whole cannot be read, not when one state in it is damaged.
    fn keys(&self, plugin: Option<&PluginName>) -> Result<Vec<StateKey>>;

    /// Each generation of a key that is there, the current one first, whole or not; for inspection.
    ///
    /// # Errors
    /// When the store as a whole cannot be read.
    fn generations(&self, key: &StateKey) -> Result<Vec<SavedGeneration>> {
        let loaded = self.load(key)?;
        Ok(loaded
            .map(|it| SavedGeneration {
                generation: it.generation,
                saved: None,
                state: Ok(it.state),
            })
            .into_iter()
            .collect())
    }
}

/// One generation as it is kept.
#[derive(Clone, Debug)]
pub struct SavedGeneration {
    /// Which one.
    pub generation: Generation,
    /// When it was saved, since the Unix epoch, where the store knows.
    pub saved: Option<Duration>,
    /// The state, or what is wrong with it.
    pub state: Result<State, String>,
}

/// A state that passed its check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedState {
    /// The state.
    pub state: State,
    /// Which one it is.
    pub generation: Generation,
    /// Why it is not the current one.
    pub problem: Option<String>,
}

impl LoadedState {
    /// A current generation.
    fn current(state: State) -> Self {
        Self { state, generation: Generation::Current, problem: None }
    }
}

/// Which of the two states that are kept for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The one saved last.
    Current,
    /// The one before.
    Previous,
}

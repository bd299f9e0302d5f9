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

mod envelope;
mod file;
mod key;
mod memory;
mod state;
#[cfg(test)]
mod tests;

pub use file::FileStore;
pub use key::StateKey;
pub use memory::MemoryStore;
pub use state::{Codec, State};

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
    fn load(&self, key: &StateKey) -> Result<Option<Loaded>>;

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
}

/// A state that passed its check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The state.
    pub state: State,
    /// Which one it is.
    pub generation: Generation,
    /// Why it is not the current one.
    pub problem: Option<String>,
}

/// Which of the two states that are kept for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The one saved last.
    Current,
    /// The one before.
    Previous,
}

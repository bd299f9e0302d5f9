//! States in memory: for tests, and for hosts that keep nothing.

use std::collections::BTreeMap;

use super::{LoadedState, SnapshotStore, State, StateKey};
use crate::protocol::{ErrorCode, PluginName};
use crate::sync::Mutex;
use crate::{Error, Result};

/// Keeps states as long as it lives, up to a sum of bytes.
#[derive(Debug)]
pub struct MemoryStore {
    max_bytes: usize,
    /// Guards the states; held for one look-up or one copy.
    states: Mutex<BTreeMap<StateKey, State>>,
}

impl MemoryStore {
    /// An empty store that takes 256 MiB.
    pub fn new() -> Self {
        Self::with_max_bytes(256 * 1024 * 1024)
    }

    /// An empty store that takes this many bytes of states and keys.
    pub fn with_max_bytes(max_bytes: usize) -> Self {
        Self { max_bytes, states: Mutex::default() }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

fn size(key: &StateKey, state: &State) -> usize {
    let session = key.session.as_ref().map_or(0, |session| session.as_str().len());
    state.bytes().len() + key.plugin.as_str().len() + key.key.len() + session
}

impl SnapshotStore for MemoryStore {
    fn save(&self, key: &StateKey, state: &State) -> Result<()> {
        key.check()?;
        let mut states = self.states.lock();
        let others = states.iter().filter(|(other, _)| *other != key);
        let bytes: usize = others.map(|(key, state)| size(key, state)).sum();
        if bytes + size(key, state) > self.max_bytes {
            let most = self.max_bytes;
            let message = format!("states in memory would take more than {most} bytes");
            return Err(Error::new(ErrorCode::OutOfMemory, message));
        }
        states.insert(key.clone(), state.clone());
        Ok(())
    }

    fn load(&self, key: &StateKey) -> Result<Option<LoadedState>> {
        key.check()?;
        let state = self.states.lock().get(key).cloned();
        Ok(state.map(LoadedState::current))
    }

    fn delete(&self, key: &StateKey) -> Result<()> {
        key.check()?;
        self.states.lock().remove(key);
        Ok(())
    }

    fn keys(&self, plugin: Option<&PluginName>) -> Result<Vec<StateKey>> {
        let states = self.states.lock();
        let wanted = |key: &&StateKey| plugin.is_none_or(|plugin| key.plugin == *plugin);
        Ok(states.keys().filter(wanted).cloned().collect())
    }
}

//! Where states are read from: an archive, a store, one generation of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use a2e_core::snapshot::{Archive, Generation, SnapshotStore, State, StateKey, StorePlace};

use crate::Failure;
use crate::defaults::{is_config, load};

/// States to read.
pub(super) struct Source {
    /// As it was named.
    pub(super) name: String,
    pub(super) store: Arc<dyn SnapshotStore>,
    generation: Option<Generation>,
}

impl Source {
    /// Opens `PATH`, `PATH@current` or `PATH@previous`.
    pub(super) fn named(name: &str) -> Result<Self, Failure> {
        let (path, generation) =
            match (name.strip_suffix("@previous"), name.strip_suffix("@current")) {
                (Some(path), _) => (path, Some(Generation::Previous)),
                (None, Some(path)) => (path, Some(Generation::Current)),
                (None, None) => (name, None),
            };
        Ok(Self { name: name.to_owned(), store: open(Path::new(path))?, generation })
    }

    /// The same source, at another generation.
    pub(super) fn at(&self, generation: Generation) -> Self {
        let name = format!("{}@{}", self.name, word(generation));
        Self { name, store: Arc::clone(&self.store), generation: Some(generation) }
    }

    pub(super) fn has_generation(&self) -> bool {
        self.generation.is_some()
    }

    /// The state of a key at the generation that was asked for; of none, what a host would load. An
    /// unreadable one says why.
    pub(super) fn state(&self, key: &StateKey) -> Result<Option<State>, String> {
        let said = |error: a2e_core::Error| error.message().to_owned();
        let Some(wanted) = self.generation else {
            return Ok(self.store.load(key).map_err(said)?.map(|loaded| loaded.state));
        };
        let kept = self.store.generations(key).map_err(said)?;
        kept.into_iter().find(|it| it.generation == wanted).map(|it| it.state).transpose()
    }

    pub(super) fn keys(&self) -> Result<Vec<StateKey>, Failure> {
        self.store.keys(None).map_err(|error| Failure::refused(error.message()))
    }
}

/// The store of a configuration.
pub(super) fn configured(file: &Path, is_lenient: bool) -> Result<StorePlace, Failure> {
    let config = load(Some(file), is_lenient)?;
    let refused = |why: &str| Failure::refused(format_args!("{}: {why}", file.display()));
    let store = config.snapshot_store.as_ref();
    let store = store.ok_or_else(|| refused("there is no `snapshot_store` in it"))?;
    StorePlace::of(store).map_err(|error| refused(error.message()))
}

/// An archive or a store that is there, or the store of a configuration.
pub(super) fn open(path: &Path) -> Result<Arc<dyn SnapshotStore>, Failure> {
    if is_config(path) {
        return existing(&configured(path, false)?);
    }
    let refused = |error: a2e_core::Error| Failure::refused(error.message());
    if Archive::is_at(path) {
        return Ok(Arc::new(Archive::open(PathBuf::from(path)).map_err(refused)?));
    }
    let place = StorePlace::find(path)
        .map_err(|error| Failure::refused(format_args!("{}, and no archive", error.message())))?;
    place.open().map_err(refused)
}

/// A store that must be there: to look must not make one.
pub(super) fn existing(place: &StorePlace) -> Result<Arc<dyn SnapshotStore>, Failure> {
    if !place.path().exists() {
        let path = place.path().display();
        return Err(Failure::refused(format_args!("{path}: no host has saved anything there yet")));
    }
    place.open().map_err(|error| Failure::refused(error.message()))
}

pub(super) fn word(generation: Generation) -> &'static str {
    match generation {
        Generation::Current => "current",
        Generation::Previous => "previous",
    }
}

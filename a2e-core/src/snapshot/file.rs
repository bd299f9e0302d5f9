//! States in files: one folder, one file per key and generation, each change atomic.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::live::{Live, patiently};
use super::{Generation, LoadedState, SavedGeneration, SnapshotStore, State, StateKey, envelope};
use crate::protocol::PluginName;
use crate::sync::{Mutex, MutexGuard};
use crate::{Error, Result};

/// The current generation of a key, the one before, and the new one while it is written.
const CURRENT: &str = "snap";
const PREVIOUS: &str = "snap.prev";
const WRITING: &str = "snap.tmp";
const LINKING: &str = "snap.prev.tmp";

/// Keeps states in a folder that is for its owner only.
///
/// A save writes a new file, has it on the disk, makes the current generation the previous one and
/// puts the new file in its place, so that at every instant at least one whole generation is there.
/// Hosts may share a folder: each call holds its lock (`.lock`), the last save wins.
#[derive(Debug)]
pub struct FileStore {
    root: PathBuf,
    /// The lock file. Its lock is between processes, the mutex between our threads.
    lock: Mutex<File>,
    /// Announces this host.
    #[allow(dead_code, reason = "held for its lock")]
    live: Option<Live>,
}

impl FileStore {
    /// Opens a folder for a host, creating it with mode 0700 if it is missing, and removes what an
    /// interrupted save left there.
    ///
    /// # Errors
    /// When the folder cannot be created, written or locked, or a restore has it.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let mut store = Self::open_beside(root)?;
        let live = File::open(&store.root);
        store.live = Some(Live::announce(live, &store.root.display().to_string())?);
        Ok(store)
    }

    /// As [`FileStore::open`], for a tool that works beside hosts; it does not announce itself.
    ///
    /// # Errors
    /// When the folder cannot be created, written or locked.
    pub fn open_beside(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let problem = |error: io::Error| failure("opened", &root, &error);
        if !root.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(&root).map_err(problem)?;
            // The name of the folder has to outlive a power cut as well.
            sync_folder(&root.join("..")).map_err(problem)?;
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let lock = options.open(root.join(".lock")).map_err(problem)?;
        let store = Self { root: root.clone(), lock: Mutex::new(lock), live: None };
        store.remove_leftovers()?;
        Ok(store)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn remove_leftovers(&self) -> Result<()> {
        // No save is under way while we hold the lock, so every such file is a leftover.
        let _locked = self.locked()?;
        for name in self.names()? {
            if [WRITING, LINKING].iter().any(|suffix| name.ends_with(&format!(".{suffix}"))) {
                let path = self.root.join(name);
                remove(&path).map_err(|error| failure("removed", &path, &error))?;
            }
        }
        Ok(())
    }

    fn locked(&self) -> Result<Locked<'_>> {
        let guard = self.lock.lock();
        let is_ours = patiently(|| guard.try_lock());
        if is_ours.map_err(|error| failure("locked", &self.root, &error))? {
            return Ok(Locked(guard));
        }
        let root = self.root.display();
        let message = format!("snapshot folder {root} is locked by another host");
        Err(Error::runtime(message).with_retryable(true))
    }

    fn path(&self, key: &StateKey, suffix: &str) -> PathBuf {
        self.root.join(format!("{}.{suffix}", key.file_name()))
    }

    fn names(&self) -> Result<Vec<String>> {
        let problem = |error: io::Error| failure("listed", &self.root, &error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(problem)? {
            names.extend(entry.map_err(problem)?.file_name().into_string());
        }
        Ok(names)
    }

    /// One generation: missing is `Ok(None)`, anything not whole says why.
    fn read(&self, key: &StateKey, suffix: &str) -> Result<Option<State>, String> {
        let path = self.path(key, suffix);
        match read_file(&path) {
            Ok(None) => Ok(None),
            Ok(Some((there, state))) if there == *key => Ok(Some(state)),
            Ok(Some((there, _))) => Err(format!("{} holds the state of {there}", path.display())),
            Err(problem) => Err(format!("{} {problem}", path.display())),
        }
    }

    /// Puts a written file in the place of the current generation and keeps that as the previous one.
    fn switch(&self, key: &StateKey, keep: bool) -> io::Result<()> {
        let [current, previous, writing, linking] =
            [CURRENT, PREVIOUS, WRITING, LINKING].map(|suffix| self.path(key, suffix));
        if keep {
            // A second name first, so that `current` is never missing. Renaming one name of a file
            // over another of the same file leaves both, hence the removal.
            remove(&linking)?;
            match fs::hard_link(&current, &linking) {
                Ok(()) => {
                    fs::rename(&linking, &previous)?;
                    remove(&linking)?;
                }
                // Without hard links `previous` stands alone for an instant.
                Err(_) => fs::rename(&current, &previous)?,
            }
        }
        fs::rename(&writing, &current)?;
        sync_folder(&self.root)
    }
}

impl SnapshotStore for FileStore {
    fn save(&self, key: &StateKey, state: &State) -> Result<()> {
        key.check()?;
        let _locked = self.locked()?;
        let path = self.path(key, WRITING);
        // A current generation that is not whole must not push out a previous one that is.
        let keep = matches!(self.read(key, CURRENT), Ok(Some(_)));
        let saved = write_file(&path, &envelope::head(&key.to_string(), state), state.bytes())
            .and_then(|()| self.switch(key, keep));
        saved.map_err(|error| {
            if let Err(error) = remove(&path) {
                tracing::warn!(path = %path.display(), %error, "half a snapshot cannot be removed");
            }
            failure("saved", &self.path(key, CURRENT), &error)
        })
    }

    fn load(&self, key: &StateKey) -> Result<Option<LoadedState>> {
        key.check()?;
        let _locked = self.locked()?;
        let problem = match self.read(key, CURRENT) {
            Ok(Some(state)) => return Ok(Some(LoadedState::current(state))),
            Ok(None) => None,
            Err(problem) => Some(problem),
        };
        match (self.read(key, PREVIOUS), problem) {
            (Ok(None), None) => Ok(None),
            (Ok(None), Some(problem)) => Err(Error::internal(format!("snapshot {problem}"))),
            (Ok(Some(state)), problem) => {
                let problem = problem
                    .unwrap_or_else(|| format!("{} is missing", self.path(key, CURRENT).display()));
                tracing::warn!("snapshot {problem}; the previous one is taken");
                let generation = Generation::Previous;
                Ok(Some(LoadedState { state, generation, problem: Some(problem) }))
            }
            (Err(older), problem) => {
                let newer = problem.map(|problem| format!("{problem}; ")).unwrap_or_default();
                Err(Error::internal(format!("snapshot {newer}{older}")))
            }
        }
    }

    fn delete(&self, key: &StateKey) -> Result<()> {
        key.check()?;
        let _locked = self.locked()?;
        // The current one last: after an interruption it is all there, or gone.
        for suffix in [PREVIOUS, CURRENT] {
            let path = self.path(key, suffix);
            remove(&path).map_err(|error| failure("deleted", &path, &error))?;
        }
        sync_folder(&self.root).map_err(|error| failure("deleted", &self.root, &error))
    }

    fn keys(&self, plugin: Option<&PluginName>) -> Result<Vec<StateKey>> {
        let _locked = self.locked()?;
        let mut keys = Vec::new();
        for name in self.names()? {
            let stem = name.strip_suffix(".prev").unwrap_or(&name).strip_suffix(".snap");
            let Some(stem) = stem else { continue };
            // A shortened name does not tell the key, the file does.
            let key = StateKey::from_file_name(stem).or_else(|| {
                let (key, _) = read_file(&self.root.join(&name)).ok()??;
                Some(key).filter(|key| key.file_name() == stem)
            });
            keys.extend(key.filter(|key| plugin.is_none_or(|plugin| key.plugin == *plugin)));
        }
        keys.sort();
        keys.dedup();
        Ok(keys)
    }

    fn generations(&self, key: &StateKey) -> Result<Vec<SavedGeneration>> {
        key.check()?;
        let _locked = self.locked()?;
        let mut kept = Vec::new();
        for (suffix, generation) in
            [(CURRENT, Generation::Current), (PREVIOUS, Generation::Previous)]
        {
            let Some(state) = self.read(key, suffix).transpose() else { continue };
            let changed = fs::metadata(self.path(key, suffix)).and_then(|it| it.modified()).ok();
            let saved = changed.and_then(|it| it.duration_since(std::time::UNIX_EPOCH).ok());
            kept.push(SavedGeneration { generation, saved, state });
        }
        Ok(kept)
    }
}

/// The lock of the folder, until dropped.
struct Locked<'a>(MutexGuard<'a, File>);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "snapshot folder cannot be unlocked");
        }
    }
}

fn failure(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::runtime(format!("snapshot {} cannot be {what}: {error}", path.display()))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A file of its own that is on the disk when this returns; a leftover or a link is not followed.
fn write_file(path: &Path, head: &[u8], state: &[u8]) -> io::Result<()> {
    remove(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(head)?;
    file.write_all(state)?;
    file.sync_all()
}

/// A whole file, checked; never more of it than the largest good one.
fn read_file(path: &Path) -> Result<Option<(StateKey, State)>, String> {
    let unread = |error: io::Error| format!("cannot be read: {error}");
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(unread)?,
    };
    let length = file.metadata().map_err(unread)?.len();
    if length > envelope::MAX_FILE {
        return Err(format!("has {length} bytes, more than any snapshot"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(envelope::MAX_FILE).read_to_end(&mut bytes).map_err(unread)?;
    envelope::open(&bytes).map(Some)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

//! States in one SQLite file: a table of current generations and one of those before.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Transaction, params};

use super::live::Live;
use super::{Generation, LoadedState, SavedGeneration, SnapshotStore, State, StateKey, envelope};
use crate::protocol::PluginName;
use crate::sqlite::{Schema, failure, open, writing};
use crate::sync::Mutex;
use crate::{Error, Result};

/// `state` is the same checked wrapping that a file has.
const SCHEMA: Schema = Schema {
    what: "snapshot store",
    application_id: 0x4132_4553, // A2ES
    steps: &["
        CREATE TABLE snapshots (
            key TEXT PRIMARY KEY NOT NULL,
            state BLOB NOT NULL,
            saved_at INTEGER NOT NULL DEFAULT (unixepoch())
        );
        CREATE TABLE previous_snapshots (
            key TEXT PRIMARY KEY NOT NULL,
            state BLOB NOT NULL,
            saved_at INTEGER NOT NULL
        );
    "],
};

/// Both generations of a key, the current one first; a blob is read only when it is asked for.
const GENERATIONS: &str = "
    SELECT 0 AS age, state, saved_at FROM snapshots WHERE key = ?1
    UNION ALL SELECT 1, state, saved_at FROM previous_snapshots WHERE key = ?1
    ORDER BY age";

/// Keeps states in a database that is for its owner only. Each save is one transaction, which is on
/// the disk when it returns. Hosts may share a file; the last save wins.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    /// The connection; held for one call.
    connection: Mutex<Connection>,
    /// Announces this host.
    #[allow(dead_code, reason = "held for its lock")]
    live: Option<Live>,
}

impl SqliteStore {
    /// Opens a file for a host, creating it (mode 0600) and its folder (0700) if they are missing.
    ///
    /// # Errors
    /// As [`crate::sqlite::open`], and while a restore has it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let mut store = Self::open_beside(path)?;
        let live = live_file(&store.path);
        store.live = Some(Live::announce(live, &store.path.display().to_string())?);
        Ok(store)
    }

    /// Opens a file for a tool that works beside hosts; it does not announce itself.
    ///
    /// # Errors
    /// As [`crate::sqlite::open`].
    pub fn open_beside(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let connection = Mutex::new(open(&path, &SCHEMA)?);
        Ok(Self { path, connection, live: None })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, done: &str, error: &rusqlite::Error) -> Error {
        failure(&SCHEMA, done, &self.path, error)
    }

    /// What this row holds, or what is wrong with it.
    fn read(&self, key: &StateKey, row: &Row<'_>) -> rusqlite::Result<Result<State, String>> {
        let table = if row.get::<_, i64>(0)? == 0 { "snapshots" } else { "previous_snapshots" };
        let at = || format!("{}: {key} in table {table}", self.path.display());
        let blob = match row.get_ref(1)? {
            ValueRef::Blob(blob) => blob,
            other => return Ok(Err(format!("{} is of type {}", at(), other.data_type()))),
        };
        Ok(match envelope::open(blob) {
            Ok((there, state)) if there == *key => Ok(state),
            Ok((there, _)) => Err(format!("{} holds the state of {there}", at())),
            Err(problem) => Err(format!("{} {problem}", at())),
        })
    }

    fn put(&self, key: &StateKey, state: &State) -> rusqlite::Result<()> {
        let mut connection = self.connection.lock();
        let change = writing(&mut connection)?;
        let text = key.to_string();
        // A current generation that is not whole must not push out a previous one that is.
        if self.is_whole(&change, key, &text)? {
            change.execute(
                "INSERT OR REPLACE INTO previous_snapshots (key, state, saved_at)
                 SELECT key, state, saved_at FROM snapshots WHERE key = ?1",
                [&text],
            )?;
        }
        let mut blob = envelope::head(&text, state);
        blob.extend_from_slice(state.bytes());
        change.execute(
            "INSERT OR REPLACE INTO snapshots (key, state) VALUES (?1, ?2)",
            params![text, blob],
        )?;
        change.commit()
    }

    fn is_whole(
        &self,
        change: &Transaction<'_>,
        key: &StateKey,
        text: &str,
    ) -> rusqlite::Result<bool> {
        let mut current = change.prepare_cached("SELECT 0, state FROM snapshots WHERE key = ?1")?;
        let mut rows = current.query([text])?;
        Ok(match rows.next()? {
            Some(row) => self.read(key, row)?.is_ok(),
            None => false,
        })
    }

    /// The first generation that is whole, and what is wrong with those before it.
    fn first_whole(&self, key: &StateKey) -> rusqlite::Result<(Option<LoadedState>, Vec<String>)> {
        let connection = self.connection.lock();
        let mut rows = connection.prepare_cached(GENERATIONS)?;
        let mut rows = rows.query([key.to_string()])?;
        let mut problems = Vec::new();
        while let Some(row) = rows.next()? {
            let generation = generation(row.get(0)?);
            match self.read(key, row)? {
                Ok(state) => {
                    if generation == Generation::Previous && problems.is_empty() {
                        let path = self.path.display();
                        problems.push(format!("{path}: {key} is missing in table snapshots"));
                    }
                    let problem = (!problems.is_empty()).then(|| problems.join("; "));
                    return Ok((Some(LoadedState { state, generation, problem }), problems));
                }
                Err(problem) => problems.push(problem),
            }
        }
        Ok((None, problems))
    }

    fn remove(&self, key: &StateKey) -> rusqlite::Result<()> {
        let mut connection = self.connection.lock();
        let change = writing(&mut connection)?;
        for table in ["snapshots", "previous_snapshots"] {
            change.execute(&format!("DELETE FROM {table} WHERE key = ?1"), [key.to_string()])?;
        }
        change.commit()
    }

    fn texts(&self) -> rusqlite::Result<Vec<String>> {
        let connection = self.connection.lock();
        let mut keys = connection
            .prepare_cached("SELECT key FROM snapshots UNION SELECT key FROM previous_snapshots")?;
        let keys = keys.query_map([], |row| row.get(0))?;
        keys.collect()
    }
}

impl SnapshotStore for SqliteStore {
    fn save(&self, key: &StateKey, state: &State) -> Result<()> {
        key.check()?;
        self.put(key, state).map_err(|error| self.failed(&format!("written for {key}"), &error))
    }

    fn load(&self, key: &StateKey) -> Result<Option<LoadedState>> {
        key.check()?;
        let (found, problems) = self
            .first_whole(key)
            .map_err(|error| self.failed(&format!("read for {key}"), &error))?;
        if found.is_none() && !problems.is_empty() {
            return Err(Error::internal(format!("snapshot {}", problems.join("; "))));
        }
        if let Some(problem) = found.as_ref().and_then(|loaded| loaded.problem.as_ref()) {
            tracing::warn!("snapshot {problem}; the previous one is taken");
        }
        Ok(found)
    }

    fn delete(&self, key: &StateKey) -> Result<()> {
        key.check()?;
        self.remove(key).map_err(|error| self.failed(&format!("written for {key}"), &error))
    }

    fn keys(&self, plugin: Option<&PluginName>) -> Result<Vec<StateKey>> {
        let texts = self.texts().map_err(|error| self.failed("listed", &error))?;
        let mut keys: Vec<_> = texts.iter().filter_map(|text| StateKey::parse(text).ok()).collect();
        keys.retain(|key| plugin.is_none_or(|plugin| key.plugin == *plugin));
        keys.sort();
        Ok(keys)
    }

    fn generations(&self, key: &StateKey) -> Result<Vec<SavedGeneration>> {
        key.check()?;
        let look = || -> rusqlite::Result<Vec<SavedGeneration>> {
            let connection = self.connection.lock();
            let mut rows = connection.prepare_cached(GENERATIONS)?;
            let mut rows = rows.query([key.to_string()])?;
            let mut kept = Vec::new();
            while let Some(row) = rows.next()? {
                let generation = generation(row.get(0)?);
                let saved = u64::try_from(row.get::<_, i64>(2)?).ok().map(Duration::from_secs);
                kept.push(SavedGeneration { generation, saved, state: self.read(key, row)? });
            }
            Ok(kept)
        };
        look().map_err(|error| self.failed(&format!("read for {key}"), &error))
    }
}

fn generation(age: i64) -> Generation {
    if age == 0 { Generation::Current } else { Generation::Previous }
}

/// The file beside the database whose lock says that a host is there. Not the database itself: to
/// close a handle of that would take SQLite's own locks away.
pub(super) fn live_file(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push("-live");
    OpenOptions::new().append(true).create(true).mode(0o600).open(name)
}

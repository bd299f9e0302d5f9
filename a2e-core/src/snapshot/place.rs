//! The place of a store, from a configuration or from a path. For hosts and for tools.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "sqlite")]
use super::SqliteStore;
use super::{Alone, FileStore, MemoryStore, SnapshotStore};
use crate::config::SnapshotStoreConfig;
use crate::{Error, Result};

/// The first bytes of an SQLite file.
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// A store that outlives its hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// One file per state.
    Folder(PathBuf),
    /// An SQLite file.
    Database(PathBuf),
}

impl Place {
    /// The place of a configured store.
    ///
    /// # Errors
    /// When it is in no place: in memory, or brought by a program.
    pub fn of(config: &SnapshotStoreConfig) -> Result<Self> {
        match config {
            SnapshotStoreConfig::File { root } => Ok(Self::Folder(root.clone())),
            SnapshotStoreConfig::Sqlite { db_path } => Ok(Self::Database(db_path.clone())),
            SnapshotStoreConfig::Memory => {
                Err(Error::runtime("snapshot_store `memory` ends with its host"))
            }
            SnapshotStoreConfig::Custom(_) => Err(Error::runtime(
                "snapshot_store `custom` is known only to the program that brings it",
            )),
        }
    }

    /// The store at this path.
    ///
    /// # Errors
    /// When it is missing, or neither a folder nor an SQLite file.
    pub fn find(path: &Path) -> Result<Self> {
        let unread = |error| Error::runtime(format!("{}: {error}", path.display()));
        if std::fs::metadata(path).map_err(unread)?.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let mut magic = Vec::with_capacity(SQLITE_MAGIC.len());
        let file = File::open(path).map_err(unread)?;
        file.take(SQLITE_MAGIC.len() as u64).read_to_end(&mut magic).map_err(unread)?;
        if magic == SQLITE_MAGIC {
            return Ok(Self::Database(path.to_owned()));
        }
        let text = "is no snapshot store: neither a folder nor an SQLite file";
        Err(Error::runtime(format!("{} {text}", path.display())))
    }

    /// The folder or file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Database(path) => path,
        }
    }

    /// Opens the store for a tool that works beside hosts, creating it if it is missing.
    ///
    /// # Errors
    /// As the stores say.
    pub fn open(&self) -> Result<Arc<dyn SnapshotStore>> {
        Ok(match self {
            Self::Folder(root) => Arc::new(FileStore::open_beside(root)?),
            #[cfg(feature = "sqlite")]
            Self::Database(path) => Arc::new(SqliteStore::open_beside(path)?),
            #[cfg(not(feature = "sqlite"))]
            Self::Database(path) => return Err(no_sqlite(path)),
        })
    }

    /// Keeps hosts out while a store is changed under them; `None` while one works with it.
    ///
    /// # Errors
    /// When the system has no such locks here, or the store is missing.
    pub fn alone(&self) -> Result<Option<Alone>> {
        let file = match self {
            Self::Folder(root) => File::open(root),
            #[cfg(feature = "sqlite")]
            Self::Database(path) => super::sqlite::live_file(path),
            #[cfg(not(feature = "sqlite"))]
            Self::Database(path) => return Err(no_sqlite(path)),
        };
        file.and_then(Alone::claim)
            .map_err(|error| Error::runtime(format!("{}: {error}", self.path().display())))
    }
}

/// The store of a host, as configured.
pub(crate) fn open_for_host(config: &SnapshotStoreConfig) -> Result<Arc<dyn SnapshotStore>> {
    Ok(match config {
        SnapshotStoreConfig::Memory => Arc::new(MemoryStore::new()),
        SnapshotStoreConfig::File { root } => Arc::new(FileStore::open(root)?),
        #[cfg(feature = "sqlite")]
        SnapshotStoreConfig::Sqlite { db_path } => Arc::new(SqliteStore::open(db_path)?),
        #[cfg(not(feature = "sqlite"))]
        SnapshotStoreConfig::Sqlite { db_path } => return Err(no_sqlite(db_path)),
        SnapshotStoreConfig::Custom(_) => {
            let text = "snapshot_store `custom` needs a program that brings its store";
            return Err(Error::runtime(text));
        }
    })
}

#[cfg(not(feature = "sqlite"))]
fn no_sqlite(path: &Path) -> Error {
    Error::runtime(format!(
        "snapshot_store {}: this program was built without the feature `sqlite`; use `file`",
        path.display()
    ))
}

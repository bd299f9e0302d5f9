//! The files of one server: what it offered last, and which definitions are approved.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::listing::Listing;
use crate::mcp::config::ServerConfig;

/// Largest file that is read.
const MAX_FILE: u64 = 64 << 20;

/// Where the files of a server are; nowhere, when nothing is to be kept.
#[derive(Clone, Debug)]
pub(in crate::mcp) struct Store {
    folder: Option<PathBuf>,
    stem: String,
}

impl Store {
    pub(in crate::mcp) fn new(folder: Option<PathBuf>, id: &str, config: &ServerConfig) -> Self {
        Self { folder, stem: format!("{id}-{}", config.fingerprint(id)) }
    }

    fn path(&self, kind: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{}.{kind}.json", self.stem)))
    }

    /// What the server offered last.
    pub(in crate::mcp) fn listing(&self) -> Option<Listing> {
        self.path("list").and_then(|path| read(&path))
    }

    /// The approved definitions, by tool.
    pub(in crate::mcp) fn pins(&self) -> BTreeMap<String, String> {
        self.path("pins").and_then(|path| read(&path)).unwrap_or_default()
    }

    pub(in crate::mcp) fn keep_listing(&self, listing: &Listing) {
        self.keep("list", listing);
    }

    /// # Errors
    /// When the file is not written.
    pub(in crate::mcp) fn keep_pins(&self, pins: &BTreeMap<String, String>) -> std::io::Result<()> {
        match self.path("pins") {
            Some(path) => write(&path, pins),
            None => Ok(()),
        }
    }

    fn keep<T: Serialize>(&self, kind: &str, what: &T) {
        let Some(path) = self.path(kind) else { return };
        if let Err(error) = write(&path, what) {
            tracing::warn!(path = %path.display(), %error, "what a server offers is not kept");
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let is_small = std::fs::metadata(path).ok()?.len() <= MAX_FILE;
    let bytes = if is_small { std::fs::read(path).ok()? } else { return None };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a file of a server is not read");
            None
        }
    }
}

/// Writes a file of this user's alone, whole or not at all.
fn write<T: Serialize>(path: &Path, what: &T) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Hosts that share the folder write under names of their own.
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec(what)?)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

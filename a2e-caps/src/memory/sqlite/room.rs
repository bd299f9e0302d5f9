//! The owners of shelves, and the shelves that are dropped for room.

use std::collections::HashSet;

use a2e_core::protocol::SessionId;
use rusqlite::{Connection, Transaction};

use super::tables::Side;
use super::{SqliteStore, Trouble, rows};
use crate::memory::protocol::MemoryTier;
use crate::memory::store::full;
use crate::memory::store::shelves::{Owner, Partition};

/// The shelf of semantic entries. Other names are JSON arrays.
pub(super) const SEMANTIC: &str = "semantic";

/// Where a shelf is, its name, and what the name counts.
pub(super) type Home = (Side, String, usize);

pub(super) fn home(session: &SessionId, partition: &Partition, tier: MemoryTier) -> Home {
    match tier {
        MemoryTier::Working => (Side::Own, working(session), 0),
        MemoryTier::Semantic => (Side::Kept, SEMANTIC.to_owned(), 0),
        MemoryTier::Episodic => {
            let (side, name) = name(partition);
            (side, name, partition.len())
        }
    }
}

/// The shelf of a session's working entries.
pub(super) fn working(session: &SessionId) -> String {
    serde_json::json!([session.as_str()]).to_string()
}

/// The shelf of a partition: with a session for its owner it ends with that.
pub(super) fn name(partition: &Partition) -> (Side, String) {
    let Partition { owner, namespace, scope } = partition;
    let (side, owner) = match owner {
        Owner::Agent(agent) => (Side::Kept, agent.as_str()),
        Owner::Session(session) => (Side::Own, session.as_str()),
    };
    (side, serde_json::json!([owner, namespace, scope]).to_string())
}

/// A partition in the file that no session of this host has open.
pub(super) struct Idle {
    id: i64,
    name: String,
    bytes: usize,
}

/// Every idle partition, longest unused first.
pub(super) fn idle(connection: &Connection, open: &HashSet<String>) -> rusqlite::Result<Vec<Idle>> {
    let mut shelves = connection.prepare_cached(
        "SELECT id, name, bytes + name_bytes FROM shelves WHERE name <> ?1 ORDER BY used",
    )?;
    let shelves = shelves.query_map([SEMANTIC], |row| {
        Ok(Idle { id: row.get(0)?, name: row.get(1)?, bytes: rows::size(row, 2)? })
    })?;
    shelves.filter(|it| !it.as_ref().is_ok_and(|it| open.contains(&it.name))).collect()
}

impl SqliteStore {
    /// Makes sure that `wanted` more bytes fit: idle partitions go, if that is enough.
    pub(super) fn make_room(&self, change: &Transaction<'_>, wanted: usize) -> Result<(), Trouble> {
        let most = self.limits.max_bytes.get();
        let total = rows::total(change)?;
        if total + wanted <= most {
            return Ok(());
        }
        let open = self.open_names();
        let idle_bytes: usize = idle(change, &open)?.iter().map(|it| it.bytes).sum();
        if total + wanted > most + idle_bytes {
            return Err(
                full(format!("the memory of this host has {most} bytes (max_bytes)")).into()
            );
        }
        while rows::total(change)? + wanted > most && self.drop_idle(change, &open)? {}
        Ok(())
    }

    /// Drops the partition that was unused for the longest; false when all are open.
    pub(super) fn drop_idle(
        &self,
        change: &Transaction<'_>,
        open: &HashSet<String>,
    ) -> rusqlite::Result<bool> {
        let Some(oldest) = idle(change, open)?.into_iter().next() else { return Ok(false) };
        tracing::warn!(
            partition = %oldest.name, path = %self.path.display(),
            "no room; the episodic entries that were unused for the longest are dropped"
        );
        rows::remove_shelf(change, Side::Kept, oldest.id)?;
        Ok(true)
    }
}

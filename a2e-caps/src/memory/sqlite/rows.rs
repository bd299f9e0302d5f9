//! Entries as rows: written, read, counted.

use std::sync::Arc;

use a2e_core::Result as Answer;
use a2e_core::codec::RawJson;
use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Time};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::tables::Side;
use crate::json::JsonObject;
use crate::memory::protocol::{MemoryEntry, MemoryTier};
use crate::memory::store::text::document;
use crate::memory::store::tier::Entry;

/// A shelf that is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shelf {
    pub(super) side: Side,
    pub(super) id: i64,
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

/// The columns of [`entry`], in its order.
pub(super) const COLUMNS: &str = "e.place, e.id, e.tags, e.key, e.content, e.source, e.score, \
    e.ttl, e.created_at, e.updated_at, e.bytes";

/// The shelf of this name, if there is one.
pub(super) fn shelf(connection: &Connection, side: Side, name: &str) -> Result<Option<Shelf>> {
    let sql = side.sql("SELECT id, entries, bytes FROM @shelves WHERE name = ?1");
    let mut shelf = connection.prepare_cached(&sql)?;
    let read = |row: &Row<'_>| {
        Ok(Shelf { side, id: row.get(0)?, entries: size(row, 1)?, bytes: size(row, 2)? })
    };
    shelf.query_row([name], read).optional()
}

/// Makes a shelf.
pub(super) fn add_shelf(
    connection: &Connection,
    side: Side,
    name: &str,
    name_bytes: usize,
) -> Result<Shelf> {
    let sql = side.sql(
        "INSERT INTO @shelves (name, name_bytes, used)
         VALUES (?1, ?2, (SELECT coalesce(max(used), 0) + 1 FROM @shelves))",
    );
    connection.prepare_cached(&sql)?.execute(params![name, number(name_bytes)])?;
    Ok(Shelf { side, id: connection.last_insert_rowid(), entries: 0, bytes: 0 })
}

/// Notes that a shelf was used last of all.
pub(super) fn touch(connection: &Connection, shelf: &Shelf) -> Result<()> {
    let sql = shelf.side.sql(
        "UPDATE @shelves SET used = (SELECT max(used) + 1 FROM @shelves)
         WHERE id = ?1 AND used < (SELECT max(used) FROM @shelves)",
    );
    connection.prepare_cached(&sql)?.execute([shelf.id]).map(|_| ())
}

/// Removes a shelf and what is on it.
pub(super) fn remove_shelf(connection: &Connection, side: Side, id: i64) -> Result<()> {
    for sql in ["DELETE FROM @entries WHERE shelf = ?1", "DELETE FROM @shelves WHERE id = ?1"] {
        connection.prepare_cached(&side.sql(sql))?.execute([id])?;
    }
    Ok(())
}

/// Removes what has ended.
pub(super) fn purge(connection: &Connection, now_us: i64) -> Result<()> {
    for side in [Side::Kept, Side::Own] {
        let sql = side.sql("DELETE FROM @entries WHERE end_us <= ?1");
        connection.prepare_cached(&sql)?.execute([now_us])?;
    }
    Ok(())
}

/// What everything counts, in bytes.
pub(super) fn total(connection: &Connection) -> Result<usize> {
    let sql = "SELECT (SELECT coalesce(sum(bytes + name_bytes), 0) FROM shelves)
        + (SELECT coalesce(sum(bytes + name_bytes), 0) FROM own_shelves)";
    connection.prepare_cached(sql)?.query_row([], |row| size(row, 0))
}

/// How many bytes [`put`] would free: of the entry that is replaced, or of the oldest on a full shelf.
pub(super) fn freed_by(
    connection: &Connection,
    shelf: &Shelf,
    id: &str,
    limit: usize,
) -> Result<usize> {
    let same = "SELECT bytes FROM @entries WHERE shelf = ?1 AND id = ?2";
    let mut same = connection.prepare_cached(&shelf.side.sql(same))?;
    let same = same.query_row(params![shelf.id, id], |row| size(row, 0)).optional()?;
    if same.is_some() || shelf.entries < limit {
        return Ok(same.unwrap_or_default());
    }
    let oldest = "SELECT bytes FROM @entries WHERE shelf = ?1 ORDER BY place LIMIT 1";
    let mut oldest = connection.prepare_cached(&shelf.side.sql(oldest))?;
    Ok(oldest.query_row([shelf.id], |row| size(row, 0)).optional()?.unwrap_or_default())
}

/// Stores an entry. One of the same key is replaced and keeps its place; else the oldest leave until
/// the shelf has at most `limit`. Returns the keys of those.
pub(super) fn put(
    connection: &Connection,
    shelf: &Shelf,
    entry: &Entry,
    end_us: Option<i64>,
    limit: usize,
) -> Result<Vec<JsonObject>> {
    let side = shelf.side;
    let mut evicted = Vec::new();
    let place = "SELECT place FROM @entries WHERE shelf = ?1 AND id = ?2";
    let mut place = connection.prepare_cached(&side.sql(place))?;
    let place: Option<i64> =
        place.query_row(params![shelf.id, &*entry.id], |row| row.get(0)).optional()?;
    if let Some(place) = place {
        let words = side.sql("DELETE FROM @words WHERE rowid = ?1");
        connection.prepare_cached(&words)?.execute([place])?;
    } else if shelf.entries >= limit {
        let surplus = side.sql(
            "DELETE FROM @entries WHERE place IN
             (SELECT place FROM @entries WHERE shelf = ?1 ORDER BY place LIMIT ?2)
             RETURNING key",
        );
        let surplus_count = number(shelf.entries - limit + 1);
        let mut surplus = connection.prepare_cached(&surplus)?;
        let mut rows = surplus.query([shelf.id, surplus_count])?;
        while let Some(row) = rows.next()? {
            // A damaged key names nothing.
            evicted.extend(serde_json::from_str::<JsonObject>(row.get_ref(0)?.as_str()?));
        }
    }
    let place = write(connection, shelf, place, entry, end_us)?;
    let words = side.sql("INSERT INTO @words (rowid, text) VALUES (?1, ?2)");
    // A text with NUL ends there for the index.
    let text = document(&entry.wire).replace('\0', "\n");
    connection.prepare_cached(&words)?.execute(params![place, text])?;
    Ok(evicted)
}

/// Writes the row, at this place or at the end; returns its place.
fn write(
    connection: &Connection,
    shelf: &Shelf,
    place: Option<i64>,
    entry: &Entry,
    end_us: Option<i64>,
) -> Result<i64> {
    let wire = &entry.wire;
    let tags = serde_json::to_string(&wire.tags)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let sql = shelf.side.sql(
        "INSERT INTO @entries (place, shelf, id, key, content, tags, source, score, ttl,
             created_at, updated_at, end_us, bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
         ON CONFLICT (place) DO UPDATE SET key = ?4, content = ?5, tags = ?6, source = ?7,
             score = ?8, ttl = ?9, created_at = ?10, updated_at = ?11, end_us = ?12, bytes = ?13",
    );
    connection.prepare_cached(&sql)?.execute(params![
        place,
        shelf.id,
        &*entry.id,
        wire.key.raw().get(),
        wire.content.get(),
        tags,
        wire.source,
        wire.score,
        wire.ttl.cast_signed(),
        wire.created_at.unwrap_or_default(),
        wire.updated_at.unwrap_or_default(),
        end_us,
        number(entry.bytes),
    ])?;
    Ok(place.unwrap_or_else(|| connection.last_insert_rowid()))
}

/// The tags of a row of [`COLUMNS`].
pub(super) fn tags(row: &Row<'_>) -> Result<Answer<Vec<String>>> {
    let text = row.get_ref(2)?.as_str()?;
    Ok(serde_json::from_str(text).map_err(|error| damaged("tags", &error)))
}

/// Reads the rest of a row of [`COLUMNS`].
pub(super) fn entry(row: &Row<'_>, tier: MemoryTier, tags: Vec<String>) -> Result<Answer<Entry>> {
    let (key, content) = (row.get_ref(3)?.as_str()?, row.get(4)?);
    let (key, content) = match (serde_json::from_str(key), RawJson::parse(content)) {
        (Ok(key), Ok(content)) => (key, content),
        (Err(error), _) => return Ok(Err(damaged("key", &error))),
        (_, Err(error)) => return Ok(Err(damaged("content", &error))),
    };
    let wire = MemoryEntry {
        tags,
        source: row.get(5)?,
        score: row.get(6)?,
        ttl: row.get::<_, i64>(7)?.cast_unsigned(),
        created_at: Some(row.get(8)?),
        updated_at: Some(row.get(9)?),
        ..MemoryEntry::new(key, content, tier)
    };
    let id: Arc<str> = row.get::<_, String>(1)?.into();
    // When it ends was looked at in the query.
    Ok(Ok(Entry { id, wire, end: None, bytes: size(row, 10)? }))
}

fn damaged(what: &str, error: &serde_json::Error) -> Error {
    Error::new(
        ErrorCode::RuntimeError,
        format!("an entry of the memory is damaged: {what}: {error}"),
    )
}

/// When an entry ends, on the scale of the file.
pub(super) fn end_us(entry: &Entry, base_us: i64) -> Option<i64> {
    let end = i64::try_from(entry.end?.as_micros()).ok()?;
    base_us.checked_add(end)
}

/// What the wall clock was when the monotonic scale began, in microseconds. The scale of the file is
/// that plus monotonic time, so that a jump of the wall clock ends no entry of a running host.
pub(super) fn base_us(now: Time) -> i64 {
    let us = |time: std::time::Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    us(now.wall).saturating_sub(us(now.mono))
}

pub(super) fn size(row: &Row<'_>, column: usize) -> Result<usize> {
    Ok(usize::try_from(row.get::<_, i64>(column)?).unwrap_or_default())
}

pub(super) fn number(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

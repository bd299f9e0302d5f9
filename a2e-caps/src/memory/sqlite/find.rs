//! Searches: rows of a shelf that may meet the conditions, how well, and how relevant they are.

use std::collections::BTreeSet;
use std::sync::Arc;

use a2e_core::{Error, Result as Answer};
use rusqlite::types::Value;
use rusqlite::{Connection, Result, params_from_iter};

use super::rows::{self, COLUMNS, Shelf};
use super::tables::Side;
use crate::memory::protocol::MemoryTier;
use crate::memory::store::rank::{Best, Wanted};
use crate::memory::store::relevance::{Relevance, is_indexed};
use crate::memory::store::text;

/// Counts the words of a query on these shelves.
pub(super) fn relevance(
    connection: &Connection,
    wanted: &Wanted,
    shelves: &[Shelf],
) -> Result<Relevance> {
    let all: usize = shelves.iter().map(|shelf| shelf.entries).sum();
    let bytes: usize = shelves.iter().map(|shelf| shelf.bytes).sum();
    Relevance::try_counted(&wanted.words, all, bytes, |word| {
        shelves.iter().map(|shelf| count(connection, shelf, word)).sum()
    })
}

/// A word as a text of the query language of the index: nothing in it has a meaning there.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('"', "\"\""))
}

fn count(connection: &Connection, shelf: &Shelf, word: &str) -> Result<usize> {
    let sql = shelf.side.sql(
        "SELECT count(*) FROM @words AS w CROSS JOIN @entries AS e ON e.place = w.rowid
         WHERE w.text MATCH ?1 AND e.shelf = ?2",
    );
    let mut count = connection.prepare_cached(&sql)?;
    count.query_row((quoted(word), shelf.id), |row| rows::size(row, 0))
}

/// Where a search looks: one shelf, all of it or these keys.
pub(super) struct Place<'a> {
    pub(super) shelf: &'a Shelf,
    pub(super) tier: MemoryTier,
    pub(super) ids: Option<&'a [Arc<str>]>,
    pub(super) now_us: i64,
}

/// Adds what meets the conditions, in the order of insertion. Stops when `goes_on` says so; the
/// result is of no use then.
pub(super) fn search(
    connection: &Connection,
    place: &Place<'_>,
    wanted: &Wanted,
    relevance: &Relevance,
    best: &mut Best,
    goes_on: &dyn Fn() -> bool,
) -> Result<Answer<()>> {
    let (sql, parameters) = query(place, wanted);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(parameters))?;
    while let Some(row) = rows.next()? {
        if !goes_on() {
            break;
        }
        let tags = match rows::tags(row)? {
            Ok(tags) => tags,
            Err(error) => return Ok(Err(at(place, error))),
        };
        // Most rows of a search by tags end here, without their content being read.
        if !wanted.has_tag(&tags) {
            continue;
        }
        let entry = match rows::entry(row, place.tier, tags)? {
            Ok(entry) => entry,
            Err(error) => return Ok(Err(at(place, error))),
        };
        let text =
            if wanted.words.is_empty() { String::new() } else { text::document(&entry.wire) };
        if let Some((score, relevance)) = wanted.score(&entry, &text, relevance) {
            best.add(score, relevance, Arc::new(entry));
        }
    }
    Ok(Ok(()))
}

fn at(place: &Place<'_>, error: Error) -> Error {
    error.with_detail("tier", place.tier.as_str())
}

/// The statement that finds the rows, and its parameters.
fn query(place: &Place<'_>, wanted: &Wanted) -> (String, Vec<Value>) {
    let side = place.shelf.side;
    let mut parameters = vec![Value::from(place.shelf.id), Value::from(place.now_us)];
    let lives = "e.shelf = ?1 AND (e.end_us IS NULL OR e.end_us > ?2)";
    if let Some(ids) = place.ids {
        // A request has at most a thousand keys; SQLite takes 32,766 parameters.
        let ids: Vec<&str> = ids.iter().map(AsRef::as_ref).collect();
        let marks: Vec<String> = (3..3 + ids.len()).map(|number| format!("?{number}")).collect();
        parameters.extend(ids.iter().map(|id| Value::from((*id).to_owned())));
        let sql = format!(
            "SELECT {COLUMNS} FROM @entries AS e WHERE {lives} AND e.id IN ({}) ORDER BY e.place",
            marks.join(", ")
        );
        return (side.sql(&sql), parameters);
    }
    // What has none of the words is left out by the index, where it knows them all.
    if wanted.words.is_empty() || !wanted.words.iter().all(is_indexed) {
        let sql = format!("SELECT {COLUMNS} FROM @entries AS e WHERE {lives} ORDER BY e.place");
        return (side.sql(&sql), parameters);
    }
    let words: Vec<String> = wanted.words.iter().map(quoted).collect();
    parameters.push(Value::from(words.join(" OR ")));
    let sql = format!(
        "SELECT {COLUMNS} FROM @words AS w CROSS JOIN @entries AS e ON e.place = w.rowid
         WHERE w.text MATCH ?3 AND {lives} ORDER BY e.place"
    );
    (side.sql(&sql), parameters)
}

/// The places of the entries that are to go.
pub(super) fn doomed(
    connection: &Connection,
    shelf: &Shelf,
    doomed: &crate::memory::store::tier::Doomed,
) -> Result<BTreeSet<i64>> {
    let mut places = BTreeSet::new();
    let by_id = shelf.side.sql("SELECT place FROM @entries WHERE shelf = ?1 AND id = ?2");
    let mut by_id = connection.prepare_cached(&by_id)?;
    for id in &doomed.ids {
        let mut rows = by_id.query((shelf.id, &**id))?;
        while let Some(row) = rows.next()? {
            places.insert(row.get(0)?);
        }
    }
    if !doomed.tags.is_empty() {
        let tags = shelf.side.sql("SELECT place, tags FROM @entries WHERE shelf = ?1");
        let mut tags = connection.prepare_cached(&tags)?;
        let mut rows = tags.query([shelf.id])?;
        while let Some(row) = rows.next()? {
            // Tags that cannot be read match none.
            let tags: Vec<String> =
                serde_json::from_str(row.get_ref(1)?.as_str()?).unwrap_or_default();
            if doomed.has_tag(&tags) {
                places.insert(row.get(0)?);
            }
        }
    }
    Ok(places)
}

/// Removes the entries at these places; returns how many.
pub(super) fn remove(connection: &Connection, side: Side, places: &BTreeSet<i64>) -> Result<usize> {
    let mut remove =
        connection.prepare_cached(&side.sql("DELETE FROM @entries WHERE place = ?1"))?;
    places.iter().map(|place| remove.execute([place])).sum()
}

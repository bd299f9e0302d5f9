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
use crate::memory::store::text::count_in;

/// Most words that are looked up in the index and counted for relevance, the longest ones; the others
/// are looked for in what these have found.
const MAX_WORDS: usize = 16;

/// The index knows three characters and more.
const SHORTEST: usize = 3;

/// A word that counts for relevance, and how much.
#[derive(Debug)]
struct Weighed {
    word: String,
    weight: f64,
}

/// What makes an entry relevant to a query: BM25 over what the session may see, and nothing else.
#[derive(Debug, Default)]
pub(super) struct Relevance {
    words: Vec<Weighed>,
    average_bytes: f64,
}

impl Relevance {
    /// Counts the words of a query on these shelves.
    pub(super) fn of(connection: &Connection, wanted: &Wanted, shelves: &[Shelf]) -> Result<Self> {
        let all: usize = shelves.iter().map(|shelf| shelf.entries).sum();
        let bytes: usize = shelves.iter().map(|shelf| shelf.bytes).sum();
        let mut words = Vec::new();
        for word in chosen(wanted) {
            let mut having = 0;
            for shelf in shelves {
                having +=
                    if is_indexed(word) { count(connection, shelf, word)? } else { shelf.entries };
            }
            let (all, having) = (float(all), float(having.min(all)));
            let weight = (1.0 + (all - having + 0.5) / (having + 0.5)).ln();
            words.push(Weighed { word: word.to_owned(), weight });
        }
        Ok(Self { words, average_bytes: float(bytes) / float(all.max(1)) })
    }

    /// BM25 with the usual constants.
    fn score(&self, document: &str, bytes: usize) -> f64 {
        let length = float(bytes) / self.average_bytes.max(1.0);
        let of = |it: &Weighed| {
            let count = float(count_in(document, &it.word));
            it.weight * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length))
        };
        self.words.iter().map(of).sum()
    }
}

/// The words that are looked up.
fn chosen(wanted: &Wanted) -> Vec<&str> {
    let words: BTreeSet<&str> = wanted.words.iter().collect();
    let mut words: Vec<&str> = words.into_iter().collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words.truncate(MAX_WORDS);
    words
}

/// A text with NUL ends there for the index, which holds white space in its place.
fn is_indexed(word: &str) -> bool {
    word.chars().count() >= SHORTEST && !word.contains('\0')
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
        let Some(score) = wanted.score(&entry) else { continue };
        let relevance = if relevance.words.is_empty() {
            0.0
        } else {
            let document = crate::memory::store::text::document(&entry.wire);
            relevance.score(&document, entry.bytes)
        };
        best.add(score, relevance, Arc::new(entry));
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
    let words: Vec<String> =
        chosen(wanted).into_iter().filter(|word| is_indexed(word)).map(quoted).collect();
    if words.is_empty() {
        let sql = format!("SELECT {COLUMNS} FROM @entries AS e WHERE {lives} ORDER BY e.place");
        return (side.sql(&sql), parameters);
    }
    parameters.push(Value::from(words.join(" AND ")));
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
            if tags.iter().any(|tag| doomed.tags.contains(tag)) {
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

#[allow(clippy::cast_precision_loss, reason = "a relevance need not be exact")]
fn float(count: usize) -> f64 {
    count as f64
}

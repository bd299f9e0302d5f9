//! One query of an SQLite file that changes nothing, within bounds of time and size.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::protocol::ErrorCode;
use a2e_core::{Clock, Error, Result, SystemClock};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{Value as Cell, ValueRef};
use rusqlite::{Connection, OpenFlags, params_from_iter};
use serde::Serialize;
use serde_json::{Value, json};

use super::functions::{Ends, bound, is_allowed};

/// Steps of SQLite's machine between two looks at the clock; some 20 us, and with long values in each of them some
/// tenths of a second.
const STEPS: i32 = 1000;

/// Most bytes of one value while a query runs: a longer one of the file is not read, the others of its row are.
const MOST_VALUE: i32 = 256 << 10;

/// Most bytes of a query: what it does for one row comes without a look at the clock.
const MOST_SQL: i32 = 16 << 10;

/// Most bytes that SQLite may have in this process, for all queries and its other users. What a query sorts and
/// groups stays in memory, since nothing bounds a temporary file; the one that finds no room ends.
const MOST_HEAP: usize = 256 << 20;

/// How long a lock of another program is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// Most tables that are listed.
const MOST_ROWS: usize = 1000;

/// Most parameters of a query.
const MOST_PARAMS: usize = 100;

/// The bounds of a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) time: Duration,
    /// Of the rows, as JSON.
    pub(super) bytes: usize,
}

/// What a query found.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
    pub(super) truncated: bool,
}

/// The tables and views of a file.
///
/// # Errors
/// As [`query`].
pub(super) fn tables(
    path: &Path,
    bounds: Bounds,
    is_cancelled: impl Fn() -> bool + Send + Sync + 'static,
) -> Result<Value> {
    let sql = "SELECT name, type, sql FROM sqlite_schema
               WHERE type IN ('table', 'view') AND substr(name, 1, 7) <> 'sqlite_' ORDER BY name";
    let found = query(path, bounds, sql, &[], MOST_ROWS, is_cancelled)?;
    let tables = found.rows.into_iter().map(|row| {
        let mut cells = row.into_iter();
        let mut next = || cells.next().unwrap_or_default();
        json!({ "name": next(), "type": next(), "sql": next() })
    });
    Ok(json!({ "tables": tables.collect::<Vec<_>>() }))
}

/// Runs one query.
///
/// # Errors
/// `tool_error` with what SQLite says, `tool_denied` for what is more than a query, `timeout`.
pub(super) fn query(
    path: &Path,
    bounds: Bounds,
    sql: &str,
    params: &[Value],
    max_rows: usize,
    is_cancelled: impl Fn() -> bool + Send + Sync + 'static,
) -> Result<Found> {
    let params = params.iter().enumerate().map(|(place, it)| cell(place, it));
    let params = params.collect::<Result<Vec<Cell>>>()?;
    if params.len() > MOST_PARAMS {
        return Err(Error::schema("arguments.params", format!("{MOST_PARAMS} at most")));
    }
    let clock = SystemClock::new();
    let end = clock.now().mono + bounds.time;
    let ends: Ends = Arc::new(move || is_cancelled() || clock.now().mono >= end);
    let file = open(path, &ends).map_err(|error| told(&error, bounds))?;
    run(&file, bounds.bytes, sql, params, max_rows).map_err(|error| told(&error, bounds))
}

/// Opens a file for queries alone. No link leads elsewhere, no other file is attached.
fn open(path: &Path, ends: &Ends) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut file = Connection::open_with_flags(path, flags)?;
    file.busy_timeout(PATIENCE)?;
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_LENGTH, MOST_VALUE),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, MOST_SQL),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
    ] {
        file.set_limit(limit, most)?;
    }
    file.execute_batch(&format!(
        "PRAGMA trusted_schema = OFF; PRAGMA query_only = ON; PRAGMA temp_store = MEMORY;
         PRAGMA hard_heap_limit = {MOST_HEAP};"
    ))?;
    bound(&file, ends)?;
    let ends = Arc::clone(ends);
    file.progress_handler(STEPS, Some(move || ends()))?;
    file.authorizer(Some(|context: AuthContext<'_>| match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => {
            Authorization::Allow
        }
        AuthAction::Function { function_name } if is_allowed(function_name) => Authorization::Allow,
        _ => Authorization::Deny,
    }))?;
    Ok(file)
}

fn run(
    file: &Connection,
    bytes: usize,
    sql: &str,
    params: Vec<Cell>,
    max_rows: usize,
) -> rusqlite::Result<Found> {
    let mut query = file.prepare(sql)?;
    let columns: Vec<String> = query.column_names().map(str::to_owned).collect();
    let mut left = bytes.saturating_sub(columns.iter().map(|it| it.len() + 4).sum());
    let mut found = Found { columns, rows: Vec::new(), truncated: false };
    let mut rows = query.query(params_from_iter(params))?;
    while let Some(row) = rows.next()? {
        let mut cells = Vec::with_capacity(found.columns.len());
        let mut cost = 4;
        for place in 0..found.columns.len() {
            let value = row.get_ref(place)?;
            cost += cost_of(value);
            // One that has no room is not copied.
            cells.push(if cost > left { Value::Null } else { json(value) });
        }
        let Some(rest) = left.checked_sub(cost).filter(|_| found.rows.len() < max_rows) else {
            found.truncated = true;
            break;
        };
        left = rest;
        found.rows.push(cells);
    }
    Ok(found)
}

/// Bytes of a value as JSON, at most: a character may be written as six.
fn cost_of(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(text) => 6 * text.len() + 4,
        ValueRef::Blob(bytes) => 2 * bytes.len() + 16,
        _ => 28,
    }
}

/// A blob is `{"hex": text}`; what JSON has no number for is null.
fn json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(bytes) => {
            let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
                hex.push(digit(byte >> 4));
                hex.push(digit(byte & 15));
                hex
            });
            json!({ "hex": hex })
        }
    }
}

fn digit(half: u8) -> char {
    char::from_digit(u32::from(half), 16).unwrap_or('0')
}

fn cell(place: usize, value: &Value) -> Result<Cell> {
    Ok(match value {
        Value::Null => Cell::Null,
        Value::Bool(it) => Cell::Integer(i64::from(*it)),
        Value::String(text) => Cell::Text(text.clone()),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Cell::Integer(whole),
            None => Cell::Real(number.as_f64().unwrap_or_default()),
        },
        Value::Array(_) | Value::Object(_) => {
            let loc = format!("arguments.params[{place}]");
            return Err(Error::schema(loc, "expected a text, a number, a boolean or null"));
        }
    })
}

/// What SQLite says, as an error of the tool.
fn told(error: &rusqlite::Error, bounds: Bounds) -> Error {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::OperationInterrupted) => {
            let seconds = bounds.time.as_secs_f64();
            Error::new(ErrorCode::Timeout, format!("the query was not done within {seconds} s"))
        }
        Some(
            rusqlite::ErrorCode::AuthorizationForStatementDenied | rusqlite::ErrorCode::ReadOnly,
        ) => Error::new(ErrorCode::ToolDenied, "queries alone are allowed: SELECT, WITH, VALUES"),
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            let text = "another program has the file locked";
            Error::new(ErrorCode::ToolError, text).with_retryable(true)
        }
        Some(rusqlite::ErrorCode::TooBig) => {
            let text = format!("{error}; {} KiB at most: leave that column out", MOST_VALUE >> 10);
            Error::new(ErrorCode::ToolError, text)
        }
        Some(rusqlite::ErrorCode::OutOfMemory) => {
            let text = "the query sorts or groups more than there is memory for";
            Error::new(ErrorCode::ToolError, text)
        }
        _ => Error::new(ErrorCode::ToolError, error.to_string()),
    }
}

//! The functions that a query may use: those whose work a look at the clock between two steps bounds, and some that
//! look at it themselves.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, Value as Cell, ValueRef};
use rusqlite::{Connection, Error, Result, ffi, params_from_iter};

/// Says whether a query has to end.
pub(super) type Ends = Arc<dyn Fn() -> bool + Send + Sync>;

/// Most bytes of a pattern, and of what is looked for: their work grows with this times the bytes of the value, to a
/// few tenths of a second.
const MOST_SOUGHT: usize = 256;

/// Beside those of SQLite's own that are linear in their arguments. Left out are those whose work or memory is not
/// (`json_patch`, `json_pretty`), and those that tell of the process or change it (`fts3_tokenizer`).
const ALLOWED: &str = " abs acos acosh asin asinh atan atan2 atanh avg ceil ceiling char coalesce concat \
    concat_ws cos cosh count cume_dist current_date current_time current_timestamp date datetime degrees dense_rank \
    exp first_value floor format glob group_concat hex if ifnull iif instr json json_array json_array_length \
    json_error_position json_extract -> ->> json_group_array json_group_object json_insert json_object json_quote \
    json_remove json_replace json_set json_type json_valid julianday lag last_value lead length like likelihood \
    likely ln log log10 log2 lower ltrim max min mod nth_value ntile nullif octet_length percent_rank \
    pi pow power printf quote radians random randomblob rank replace \
    round row_number rtrim sign sin sinh soundex sqlite_version sqrt strftime string_agg substr substring sum tan \
    tanh time timediff total trim trunc typeof unhex unicode unistr unixepoch unlikely upper zeroblob ";

/// Those whose work is the product of two arguments: name, how many there are, which one is sought.
const PRODUCTS: [(&str, usize, usize); 8] = [
    ("like", 2, 0),
    ("like", 3, 0),
    ("glob", 2, 0),
    ("instr", 2, 1),
    ("replace", 3, 1),
    ("trim", 2, 1),
    ("ltrim", 2, 1),
    ("rtrim", 2, 1),
];

/// Whether a query may use a function.
pub(super) fn is_allowed(name: &str) -> bool {
    ALLOWED.contains(&format!(" {} ", name.to_ascii_lowercase()))
}

/// Bounds the functions whose work is a product. No look at the clock comes between two of them in one row, so each
/// looks before it works; a connection of its own does the work as SQLite does.
pub(super) fn bound(file: &Connection, ends: &Ends) -> Result<()> {
    let plain = Connection::open_in_memory()?;
    plain.set_limit(Limit::SQLITE_LIMIT_LENGTH, file.limit(Limit::SQLITE_LIMIT_LENGTH)?)?;
    let plain = Arc::new(Mutex::new(plain));
    // A view or an index of the file may use them.
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    for (name, count, sought) in PRODUCTS {
        let sql = format!("SELECT {name}({})", vec!["?"; count].join(", "));
        let (plain, ends) = (Arc::clone(&plain), Arc::clone(ends));
        let work = move |call: &Context<'_>| {
            if ends() {
                return Err(Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_INTERRUPT), None));
            }
            if let ValueRef::Text(it) | ValueRef::Blob(it) = call.get_raw(sought)
                && it.len() > MOST_SOUGHT
            {
                let text = format!("{name}: what is sought has more than {MOST_SOUGHT} bytes");
                return Err(Error::UserFunctionError(text.into()));
            }
            let values = (0..call.len()).map(|place| ToSqlOutput::Borrowed(call.get_raw(place)));
            let plain = plain.lock().unwrap_or_else(PoisonError::into_inner);
            let mut query = plain.prepare_cached(&sql)?;
            query.query_row(params_from_iter(values), |row| Ok(owned(row.get_ref(0)?)))
        };
        file.create_scalar_function(name, i32::try_from(count).unwrap_or(-1), flags, work)?;
    }
    Ok(())
}

fn owned(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
    }
}

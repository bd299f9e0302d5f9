//! SQLite files of the host and of plugins: opened, locked, migrated to the newest schema.
//!
//! A [`Schema`] lists the steps that lead from an empty file to the newest tables. The file holds the number
//! of steps done in `user_version` and the program that owns it in `application_id`. Files are in WAL mode
//! with full synchronisation: commits survive kill -9 and a power cut, and several hosts may have one file
//! open.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::ffi;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::protocol::ErrorCode;
use crate::sync::Mutex;
use crate::{Error, Result};

/// How long a call waits for another host's write. Longer than any single one takes.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The pause between attempts to open: the switch to WAL does not wait by itself.
const PAUSE: Duration = Duration::from_millis(10);

/// The tables that a program keeps in a file.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// The purpose of the file, in words.
    pub what: &'static str,
    /// Tells the file from those of other programs.
    pub application_id: i32,
    /// SQL that leads from version 0 (no tables) to 1, from 1 to 2, and so on.
    pub steps: &'static [&'static str],
}

/// Opens a file, creating it for its owner only if it is missing, and does the steps that it lacks.
///
/// # Errors
/// When the file cannot be opened or written, is no SQLite database or another program's, was written
/// by a newer version of this one, or is locked for longer than [`PATIENCE`].
pub fn open(path: &Path, schema: &Schema) -> Result<Connection> {
    create(path).map_err(|error| {
        Error::runtime(format!("{} {} cannot be created: {error}", schema.what, path.display()))
    })?;
    let mut tries = PATIENCE.as_millis() / PAUSE.as_millis();
    loop {
        match connect(path, schema) {
            Err(Trouble::Sqlite(error)) if is_busy(&error) && tries > 0 => {
                tries -= 1;
                std::thread::sleep(PAUSE);
            }
            Err(Trouble::Sqlite(error)) => return Err(failure(schema, "opened", path, &error)),
            Err(Trouble::Other(error)) => return Err(error),
            Ok(connection) => return Ok(connection),
        }
    }
}

/// Begins a transaction that writes; waits up to [`PATIENCE`] for those of others.
///
/// # Errors
/// As SQLite says.
pub fn writing(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// An error of SQLite as one of ours; `done` names the operation on the file: "read".
///
/// The code is `out_of_memory` when the disk is full, else `runtime_error`; `detail` has `path` and
/// SQLite's extended result code as `sqlite_code`. Only a lock is worth a repeat.
pub fn failure(schema: &Schema, done: &str, path: &Path, error: &rusqlite::Error) -> Error {
    let (what, shown) = (schema.what, path.display());
    let why = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            format!("another program has it locked for {} s", PATIENCE.as_secs())
        }
        Some(rusqlite::ErrorCode::NotADatabase) => "it is not an SQLite database".to_owned(),
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => format!("the file is damaged ({error})"),
        Some(rusqlite::ErrorCode::DiskFull) => "the disk is full".to_owned(),
        Some(rusqlite::ErrorCode::ReadOnly) => "this process may not write it".to_owned(),
        _ => error.to_string(),
    };
    let text = format!("{what} {shown} cannot be {done}: {why}");
    let code = if is_full(error) { ErrorCode::OutOfMemory } else { ErrorCode::RuntimeError };
    let mut made = Error::new(code, text)
        .with_detail("path", shown.to_string())
        .with_retryable(is_busy(error));
    if let rusqlite::Error::SqliteFailure(inner, _) = error {
        made = made.with_detail("sqlite_code", inner.extended_code);
    }
    made
}

/// Whether another connection has the file locked.
pub fn is_busy(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked))
}

/// Whether the disk, or what this process may use of it, is full.
pub fn is_full(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(inner, _) => {
            inner.code == rusqlite::ErrorCode::DiskFull
                // A limit of the file size (`ulimit -f`) shows as a write that fails.
                || inner.extended_code == ffi::SQLITE_IOERR_WRITE
        }
        _ => false,
    }
}

enum Trouble {
    Sqlite(rusqlite::Error),
    Other(Error),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// An empty file is an empty database. An existing one is not opened here: to close any handle of a
/// file takes away the locks that SQLite has on it elsewhere in this process.
fn create(path: &Path) -> io::Result<()> {
    /// One thread at a time, so that no thread has a file open that another one closes here.
    static CREATING: Mutex<()> = Mutex::new(());
    let _turn = CREATING.lock();
    if let Some(folder) = path.parent().filter(|it| !it.as_os_str().is_empty() && !it.is_dir()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => {
            let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
            fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn connect(path: &Path, schema: &Schema) -> Result<Connection, Trouble> {
    // Each connection is behind a lock of ours, or of one thread.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON;")?;
    // Before anything is written, and that includes the switch to WAL.
    check(&*connection.transaction()?, path, schema)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        let text = "no WAL here (a network file system?); writers block readers";
        tracing::warn!(path = %path.display(), mode, "{text}");
    }
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 16777216;")?;
    let steps = writing(&mut connection)?;
    let done = check(&steps, path, schema)?;
    for (number, step) in schema.steps.iter().enumerate().skip(done) {
        steps.execute_batch(step)?;
        steps.pragma_update(None, "user_version", i64::try_from(number + 1).unwrap_or(i64::MAX))?;
        steps.pragma_update(None, "application_id", schema.application_id)?;
    }
    steps.commit()?;
    Ok(connection)
}

/// How many steps were done; refuses a file that is not ours to change.
fn check(connection: &Connection, path: &Path, schema: &Schema) -> Result<usize, Trouble> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (version, id) = (pragma("user_version")?, pragma("application_id")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let (what, shown, newest) = (schema.what, path.display(), schema.steps.len());
    let refused = |text: String| Err(Trouble::Other(Error::runtime(text)));
    if id != i64::from(schema.application_id) && (version, id, tables) != (0, 0, 0) {
        return refused(format!(
            "{shown} is not a {what}: it is a database of another program; give it a file of its own"
        ));
    }
    match usize::try_from(version) {
        Ok(version) if version <= newest => Ok(version),
        _ => refused(format!(
            "{what} {shown} has tables of version {version}, this program knows {newest}; \
             use the program that wrote it, or a newer one"
        )),
    }
}

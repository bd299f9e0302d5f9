//! `sqlite`: queries of a file, which they cannot change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use a2e_core::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::query::{Bounds, query, tables};
use super::{read, resolve, schema};
use crate::toolkits::config::SqliteSettings;
use crate::toolkits::contract::{Toolkit, ToolkitAbout};
use crate::tools::contract::{ToolCall, ToolDefinition, ToolOutput, ToolParameter, ToolProvider};

/// Seconds of a query, unless set, and at most.
const DEFAULT_SECONDS: f64 = 5.0;
const MOST_SECONDS: f64 = 60.0;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The file; relative to a folder that the operator has opened, or a full path below one.
    path: String,
}

struct Sqlite {
    /// `None`: any file, for the operator's own configuration.
    within: Option<Vec<PathBuf>>,
    bounds: Bounds,
}

/// The toolkit.
///
/// # Errors
/// When `timeout_s` is out of its range.
pub(super) fn kit(settings: &SqliteSettings, budget: usize) -> Result<Arc<dyn Toolkit>> {
    let seconds = settings.timeout_s.unwrap_or(DEFAULT_SECONDS);
    if !(0.1..=MOST_SECONDS).contains(&seconds) {
        let text = format!("`sqlite.timeout_s`: expected 0.1 to {MOST_SECONDS}");
        return Err(Error::runtime(text));
    }
    let bounds = Bounds { time: Duration::from_secs_f64(seconds), bytes: budget };
    Ok(Arc::new(Sqlite { within: Some(settings.within.clone()), bounds }))
}

impl Sqlite {
    fn file(&self, path: &str) -> Result<PathBuf> {
        let found = match &self.within {
            None => Path::new(path).canonicalize().ok(),
            Some(within) => resolve(within, path)
                .and_then(|(folder, rest)| folder.canonicalize().ok().map(|it| it.join(rest))),
        };
        found.filter(|it| it.is_file()).ok_or_else(|| {
            let text =
                format!("path: `{path}` is no file below the folders that the operator has opened");
            Error::runtime(text)
        })
    }
}

impl Toolkit for Sqlite {
    fn about(&self) -> ToolkitAbout {
        let about = "Queries an SQLite file, and changes nothing in it.";
        let about = ToolkitAbout::new("sqlite", about, schema::<Config>(), definitions());
        ToolkitAbout { category: "data".into(), tags: vec!["sql".into(), "data".into()], ..about }
    }

    fn configure(&self, config: &Map<String, Value>) -> Result<Arc<dyn ToolProvider>> {
        let Config { path } = read(config)?;
        let file = File { path: self.file(&path)?, bounds: self.bounds };
        // One that is no database is refused now, and not by the first query.
        tables(&file.path, file.bounds, || false)
            .map_err(|error| Error::runtime(format!("path: {}", error.message())))?;
        Ok(Arc::new(file))
    }

    fn configure_own(&self, config: &Map<String, Value>) -> Result<Arc<dyn ToolProvider>> {
        Self { within: None, bounds: self.bounds }.configure(config)
    }
}

fn definitions() -> Vec<ToolDefinition> {
    let (required, optional) = (ToolParameter::required, ToolParameter::optional);
    let read_only =
        |it: ToolDefinition| ToolDefinition { idempotent: true, ..it.tagged(&["sql", "read"]) };
    let about = "Runs one query (SELECT, WITH, VALUES) and gives its rows; nothing is changed. A value of more than \
                 256 KiB is not read.";
    let query = ToolDefinition::new("query", about)
        .input(required("sql", "string", "The query; `?1`, `?2` stand for `params`."))
        .input(optional("params", "array", "Texts, numbers, booleans, null."))
        .input(optional("max_rows", "integer", "Most rows; 1000 by default and at most."))
        .output(required("columns", "array", "The names of the columns."))
        .output(required(
            "rows",
            "array",
            "The rows, each a list of values; a blob is {\"hex\": text}.",
        ))
        .output(required("truncated", "boolean", "Whether rows are left out."));
    let tables =
        ToolDefinition::new("tables", "Lists the tables and views with the SQL that made them.")
            .output(required("tables", "array", "Each with name, type and sql."));
    vec![read_only(query), read_only(tables)]
}

/// A file that is queried; opened anew for each call.
struct File {
    path: PathBuf,
    bounds: Bounds,
}

#[derive(Deserialize)]
struct Query {
    sql: String,
    #[serde(default)]
    params: Vec<Value>,
    #[serde(default)]
    max_rows: Option<f64>,
}

impl ToolProvider for File {
    fn tools(&self) -> Vec<ToolDefinition> {
        definitions()
    }

    fn call(&self, call: ToolCall) -> Result<ToolOutput> {
        let is_cancelled = {
            let call = call.request().clone();
            move || call.is_cancelled()
        };
        if call.tool() == "tables" {
            return ToolOutput::of(&tables(&self.path, self.bounds, is_cancelled)?);
        }
        let Query { sql, params, max_rows } = call.decode()?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let rows = max_rows.map_or(1000, |it| it.clamp(0.0, 1000.0) as usize);
        let found = query(&self.path, self.bounds, &sql, &params, rows, is_cancelled)?;
        let is_truncated = found.truncated;
        Ok(ToolOutput::of(&found)?.truncated(is_truncated))
    }
}

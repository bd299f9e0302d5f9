//! Plans and tasks in an SQLite file that several hosts may share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use a2e_core::protocol::ErrorCode;
use a2e_core::protocol::id::random_hex;
use a2e_core::request::Call;
use a2e_core::sqlite::{self, PATIENCE, Schema};
use a2e_core::{Error, Result};
use rusqlite::types::Value as Cell;
use rusqlite::{
    Connection, OptionalExtension, Params, Row, Transaction, TransactionBehavior, params,
};

use super::circle::circle;
use super::protocol::{
    Board, BoardTask, PlanCreateRequest, PlanInfo, TaskAddRequest, TaskInfo, TaskUpdateRequest,
};

/// The file.
const SCHEMA: Schema = Schema {
    what: "planning file",
    application_id: 0x4132_4550, // A2EP
    steps: &[include_str!("tables.sql")],
};

/// How long one attempt to write waits. Between attempts the writer checks whether the request was given up.
const TRY: Duration = Duration::from_millis(100);

/// Steps of SQLite between two looks at a call that reads.
const STEPS: i32 = 1000;

/// Bytes of a task or plan in a reply beside its texts.
const ITEM: usize = 128;

/// The columns of a plan that names none.
const COLUMNS: [&str; 4] = ["backlog", "todo", "in_progress", "done"];

/// Whether the call was cancelled or has timed out.
pub(super) type IsCancelled<'a> = &'a dyn Fn() -> bool;

/// The plans and tasks of a file.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    max_plans: usize,
    max_tasks: usize,
    /// Guards the connection; held for one request, on threads that may block.
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens a file, making it if it is missing.
    ///
    /// # Errors
    /// As [`sqlite::open`].
    pub(super) fn open(path: PathBuf, max_plans: usize, max_tasks: usize) -> Result<Self> {
        let connection = sqlite::open(&path, &SCHEMA)?;
        let patient = connection.busy_timeout(TRY);
        patient.map_err(|error| sqlite::failure(&SCHEMA, "opened", &path, &error))?;
        Ok(Self { path, max_plans, max_tasks, connection: Mutex::new(connection) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a plan; gives back its id and its columns.
    ///
    /// # Errors
    /// `out_of_memory` when there are too many, or when the file cannot be written.
    pub(super) fn create(
        &self,
        request: PlanCreateRequest,
        now: Duration,
        is_cancelled: IsCancelled<'_>,
    ) -> Result<(String, Vec<String>)> {
        let PlanCreateRequest { name, mut columns, description } = request;
        if columns.is_empty() {
            columns = COLUMNS.map(str::to_owned).into();
        }
        self.change(is_cancelled, |change| {
            let count = count(change, "SELECT count(*) FROM plans", [])?;
            if count >= self.max_plans {
                let text = format!("{count} plans; there may be {} (max_plans)", self.max_plans);
                return Ok(Err(Error::new(ErrorCode::OutOfMemory, text)));
            }
            let id = fresh(change, "SELECT 1 FROM plans WHERE plan_id = ?1")?;
            change.execute(
                "INSERT INTO plans VALUES (?1, ?2, ?3, ?4, ?5)",
                params![id, name, json(&columns), description, now.as_secs_f64()],
            )?;
            Ok(Ok((id, columns.clone())))
        })?
    }

    /// Every plan, and how many there are; the first ones where `budget` bytes do not hold all.
    ///
    /// # Errors
    /// When the file cannot be read, or the call was cancelled meanwhile.
    pub(super) fn plans(&self, budget: usize, call: &Call) -> Result<(Vec<PlanInfo>, usize)> {
        self.read(call, |file| {
            // One reading of the file for both.
            let reading = file.unchecked_transaction()?;
            let mut asked = reading
                .prepare_cached("SELECT plan_id, name, columns FROM plans ORDER BY rowid")?;
            let list = cut(asked.query_map([], plan)?, budget, |it| {
                it.name.len() + it.columns.iter().map(|it| it.len() + 4).sum::<usize>()
            })?;
            Ok((list, count(&reading, "SELECT count(*) FROM plans", [])?))
        })
    }

    /// Adds a task; gives back its id and its column.
    ///
    /// # Errors
    /// `runtime_error` without such a plan, `out_of_memory` when it has too many tasks, or when the file cannot
    /// be written.
    pub(super) fn add(
        &self,
        request: TaskAddRequest,
        now: Duration,
        is_cancelled: IsCancelled<'_>,
    ) -> Result<(String, String)> {
        let it = request;
        self.change(is_cancelled, |change| {
            let find = "SELECT columns FROM plans WHERE plan_id = ?1";
            let columns: Option<String> =
                change.query_row(find, [&it.plan_id], |row| row.get(0)).optional()?;
            let Some(columns) = columns else { return Ok(Err(no_plan(&it.plan_id))) };
            let asked = "SELECT count(*) FROM tasks WHERE plan_id = ?1";
            let count = count(change, asked, [&it.plan_id])?;
            if count >= self.max_tasks {
                let text = format!("{count} tasks; a plan may have {} (max_tasks)", self.max_tasks);
                return Ok(Err(Error::new(ErrorCode::OutOfMemory, text)));
            }
            let first = || list(&columns).into_iter().next().unwrap_or_default();
            let status = if it.status.is_empty() { first() } else { it.status.clone() };
            let id = fresh(change, "SELECT 1 FROM tasks WHERE task_id = ?1")?;
            change.execute(
                "INSERT INTO tasks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    id,
                    it.plan_id,
                    it.title,
                    status,
                    it.description,
                    it.assignee,
                    json(&it.deps),
                    serde_json::Value::Object(it.metadata.clone()).to_string(),
                    now.as_secs_f64()
                ],
            )?;
            Ok(Ok((id, status)))
        })?
    }

    /// Changes a task; what is empty stays.
    ///
    /// # Errors
    /// `runtime_error` without such a task in the plan or when its dependencies would lead in a circle, or when
    /// the file cannot be written.
    pub(super) fn update(
        &self,
        request: &TaskUpdateRequest,
        is_cancelled: IsCancelled<'_>,
    ) -> Result<()> {
        let it = request;
        self.change(is_cancelled, |change| {
            let find = "SELECT 1 FROM tasks WHERE task_id = ?1 AND plan_id = ?2";
            let is_there = change.query_row(find, [&it.task_id, &it.plan_id], |_| Ok(()));
            if is_there.optional()?.is_none() {
                let text = format!("plan `{}` has no task `{}`", it.plan_id, it.task_id);
                return Ok(Err(Error::runtime(text)));
            }
            // A walk that nobody waits for finds nothing more.
            let deps_of = |task: &str| {
                if is_cancelled() { Ok(Vec::new()) } else { deps_of(change, &it.plan_id, task) }
            };
            let circle = circle(deps_of, &it.task_id, &it.deps)?;
            if is_cancelled() {
                return Ok(Err(cancelled()));
            }
            if let Some(way) = circle {
                let text = format!("the dependencies would lead in a circle: {}", way.join(" -> "));
                return Ok(Err(Error::runtime(text)));
            }
            change.execute(
                "UPDATE tasks SET status = coalesce(?3, status), assignee = coalesce(?4, assignee),
                        deps = coalesce(?5, deps)
                 WHERE task_id = ?1 AND plan_id = ?2",
                params![
                    it.task_id,
                    it.plan_id,
                    some(&it.status),
                    some(&it.assignee),
                    (!it.deps.is_empty()).then(|| json(&it.deps))
                ],
            )?;
            Ok(Ok(()))
        })?
    }

    /// The tasks of a plan or of all, in one column or in all, and how many there are; the first ones where
    /// `budget` bytes do not hold all.
    ///
    /// # Errors
    /// As [`plans`](Self::plans).
    pub(super) fn tasks(
        &self,
        (plan_id, status): (&str, &str),
        budget: usize,
        call: &Call,
    ) -> Result<(Vec<TaskInfo>, usize)> {
        self.read(call, |file| {
            // One reading of the file for both.
            let reading = file.unchecked_transaction()?;
            let meant =
                "FROM tasks WHERE (?1 IS NULL OR plan_id = ?1) AND (?2 IS NULL OR status = ?2)";
            let mut asked = reading.prepare_cached(&format!(
                "SELECT task_id, title, status, assignee, plan_id, deps {meant} ORDER BY rowid"
            ))?;
            let rows = asked.query_map([some(plan_id), some(status)], task)?;
            let list = cut(rows, budget, |it| {
                let deps: usize = it.deps.iter().map(|it| it.len() + 4).sum();
                it.title.len() + it.status.len() + it.assignee.len() + it.plan_id.len() + deps
            })?;
            let asked = format!("SELECT count(*) {meant}");
            Ok((list, count(&reading, &asked, [some(plan_id), some(status)])?))
        })
    }

    /// The board of a plan or of each, and whether something is left out because `budget` bytes do not hold all.
    ///
    /// # Errors
    /// As [`plans`](Self::plans).
    pub(super) fn boards(
        &self,
        plan_id: &str,
        budget: usize,
        call: &Call,
    ) -> Result<(Vec<Board>, bool)> {
        self.read(call, |file| {
            // One reading of the file for both.
            let reading = file.unchecked_transaction()?;
            let mut asked = reading.prepare_cached(
                "SELECT plan_id, name, columns FROM plans
                 WHERE ?1 IS NULL OR plan_id = ?1 ORDER BY rowid",
            )?;
            let mut left = budget;
            let mut boards = Vec::new();
            for info in asked.query_map([some(plan_id)], plan)? {
                let PlanInfo { plan_id, name, columns } = info?;
                let empty: BTreeMap<_, _> =
                    columns.iter().map(|it| (it.clone(), Vec::new())).collect();
                let cost =
                    2 * columns.iter().map(|it| it.len() + 8).sum::<usize>() + name.len() + ITEM;
                if cost > left {
                    return Ok((boards, true));
                }
                left -= cost;
                let mut board = Board { plan_id, name, columns, tasks: empty };
                let is_whole = fill(&reading, &mut board, &mut left)?;
                boards.push(board);
                if !is_whole {
                    return Ok((boards, true));
                }
            }
            Ok((boards, false))
        })
    }

    /// Reads the file until it is done or the call is cancelled: those that come after wait for it.
    fn read<R>(
        &self,
        call: &Call,
        work: impl FnOnce(&Connection) -> rusqlite::Result<R>,
    ) -> Result<R> {
        let mut connection = self.connection();
        let ends = call.clone();
        let found = connection
            .progress_handler(STEPS, Some(move || ends.is_cancelled()))
            .and_then(|()| work(&connection));
        let found = connection.progress_handler(0, None::<fn() -> bool>).and(found);
        found.map_err(|error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::OperationInterrupted) => cancelled(),
            _ => self.said("read", &error),
        })
    }

    /// Works on the file in one transaction, which is undone where the work refuses. Waits for other hosts
    /// until the call is cancelled, and keeps no request of this host from reading meanwhile.
    fn change<R>(
        &self,
        is_cancelled: IsCancelled<'_>,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Result<R>>,
    ) -> Result<Result<R>> {
        let mut tries = PATIENCE.as_millis() / TRY.as_millis();
        loop {
            if is_cancelled() {
                return Err(cancelled());
            }
            let connection = self.connection();
            match Transaction::new_unchecked(&connection, TransactionBehavior::Immediate) {
                Err(error) if sqlite::is_busy(&error) && tries > 0 => tries -= 1,
                Err(error) => return Err(self.said("written", &error)),
                // It was given up while this attempt waited.
                Ok(_) if is_cancelled() => return Err(cancelled()),
                Ok(change) => {
                    let done = work(&change).and_then(|done| match done {
                        Ok(_) if is_cancelled() => Ok(Err(cancelled())),
                        Ok(done) => change.commit().map(|()| Ok(done)),
                        Err(refused) => Ok(Err(refused)),
                    });
                    return done.map_err(|error| self.said("written", &error));
                }
            }
        }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&self, done: &str, error: &rusqlite::Error) -> Error {
        sqlite::failure(&SCHEMA, done, &self.path, error)
    }
}

/// Puts the tasks of a plan on its board; false where they do not all find room.
fn fill(file: &Connection, board: &mut Board, left: &mut usize) -> rusqlite::Result<bool> {
    let mut asked = file.prepare_cached(
        "SELECT task_id, title, status, assignee FROM tasks WHERE plan_id = ?1 ORDER BY rowid",
    )?;
    let mut rows = asked.query([&board.plan_id])?;
    while let Some(row) = rows.next()? {
        let task = BoardTask {
            task_id: row.get(0)?,
            title: row.get(1)?,
            status: row.get(2)?,
            assignee: row.get(3)?,
        };
        let cost = task.title.len() + 2 * task.status.len() + task.assignee.len() + ITEM;
        if cost > *left {
            return Ok(false);
        }
        *left -= cost;
        board.tasks.entry(task.status.clone()).or_default().push(task);
    }
    Ok(true)
}

/// The rows that find room; no more are read.
fn cut<T>(
    rows: impl Iterator<Item = rusqlite::Result<T>>,
    budget: usize,
    cost: impl Fn(&T) -> usize,
) -> rusqlite::Result<Vec<T>> {
    let (mut list, mut left) = (Vec::new(), budget);
    for row in rows {
        let item = row?;
        let Some(rest) = left.checked_sub(cost(&item) + ITEM) else { break };
        left = rest;
        list.push(item);
    }
    Ok(list)
}

fn count(file: &Connection, asked: &str, of: impl Params) -> rusqlite::Result<usize> {
    let count: i64 = file.query_row(asked, of, |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or_default())
}

/// The dependencies of a task that are tasks of its plan, too.
fn deps_of(file: &Connection, plan_id: &str, task_id: &str) -> rusqlite::Result<Vec<String>> {
    let mut asked = file.prepare_cached(
        "SELECT dep.task_id FROM tasks AS own,
                json_each(CASE WHEN json_valid(own.deps) THEN own.deps ELSE '[]' END) AS named
                JOIN tasks AS dep ON dep.task_id = named.value
         WHERE own.task_id = ?2 AND own.plan_id = ?1 AND dep.plan_id = ?1",
    )?;
    asked.query_map([plan_id, task_id], |row| row.get(0))?.collect()
}

fn plan(row: &Row<'_>) -> rusqlite::Result<PlanInfo> {
    let columns: String = row.get(2)?;
    Ok(PlanInfo { plan_id: row.get(0)?, name: row.get(1)?, columns: list(&columns) })
}

fn task(row: &Row<'_>) -> rusqlite::Result<TaskInfo> {
    let deps: String = row.get(5)?;
    Ok(TaskInfo {
        task_id: row.get(0)?,
        title: row.get(1)?,
        status: row.get(2)?,
        assignee: row.get(3)?,
        plan_id: row.get(4)?,
        deps: list(&deps),
    })
}

/// An id that the table does not have yet.
fn fresh(file: &Connection, find: &str) -> rusqlite::Result<String> {
    loop {
        let id =
            random_hex().map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let id = id.chars().take(12).collect::<String>();
        if file.query_row(find, [&id], |_| Ok(())).optional()?.is_none() {
            return Ok(id);
        }
    }
}

fn cancelled() -> Error {
    Error::new(ErrorCode::Cancelled, "nobody waits for the answer")
}

fn no_plan(plan_id: &str) -> Error {
    Error::runtime(format!("no plan has the id `{plan_id}`; `planning/plan/list` lists them"))
}

fn some(text: &str) -> Cell {
    if text.is_empty() { Cell::Null } else { Cell::Text(text.to_owned()) }
}

fn json(list: &[String]) -> String {
    serde_json::Value::from(list).to_string()
}

fn list(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap_or_default()
}

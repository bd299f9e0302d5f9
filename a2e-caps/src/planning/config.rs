//! The settings of a planning plugin, and the bounds of what requests bring.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use a2e_core::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::protocol::{PlanCreateRequest, TaskAddRequest, TaskUpdateRequest};

/// Most bytes of a name, a title, an assignee or a column.
const SHORT: usize = 1024;

/// Most bytes of a description, and of metadata as JSON.
const LONG: usize = 64 << 10;

/// Most columns of a plan.
const COLUMNS: usize = 64;

/// Most tasks that one comes after, and most bytes of each of them: an id has 12.
const DEPS: usize = 256;
const DEP: usize = 64;

/// The settings of a planning plugin.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct PlanningConfig {
    /// The folder of the file `planning.db`, made where it is missing; plugins and hosts with one folder
    /// share its plans. Without it a folder of this user below the system's temporary one, which does not
    /// outlive the machine's next start.
    #[serde(default, alias = "ROOT")]
    pub root: Option<PathBuf>,
    /// Most plans in the file.
    #[serde(default = "max_plans")]
    pub max_plans: NonZeroUsize,
    /// Most tasks of a plan.
    #[serde(default = "max_tasks")]
    pub max_tasks: NonZeroUsize,
}

fn max_plans() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(999)
}

fn max_tasks() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(9_999)
}

/// Refuses a plan that is out of bounds.
///
/// # Errors
/// `schema_violation` with the field.
pub(super) fn check_plan(request: &PlanCreateRequest) -> Result<()> {
    within("name", &request.name, SHORT)?;
    within("description", &request.description, LONG)?;
    count("columns", request.columns.len(), COLUMNS)?;
    for (place, column) in request.columns.iter().enumerate() {
        let loc = format!("columns[{place}]");
        within(&loc, column, SHORT)?;
        if column.trim().is_empty() {
            return Err(Error::schema(loc, "a column needs a name"));
        }
        if request.columns.iter().take(place).any(|it| it == column) {
            return Err(Error::schema(loc, format!("the column `{column}` is there twice")));
        }
    }
    Ok(())
}

/// Refuses a task that is out of bounds.
///
/// # Errors
/// As [`check_plan`].
pub(super) fn check_task(request: &TaskAddRequest) -> Result<()> {
    within("title", &request.title, SHORT)?;
    within("status", &request.status, SHORT)?;
    within("assignee", &request.assignee, SHORT)?;
    within("description", &request.description, LONG)?;
    let metadata = serde_json::to_string(&request.metadata)
        .map_err(|error| Error::schema("metadata", error.to_string()))?;
    within("metadata", &metadata, LONG)?;
    check_deps(&request.deps)
}

/// Refuses a change that is out of bounds.
///
/// # Errors
/// As [`check_plan`].
pub(super) fn check_change(request: &TaskUpdateRequest) -> Result<()> {
    within("status", &request.status, SHORT)?;
    within("assignee", &request.assignee, SHORT)?;
    check_deps(&request.deps)
}

fn check_deps(deps: &[String]) -> Result<()> {
    count("deps", deps.len(), DEPS)?;
    deps.iter().enumerate().try_for_each(|(place, it)| within(&format!("deps[{place}]"), it, DEP))
}

fn within(loc: &str, text: &str, most: usize) -> Result<()> {
    if text.len() > most {
        let msg = format!("{} bytes; {most} at most", text.len());
        return Err(Error::schema(loc, msg));
    }
    Ok(())
}

fn count(loc: &str, count: usize, most: usize) -> Result<()> {
    if count > most {
        return Err(Error::schema(loc, format!("{count} items; {most} at most")));
    }
    Ok(())
}

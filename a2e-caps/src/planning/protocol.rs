//! What goes over the wire for `planning/*`.

use std::collections::BTreeMap;

use a2e_core::message;
use a2e_core::protocol::ErrorCode;
use a2e_core::protocol::number::integer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `planning/plan/create`: a new plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanCreateRequest {
    /// Its name; plans may share one.
    #[serde(default = "default_name")]
    pub name: String,
    /// What a task's `status` is meant to be, in the order of the board; empty: `backlog`, `todo`,
    /// `in_progress`, `done`.
    #[serde(default)]
    pub columns: Vec<String>,
    /// What it is for.
    #[serde(default)]
    pub description: String,
}

/// `planning/plan/create/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PlanCreateResponse {
    /// Whether it was made.
    pub success: bool,
    /// Names it in other requests; twelve hex digits.
    pub plan_id: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// Why it was not made.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The same for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
}

/// `planning/plan/list`: which plans are there?
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanListRequest {}

/// `planning/plan/list/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PlanListResponse {
    /// In the order in which they were made.
    pub plans: Vec<PlanInfo>,
    /// How many there are, also those that would have made the reply too large.
    #[serde(deserialize_with = "integer")]
    pub total: usize,
}

/// A plan in short.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanInfo {
    /// As `planning/plan/create/resp` gave it.
    pub plan_id: String,
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<String>,
}

/// `planning/task/add`: a new task of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskAddRequest {
    /// Which plan.
    pub plan_id: String,
    /// What is to be done.
    pub title: String,
    /// Its column; one that the plan does not have gets a column of its own on the board.
    #[serde(default = "default_status")]
    pub status: String,
    /// What is to be done, at length.
    #[serde(default)]
    pub description: String,
    /// Whose it is.
    #[serde(default)]
    pub assignee: String,
    /// The tasks that come before it, by id. What is no task of the plan is kept as it is.
    #[serde(default)]
    pub deps: Vec<String>,
    /// The agent's own facts; kept.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// `planning/task/add/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TaskAddResponse {
    /// Whether it was added.
    pub success: bool,
    /// Names it in other requests; twelve hex digits.
    pub task_id: String,
    /// Its column.
    pub status: String,
    /// Why it was not added.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The same for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
}

/// `planning/task/update`: changes a task. What is empty stays as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskUpdateRequest {
    /// Which plan.
    pub plan_id: String,
    /// Which of its tasks.
    pub task_id: String,
    /// Its new column.
    #[serde(default)]
    pub status: String,
    /// Its new assignee.
    #[serde(default)]
    pub assignee: String,
    /// The tasks that come before it, in place of those before. They must not lead in a circle.
    #[serde(default)]
    pub deps: Vec<String>,
}

/// `planning/task/update/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TaskUpdateResponse {
    /// Whether the plan has the task, and it is now as asked.
    pub success: bool,
    /// As in the request.
    pub task_id: String,
    /// Why it was not changed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The same for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
}

/// `planning/task/list`: which tasks are there?
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TaskListRequest {
    /// Of this plan; empty: of all.
    pub plan_id: String,
    /// In this column; empty: in all.
    pub status: String,
}

/// `planning/task/list/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TaskListResponse {
    /// In the order in which they were added.
    pub tasks: Vec<TaskInfo>,
    /// How many there are, also those that would have made the reply too large.
    #[serde(deserialize_with = "integer")]
    pub total: usize,
}

/// A task in short.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskInfo {
    /// As `planning/task/add/resp` gave it.
    pub task_id: String,
    /// What is to be done.
    pub title: String,
    /// Its column.
    pub status: String,
    /// Whose it is.
    #[serde(default)]
    pub assignee: String,
    /// Its plan.
    pub plan_id: String,
    /// The tasks that come before it.
    #[serde(default)]
    pub deps: Vec<String>,
}

/// `planning/plan/board`: tasks by column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PlanBoardRequest {
    /// Of this plan; empty: of all.
    pub plan_id: String,
}

/// `planning/plan/board/resp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PlanBoardResponse {
    /// One for each plan.
    pub boards: Vec<Board>,
    /// Whether tasks or boards are left out because the reply would have been too large.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// The tasks of a plan by column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Board {
    /// The plan.
    pub plan_id: String,
    /// Its name.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<String>,
    /// The tasks in each of them, and in each further column that a task is in.
    pub tasks: BTreeMap<String, Vec<BoardTask>>,
}

/// A task on a board.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BoardTask {
    /// As `planning/task/add/resp` gave it.
    pub task_id: String,
    /// What is to be done.
    pub title: String,
    /// Its column.
    pub status: String,
    /// Whose it is.
    #[serde(default)]
    pub assignee: String,
}

message!(PlanCreateResponse, "planning/plan/create/resp");
message!(PlanListResponse, "planning/plan/list/resp");
message!(TaskAddResponse, "planning/task/add/resp");
message!(TaskUpdateResponse, "planning/task/update/resp");
message!(TaskListResponse, "planning/task/list/resp");
message!(PlanBoardResponse, "planning/plan/board/resp");
message!(PlanCreateRequest, "planning/plan/create" => PlanCreateResponse, First; subject "name");
message!(PlanListRequest, "planning/plan/list" => PlanListResponse, First);
message!(TaskAddRequest, "planning/task/add" => TaskAddResponse, First; subject "plan_id");
message!(TaskUpdateRequest, "planning/task/update" => TaskUpdateResponse, First;
    subject "plan_id", "task_id", "status");
message!(TaskListRequest, "planning/task/list" => TaskListResponse, First; subject "plan_id");
message!(PlanBoardRequest, "planning/plan/board" => PlanBoardResponse, First; subject "plan_id");

impl Default for PlanCreateRequest {
    fn default() -> Self {
        Self { name: default_name(), columns: Vec::new(), description: String::new() }
    }
}

impl TaskAddRequest {
    /// A task with every other field at its default.
    pub fn new(plan_id: impl Into<String>, title: impl Into<String>) -> Self {
        Self {
            plan_id: plan_id.into(),
            title: title.into(),
            status: default_status(),
            description: String::new(),
            assignee: String::new(),
            deps: Vec::new(),
            metadata: Map::new(),
        }
    }
}

impl TaskUpdateRequest {
    /// A change of nothing.
    pub fn new(plan_id: impl Into<String>, task_id: impl Into<String>) -> Self {
        Self {
            plan_id: plan_id.into(),
            task_id: task_id.into(),
            status: String::new(),
            assignee: String::new(),
            deps: Vec::new(),
        }
    }
}

fn default_name() -> String {
    "default".to_owned()
}

fn default_status() -> String {
    "backlog".to_owned()
}

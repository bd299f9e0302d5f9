//! Planning: plans with columns, tasks that depend on each other, and a board, in a file that hosts share.
//!
//! | Request | Reply | What it does |
//! |---|---|---|
//! | `planning/plan/create` | `planning/plan/create/resp` | makes a plan |
//! | `planning/plan/list` | `planning/plan/list/resp` | lists the plans |
//! | `planning/task/add` | `planning/task/add/resp` | adds a task to a plan |
//! | `planning/task/update` | `planning/task/update/resp` | moves a task, gives it to another, sets what comes before it |
//! | `planning/task/list` | `planning/task/list/resp` | lists tasks by plan and column |
//! | `planning/plan/board` | `planning/plan/board/resp` | the tasks of each plan by column |
//!
//! - Plans belong to the file, not to a session: each session of each host with the same `root` sees and
//!   changes them. A request is on the disk when it is answered; writers wait for each other up to 10 s.
//! - A refusal that is about plans and tasks is told in the reply (`success: false`, `code`, `error`): an unknown
//!   id, dependencies in a circle, a plan that is full. A field out of bounds is `schema_violation`.
//! - Needs the feature `sqlite`; the types and the client do not.
//!
//! ```text
//! {"type":"planning/plan/create","id":"1","name":"release","columns":["todo","done"]}
//! {"type":"planning/plan/create/resp","req_id":"1","success":true,"plan_id":"4f0c…","columns":["todo","done"]}
//! {"type":"planning/task/add","id":"2","plan_id":"4f0c…","title":"write notes","status":"todo"}
//! {"type":"planning/task/add/resp","req_id":"2","success":true,"task_id":"91aa…","status":"todo"}
//! ```

#[cfg(feature = "sqlite")]
mod circle;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "sqlite")]
mod config;
#[cfg(feature = "sqlite")]
mod plugin;
mod protocol;
#[cfg(feature = "sqlite")]
mod store;
#[cfg(feature = "sqlite")]
#[cfg(test)]
mod tests;

#[cfg(feature = "client")]
pub use client::Planning;
#[cfg(feature = "sqlite")]
pub use config::PlanningConfig;
pub use protocol::{
    Board, BoardTask, PlanBoardRequest, PlanBoardResponse, PlanCreateRequest, PlanCreateResponse,
    PlanInfo, PlanListRequest, PlanListResponse, TaskAddRequest, TaskAddResponse, TaskInfo,
    TaskListRequest, TaskListResponse, TaskUpdateRequest, TaskUpdateResponse,
};

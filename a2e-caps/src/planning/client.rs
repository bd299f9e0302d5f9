//! Typed calls of `planning/*` for agents in Rust.

use a2e_client::{Client, ClientError};

use super::protocol::{
    Board, PlanBoardRequest, PlanCreateRequest, PlanInfo, PlanListRequest, TaskAddRequest,
    TaskInfo, TaskListRequest, TaskUpdateRequest,
};

/// The plans of a host. Cheap to clone.
///
/// ```
/// use a2e_caps::planning::{Planning, TaskAddRequest, TaskUpdateRequest};
/// use a2e_client::{Client, Options};
/// # use a2e_core::{Executor, config::{HostConfig, PluginConfig}};
///
/// # a2e_caps::link();
/// # let root = tempfile::tempdir().unwrap();
/// # let runtime = tokio::runtime::Runtime::new().unwrap();
/// # runtime.block_on(async {
/// # let plugin = PluginConfig::new("planning", "planning", "a2e.caps.planning.plugin.PlanningPlugin")
/// #     .with_setting("root", root.path().to_str());
/// # let host = Executor::builder(HostConfig::new().plugin(plugin)).start().await.unwrap();
/// let client = Client::connect(host.connect(), Options::new("doc")).await?;
/// let planning = Planning::new(&client);
///
/// let plan = planning.create("release", &["todo", "done"]).await?;
/// let task = planning.add(&TaskAddRequest { status: "todo".into(), ..TaskAddRequest::new(&plan, "write") }).await?;
/// let done = TaskUpdateRequest { status: "done".into(), ..TaskUpdateRequest::new(&plan, &task) };
/// planning.update(&done).await?;
/// let board = planning.board(&plan).await?.unwrap();
/// assert_eq!(board.tasks["done"][0].title, "write");
/// # client.close().await;
/// # Ok::<(), a2e_client::ClientError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Planning(Client);

impl Planning {
    /// The plans behind this connection.
    pub fn new(client: &Client) -> Self {
        Self(client.clone())
    }

    /// Makes a plan and gives back its id. Without columns it has the usual four.
    ///
    /// # Errors
    /// As [`Client::rpc`]; [`ClientError::Protocol`] with the host's reason when it made none.
    pub async fn create(&self, name: &str, columns: &[&str]) -> Result<String, ClientError> {
        let columns = columns.iter().map(|&it| it.to_owned()).collect();
        let request =
            PlanCreateRequest { name: name.to_owned(), columns, description: String::new() };
        let made = self.0.rpc(&request).await?;
        done(made.success, made.error).map(|()| made.plan_id)
    }

    /// The plans, in the order in which they were made.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn plans(&self) -> Result<Vec<PlanInfo>, ClientError> {
        Ok(self.0.rpc(&PlanListRequest {}).await?.plans)
    }

    /// Adds a task and gives back its id.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn add(&self, task: &TaskAddRequest) -> Result<String, ClientError> {
        let added = self.0.rpc(task).await?;
        done(added.success, added.error).map(|()| added.task_id)
    }

    /// Changes a task.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn update(&self, change: &TaskUpdateRequest) -> Result<(), ClientError> {
        let changed = self.0.rpc(change).await?;
        done(changed.success, changed.error)
    }

    /// The tasks of a plan, or of all where it is empty; in one column, or in all.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn tasks(&self, plan_id: &str, status: &str) -> Result<Vec<TaskInfo>, ClientError> {
        let (plan_id, status) = (plan_id.to_owned(), status.to_owned());
        Ok(self.0.rpc(&TaskListRequest { plan_id, status }).await?.tasks)
    }

    /// The board of a plan; `None` without such a plan.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn board(&self, plan_id: &str) -> Result<Option<Board>, ClientError> {
        let request = PlanBoardRequest { plan_id: plan_id.to_owned() };
        Ok(self.0.rpc(&request).await?.boards.into_iter().next())
    }
}

fn done(success: bool, error: String) -> Result<(), ClientError> {
    if success { Ok(()) } else { Err(ClientError::Protocol(error.into())) }
}

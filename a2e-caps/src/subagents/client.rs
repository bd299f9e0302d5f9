//! Typed calls of `SUBAGENT_*` for agents in Rust.

use a2e_client::{CallOptions, Client, ClientError, Subscription};
use serde_json::{Map, Value};

use super::protocol::{AwaitRequest, AwaitResponse, SubagentConfig, SubagentInfo, SubagentStatus};
use super::upper::{
    MergeStrategy, SubagentCancelRequest, SubagentDelegateRequest, SubagentEvent,
    SubagentListRequest, SubagentMergeRequest, SubagentMessageRequest, SubagentNote,
    SubagentSpawnRequest, SubagentTask, SubagentTerminateRequest,
};

/// How long an await may take: longer than any task.
const LONGEST: std::time::Duration = std::time::Duration::from_hours(2);

/// The subagents of a session. Cheap to clone.
///
/// ```
/// use a2e_caps::subagents::{SubagentConfig, SubagentTask, Subagents};
/// use a2e_client::{Client, Options};
/// # use a2e_core::{Executor, config::{HostConfig, PluginConfig}};
///
/// # a2e_caps::link();
/// # let runtime = tokio::runtime::Runtime::new().unwrap();
/// # runtime.block_on(async {
/// # let plugin = PluginConfig::new("agents", "multi_agent", "a2e.caps.subagents.plugin.SubagentPlugin")
/// #     .with_setting("worker_ms", 10);
/// # let host = Executor::builder(HostConfig::new().plugin(plugin)).start().await.unwrap();
/// let client = Client::connect(host.connect(), Options::new("doc")).await?;
/// let subagents = Subagents::new(&client);
///
/// let id = subagents.spawn(SubagentConfig::new("reader")).await?;
/// assert!(subagents.delegate(&id, SubagentTask::new("read", "Read it.")).await?);
/// let done = subagents.settled(&id).await?;
/// assert_eq!(done.result.unwrap()["summary"], "Completed task: read");
/// subagents.terminate(&id).await?;
/// # client.close().await;
/// # Ok::<(), a2e_client::ClientError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Subagents(Client);

impl Subagents {
    /// The subagents behind this connection.
    pub fn new(client: &Client) -> Self {
        Self(client.clone())
    }

    /// Spawns a subagent and gives back its id.
    ///
    /// # Errors
    /// As [`Client::rpc`]; `proc_limit` when there are too many, or too deep.
    pub async fn spawn(&self, agent: SubagentConfig) -> Result<String, ClientError> {
        let (parent_agent_id, root_agent_id) = (None, None);
        let request = SubagentSpawnRequest { agent, parent_agent_id, root_agent_id };
        Ok(self.0.rpc(&request).await?.subagent_id)
    }

    /// Gives it a task; false while it has another, or when it was terminated.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn delegate(&self, id: &str, task: SubagentTask) -> Result<bool, ClientError> {
        let request = SubagentDelegateRequest { subagent_id: id.to_owned(), task, agent: None };
        Ok(self.0.rpc(&request).await?.accepted)
    }

    /// Waits until it has no task, and gives back what came of the last.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn settled(&self, id: &str) -> Result<AwaitResponse, ClientError> {
        let request = AwaitRequest { subagent_id: id.to_owned() };
        self.0.call_with(&request, CallOptions::within(LONGEST)).await?.reply().await
    }

    /// Sends a message from one subagent to another; false when the receiver's mailbox is full.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn send(
        &self,
        from: &str,
        to: &str,
        kind: &str,
        content: Value,
    ) -> Result<bool, ClientError> {
        let request = SubagentMessageRequest {
            from_subagent_id: from.to_owned(),
            to_subagent_id: to.to_owned(),
            message: SubagentNote { kind: kind.to_owned(), content },
        };
        Ok(self.0.rpc(&request).await?.delivered)
    }

    /// The subagents of this session.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn list(&self) -> Result<Vec<SubagentInfo>, ClientError> {
        Ok(self.0.rpc(&SubagentListRequest {}).await?.subagents)
    }

    /// Ends its task, and gives back its state.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn cancel(&self, id: &str) -> Result<SubagentStatus, ClientError> {
        Ok(self.0.rpc(&SubagentCancelRequest { subagent_id: id.to_owned() }).await?.status)
    }

    /// Ends it with what it does.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn terminate(&self, id: &str) -> Result<(), ClientError> {
        self.0.rpc(&SubagentTerminateRequest { subagent_id: id.to_owned() }).await.map(drop)
    }

    /// Merges what these have found; for the strategies see [`SubagentMergeRequest`].
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn merge(
        &self,
        ids: &[String],
        strategy: MergeStrategy,
    ) -> Result<Map<String, Value>, ClientError> {
        let request = SubagentMergeRequest { subagent_ids: ids.to_vec(), strategy };
        Ok(self.0.rpc(&request).await?.merged_result)
    }

    /// Runs `on_event` whenever the state of a subagent changes, and when it gets a message.
    #[must_use = "the handler goes with the subscription"]
    pub fn on_event(
        &self,
        on_event: impl Fn(SubagentEvent) + Send + Sync + 'static,
    ) -> Subscription {
        self.0.on_push("SUBAGENT_EVENT", move |message| {
            if let Ok(event) = message.decode() {
                on_event(event);
            }
        })
    }
}

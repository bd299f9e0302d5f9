//! Typed calls of `learn/*` for agents in Rust.

use a2e_client::{Client, ClientError};

use super::protocol::{
    ComponentRecord, Experience, Feedback, HistoryEntry, LearnAdaptRequest, LearnAdaptResponse,
    LearnApplyRequest, LearnApplyResponse, LearnExperienceRequest, LearnFeedbackRequest,
    LearnFeedbackResponse, LearnHistoryRequest, LearnPlanRequest, LearnReviewRequest,
    LearnReviewResponse, LearnRollbackRequest, LearnRollbackResponse, LearnStatsRequest, Proposal,
    Strategy,
};

/// What a host learns.
///
/// ```
/// use a2e_caps::env::JsonObject;
/// use a2e_caps::learn::protocol::Experience;
/// use a2e_caps::learn::LearnClient;
/// use a2e_client::{Client, Options};
/// # use a2e_core::{Executor, config::{HostConfig, PluginConfig}};
/// use serde_json::json;
///
/// # a2e_caps::link();
/// # let runtime = tokio::runtime::Runtime::new().unwrap();
/// # runtime.block_on(async {
/// # let plugin = PluginConfig::new("learn", "learning", "a2e.caps.learn.plugin.LearnPlugin");
/// # let host = Executor::builder(HostConfig::new().plugin(plugin)).start().await.unwrap();
/// let client = Client::connect(host.connect(), Options::new("agent")).await?;
/// let learn = LearnClient::new(&client);
/// let action = JsonObject::of(&json!({ "tools": ["grep"], "duration_ms": 12 })).unwrap();
/// let step = Experience { action, reward: 1.0, ..Default::default() };
/// assert_eq!(learn.experience(vec![step]).await?, 1);
/// assert_eq!(learn.stats("grep").await?[0].calls_success, 1);
/// # client.close().await;
/// # Ok::<(), a2e_client::ClientError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct LearnClient(Client);

impl LearnClient {
    /// Asks over this connection.
    pub fn new(client: &Client) -> Self {
        Self(client.clone())
    }

    /// Notes judgements.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn feedback(
        &self,
        feedbacks: Vec<Feedback>,
    ) -> Result<LearnFeedbackResponse, ClientError> {
        self.0.rpc(&LearnFeedbackRequest { feedbacks }).await
    }

    /// Notes steps, and returns how many.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn experience(&self, experiences: Vec<Experience>) -> Result<usize, ClientError> {
        Ok(self.0.rpc(&LearnExperienceRequest { experiences }).await?.stored)
    }

    /// Makes new weights for all components.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn adapt(&self, strategy: Strategy) -> Result<LearnAdaptResponse, ClientError> {
        self.0.rpc(&LearnAdaptRequest { strategy, ..LearnAdaptRequest::default() }).await
    }

    /// How a component fares; how all do, for an empty name.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn stats(&self, component_name: &str) -> Result<Vec<ComponentRecord>, ClientError> {
        let component_name = component_name.to_owned();
        Ok(self.0.rpc(&LearnStatsRequest { component_name }).await?.components)
    }

    /// Changes that would help.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn plan(&self, request: &LearnPlanRequest) -> Result<Vec<Proposal>, ClientError> {
        Ok(self.0.rpc(request).await?.proposals)
    }

    /// What speaks against a change.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn review(&self, proposal: Proposal) -> Result<LearnReviewResponse, ClientError> {
        self.0.rpc(&LearnReviewRequest { proposal }).await
    }

    /// Puts a change in force.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn apply(&self, proposal: Proposal) -> Result<LearnApplyResponse, ClientError> {
        self.0.rpc(&LearnApplyRequest { proposal }).await
    }

    /// Takes a change back.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn rollback(&self, id: &str) -> Result<LearnRollbackResponse, ClientError> {
        self.0.rpc(&LearnRollbackRequest { refinement_id: id.to_owned() }).await
    }

    /// What was changed.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn history(&self) -> Result<Vec<HistoryEntry>, ClientError> {
        Ok(self.0.rpc(&LearnHistoryRequest {}).await?.entries)
    }
}

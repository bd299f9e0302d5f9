//! Typed calls of `env/*` for agents in Rust.

use a2e_client::{Client, ClientError};
use a2e_core::codec::RawJson;

use super::protocol::{
    EnvBatchStepRequest, EnvCloseRequest, EnvExpListRequest, EnvExperience, EnvForkRequest,
    EnvObservation, EnvObserveRequest, EnvPlanRequest, EnvRenderRequest, EnvResetRequest,
    EnvRestoreRequest, EnvSnapshot, EnvSnapshotRequest, EnvSpaceRequest, EnvSpaceResponse,
    EnvStepRequest,
};
use crate::json::JsonObject;

/// The environments of a host.
///
/// ```
/// use a2e_caps::env::{EnvClient, JsonObject};
/// use a2e_client::{Client, Options};
/// # use a2e_core::{Executor, config::{HostConfig, PluginConfig}};
/// use serde_json::json;
///
/// # a2e_caps::link();
/// # let runtime = tokio::runtime::Runtime::new().unwrap();
/// # runtime.block_on(async {
/// # let plugin = PluginConfig::new("env", "env", "a2e.caps.env.plugin.EnvPlugin");
/// # let host = Executor::builder(HostConfig::new().plugin(plugin)).start().await.unwrap();
/// let client = Client::connect(host.connect(), Options::new("agent")).await?;
/// let envs = EnvClient::new(&client);
/// let options = JsonObject::of(&json!({ "width": 4, "height": 4 })).unwrap();
/// let (episode, _) = envs.reset("gridworld", Some(7), options).await?;
/// for action in episode.plan().await? {
///     let seen = episode.step(action).await?;
///     if seen.done {
///         assert_eq!(seen.reward, Some(1.0));
///     }
/// }
/// episode.close().await?;
/// # client.close().await;
/// # Ok::<(), a2e_client::ClientError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct EnvClient(Client);

impl EnvClient {
    /// Asks over this connection.
    pub fn new(client: &Client) -> Self {
        Self(client.clone())
    }

    fn episode(&self, obs: EnvObservation) -> (EpisodeClient, EnvObservation) {
        (EpisodeClient { client: self.0.clone(), id: obs.episode_id.clone() }, obs)
    }

    /// Begins an episode, and gives its first observation; without a seed the host draws one.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn reset(
        &self,
        env_name: &str,
        seed: Option<i64>,
        options: JsonObject,
    ) -> Result<(EpisodeClient, EnvObservation), ClientError> {
        let (env_name, timeout) = (env_name.to_owned(), None);
        let request = EnvResetRequest { env_name, seed, options, timeout };
        Ok(self.episode(self.0.rpc(&request).await?.obs))
    }

    /// Begins an episode where a snapshot was taken.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn restore(
        &self,
        snapshot: EnvSnapshot,
    ) -> Result<(EpisodeClient, EnvObservation), ClientError> {
        let request = EnvRestoreRequest { snapshot, timeout: None };
        Ok(self.episode(self.0.rpc(&request).await?.obs))
    }

    /// What an environment takes and gives.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn spaces(&self, env_name: &str) -> Result<EnvSpaceResponse, ClientError> {
        self.0.rpc(&EnvSpaceRequest { env_name: env_name.to_owned() }).await
    }

    /// Takes a step in each of these episodes, side by side.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn batch_step(
        &self,
        steps: impl IntoIterator<Item = (&EpisodeClient, JsonObject)>,
    ) -> Result<Vec<EnvObservation>, ClientError> {
        let steps = steps.into_iter().map(|(episode, action)| (episode.id.clone(), action));
        let (episode_ids, actions) = steps.unzip();
        let request = EnvBatchStepRequest { episode_ids, actions, timeout: None };
        let reply = self.0.rpc(&request).await?;
        Ok(reply.results.into_iter().map(|step| step.obs).collect())
    }

    /// The last steps of this session, oldest first.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn experience(&self, limit: usize) -> Result<Vec<EnvExperience>, ClientError> {
        let request = EnvExpListRequest { limit, ..EnvExpListRequest::default() };
        Ok(self.0.rpc(&request).await?.episodes)
    }
}

/// An episode of this session. Dropping it does not close it.
#[derive(Clone, Debug)]
pub struct EpisodeClient {
    client: Client,
    id: String,
}

impl EpisodeClient {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Takes an action.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn step(&self, action: JsonObject) -> Result<EnvObservation, ClientError> {
        let request = EnvStepRequest { episode_id: self.id.clone(), action, timeout: None };
        Ok(self.client.rpc(&request).await?.obs)
    }

    /// Looks, and changes nothing.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn observe(&self) -> Result<EnvObservation, ClientError> {
        Ok(self.client.rpc(&EnvObserveRequest { episode_id: self.id.clone() }).await?.obs)
    }

    /// A picture in this mode.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn render(&self, mode: &str) -> Result<RawJson, ClientError> {
        let (episode_id, mode) = (self.id.clone(), Some(mode.to_owned()));
        Ok(self.client.rpc(&EnvRenderRequest { episode_id, mode }).await?.render)
    }

    /// What the environment would do.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn plan(&self) -> Result<Vec<JsonObject>, ClientError> {
        let request = EnvPlanRequest { episode_id: Some(self.id.clone()), state: None };
        Ok(self.client.rpc(&request).await?.suggested_actions)
    }

    /// All that is needed to go on from here.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn snapshot(&self) -> Result<EnvSnapshot, ClientError> {
        let request = EnvSnapshotRequest { episode_id: self.id.clone() };
        Ok(self.client.rpc(&request).await?.snapshot)
    }

    /// Makes further episodes that go on from here.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn fork(&self, count: usize) -> Result<Vec<Self>, ClientError> {
        let request = EnvForkRequest { episode_id: self.id.clone(), count, timeout: None };
        let made = self.client.rpc(&request).await?.episodes;
        let made = made.into_iter().map(|obs| obs.episode_id);
        Ok(made.map(|id| Self { client: self.client.clone(), id }).collect())
    }

    /// Ends it.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn close(self) -> Result<(), ClientError> {
        self.client.rpc(&EnvCloseRequest { episode_id: self.id }).await.map(drop)
    }
}

//! The session of one caller with one environment: an A2E session, with one episode at most.

use std::collections::BTreeMap;
use std::time::Duration;

use a2e_caps::env::JsonObject;
use a2e_caps::env::protocol::{
    EnvCloseRequest, EnvObservation, EnvObserveRequest, EnvResetResponse, EnvSpaceRequest,
    EnvSpaceResponse, EnvStepRequest,
};
use a2e_client::{CallOptions, Client, ClientError, Options};
use a2e_core::codec::RawJson;
use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use serde::Serialize;
use serde_json::{Value, json};

use super::{is_unknown, may_control};
use crate::http::Shared;
use crate::http::admit::Caller;

/// How long an environment is looked for. Clients of OpenEnv wait 5 s for a page and 10 s for a socket.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// Seconds that a reset or a step may take: the most that a host allows. OpenEnv's own servers have no limit.
const LONGEST: f64 = 600.0;

/// The longest name that a caller may give an episode, in bytes.
const MAX_NAME: usize = 255;

/// A session with an environment. Dropping it ends the session, and the episode with it.
pub(super) struct EnvSession {
    client: Client,
    env: String,
    episode: Option<Episode>,
    may_control: bool,
}

struct Episode {
    id: String,
    /// As the caller calls it.
    name: String,
}

/// What a caller sees: the form of OpenEnv, and the two fields that it has no place for.
#[derive(Serialize)]
pub(super) struct Seen {
    observation: JsonObject,
    reward: Option<f64>,
    done: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<JsonObject>,
}

impl From<EnvObservation> for Seen {
    fn from(obs: EnvObservation) -> Self {
        let EnvObservation { state, reward, done, truncated, metadata, .. } = obs;
        let metadata = metadata.filter(|it| *it != JsonObject::default());
        Self { observation: state, reward, done, truncated, metadata }
    }
}

/// `env/reset/req` with a seed that is checked where it arrives.
#[derive(Serialize)]
struct Reset<'a> {
    env_name: &'a str,
    seed: Option<RawJson>,
    options: BTreeMap<String, RawJson>,
    timeout: f64,
}

impl EnvSession {
    /// Opens the session; the environment need not be there.
    ///
    /// # Errors
    /// `overloaded` when the host opens no more sessions.
    pub(super) async fn open(shared: &Shared, caller: Caller, env: String) -> Result<Self> {
        let may_control = may_control(shared, &caller);
        let connection = shared.executor.connect_as(caller.identity);
        let options = Options::new("openenv").capabilities(["env"]);
        let client = Client::connect(connection, options).await?;
        Ok(Self { client, env, episode: None, may_control })
    }

    /// What the environment takes and gives.
    ///
    /// # Errors
    /// When there is no such environment, or it cannot say.
    pub(super) async fn spaces(&self) -> Result<EnvSpaceResponse> {
        let request = EnvSpaceRequest { env_name: self.env.clone() };
        Ok(self.client.rpc_with(&request, CallOptions::without_deadline()).await?)
    }

    /// Looks whether there is such an environment. One that takes its time to say what it is may have to be started
    /// first: it counts as there.
    ///
    /// # Errors
    /// When there is none for this caller.
    pub(super) async fn look(&self) -> Result<()> {
        match tokio::time::timeout(LOOK_LIMIT, self.spaces()).await {
            Ok(Err(error)) if is_unknown(&error) || *error.code() == ErrorCode::Forbidden => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Begins an episode; the one before is closed first, whose place it may need. `seed` and `episode_id` are
    /// OpenEnv's, all else is for the environment.
    ///
    /// # Errors
    /// Those of `env/reset`.
    pub(super) async fn reset(&mut self, mut data: BTreeMap<String, RawJson>) -> Result<Seen> {
        let name = match data.remove("episode_id").filter(|it| it.get() != "null") {
            None => None,
            Some(name) => Some(name_of(&name)?),
        };
        self.close().await;
        let seed = data.remove("seed").filter(|it| it.get() != "null");
        let (env_name, timeout) = (self.env.as_str(), LONGEST);
        let request = Reset { env_name, seed, options: data, timeout };
        let unlimited = CallOptions::without_deadline();
        let reply = self.client.rpc_raw("env/reset/req", &request, unlimited).await?;
        let EnvResetResponse { obs } = reply.decode()?;
        let id = obs.episode_id.clone();
        self.episode = Some(Episode { name: name.unwrap_or_else(|| id.clone()), id });
        Ok(obs.into())
    }

    /// Takes a step, within this time where there is a limit.
    ///
    /// # Errors
    /// Those of `env/step`; where no episode was begun, as that says it.
    pub(super) async fn step(&self, action: JsonObject, limit: Option<Duration>) -> Result<Seen> {
        let episode_id = self.episode()?.id.clone();
        let request = EnvStepRequest { episode_id, action, timeout: Some(LONGEST) };
        let options = limit.map_or_else(CallOptions::without_deadline, CallOptions::within);
        let reply = self.client.rpc_with(&request, options).await?;
        Ok(reply.obs.into())
    }

    /// How the episode stands; before the first reset there is none, which is no error.
    ///
    /// # Errors
    /// `forbidden` without the right, and those of `env/observe`.
    pub(super) async fn state(&self) -> Result<Value> {
        if !self.may_control {
            let text = "the state of an environment needs the right `env-control`";
            return Err(Error::new(ErrorCode::Forbidden, text));
        }
        let Ok(episode) = self.episode() else {
            return Ok(json!({ "episode_id": null, "step_count": 0 }));
        };
        let request = EnvObserveRequest { episode_id: episode.id.clone() };
        let obs = self.client.rpc(&request).await?.obs;
        Ok(json!({
            "episode_id": episode.name,
            "step_count": obs.step_num,
            "done": obs.done,
            "truncated": obs.truncated,
        }))
    }

    fn episode(&self) -> Result<&Episode> {
        self.episode.as_ref().ok_or_else(|| Error::runtime("No active episode. Call reset()."))
    }

    async fn close(&mut self) {
        if let Some(Episode { id: episode_id, .. }) = self.episode.take() {
            // A session that is gone has closed it.
            let _closed: Result<_, ClientError> =
                self.client.rpc(&EnvCloseRequest { episode_id }).await;
        }
    }

    /// Resolves when the host has ended the session.
    pub(super) async fn ended(&self) {
        self.client.closed().await;
    }

    /// Ends the session; its episode is closed when this returns.
    pub(super) async fn end(mut self) {
        self.close().await;
        // The host may be gone.
        let _gone = self.client.shutdown(Duration::ZERO).await;
    }
}

impl Drop for EnvSession {
    fn drop(&mut self) {
        // Told, and not only cut: a session that is cut waits to be resumed, with its episode.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let client = self.client.clone();
            runtime.spawn(async move {
                let _gone = client.shutdown(Duration::ZERO).await;
            });
        }
    }
}

fn name_of(name: &RawJson) -> Result<String> {
    let text: Option<String> = name.decode().ok();
    text.filter(|it| it.len() <= MAX_NAME).ok_or_else(|| {
        Error::schema("episode_id", format!("is no string of at most {MAX_NAME} bytes"))
    })
}

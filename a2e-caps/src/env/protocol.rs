//! The wire of `env/*`: messages and observations as agents, hosts and served environments write them.

use a2e_core::codec::RawJson;
use a2e_core::message;
use a2e_core::protocol::number;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::json::{JsonObject, limited_list};

/// What an agent sees of an episode after a reset, a step, or when it looks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvObservation {
    /// Names the episode in the other requests of this session.
    pub episode_id: String,
    /// Steps that were taken; 0 after a reset.
    #[serde(deserialize_with = "number::integer")]
    pub step_num: u64,
    /// The state, as the environment describes it in `state_schema`.
    pub state: JsonObject,
    /// Whether the episode is over, for whatever reason.
    #[serde(default)]
    pub done: bool,
    /// Whether it is over because of a limit, and not by what happened in it.
    #[serde(default)]
    pub truncated: bool,
    /// The reward of the last step; null where there is none.
    #[serde(default = "zero")]
    pub reward: Option<f64>,
    /// Seconds since the Unix epoch.
    #[serde(default)]
    pub created_at: f64,
    /// After a reset `seed`, with which the run can be had again; else what the environment adds.
    #[serde(default)]
    pub metadata: Option<JsonObject>,
    /// What the environment says beside the state; absent where it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<JsonObject>,
}

/// Begins an episode; those that run go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvResetRequest {
    /// The name of an environment, or that of the plugin for its first one.
    pub env_name: String,
    /// Equal seeds, options and actions make equal runs. Without one the host draws it, and says which.
    #[serde(default, deserialize_with = "number::optional_integer")]
    pub seed: Option<i64>,
    /// As the environment describes them.
    #[serde(default)]
    pub options: JsonObject,
    /// Seconds that it may take; 30 where it does not say, 600 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
}

/// The episode that was begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvResetResponse {
    /// Its first observation.
    pub obs: EnvObservation,
}

/// Takes a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvStepRequest {
    /// As `env/reset/resp` gave it.
    pub episode_id: String,
    /// As the environment's `action_space` says; its kind stands in `type` or `action_type`.
    pub action: JsonObject,
    /// Seconds that it may take; 30 where it does not say, 600 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
}

/// The step that was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvStepResponse {
    /// What came of it.
    pub obs: EnvObservation,
}

/// Looks, and changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvObserveRequest {
    /// As `env/reset/resp` gave it.
    pub episode_id: String,
}

/// The episode as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvObserveResponse {
    /// As after the last step.
    pub obs: EnvObservation,
}

/// Ends an episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvCloseRequest {
    /// As `env/reset/resp` gave it.
    pub episode_id: String,
}

/// There is no such episode now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvCloseResponse {
    /// Always true, also where there was none.
    #[serde(default = "yes")]
    pub closed: bool,
}

/// Asks what an environment takes and gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvSpaceRequest {
    /// As for `env/reset/req`.
    pub env_name: String,
}

/// As `env/space/req`, under the name that the documents of the protocol have for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvSpacesRequest {
    /// As for `env/reset/req`.
    pub env_name: String,
}

/// What an environment takes and gives, as JSON Schemas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvSpaceResponse {
    /// Of `action`.
    pub action_space: JsonObject,
    /// Of `obs.state`.
    pub state_schema: JsonObject,
    /// Of `options`; absent where the environment does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options_schema: Option<JsonObject>,
}

/// Asks for a picture of an episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvRenderRequest {
    /// As `env/reset/resp` gave it.
    pub episode_id: String,
    /// `text`, `json`, `screenshot` (a PNG file), `rgb_array`, or what else the environment knows.
    #[serde(default = "screenshot")]
    pub mode: Option<String>,
}

/// The picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvRenderResponse {
    /// `text`: a text; `json`: the state; `screenshot`: `{mime, encoding: "base64", data, width, height}`;
    /// null for a mode that the environment does not have.
    pub render: RawJson,
}

/// Asks which actions the environment would take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvPlanRequest {
    /// As `env/reset/resp` gave it; null is the session's newest episode.
    #[serde(default)]
    pub episode_id: Option<String>,
    /// From this state on; null is the present one.
    #[serde(default)]
    pub state: Option<JsonObject>,
}

/// As `env/plan/req`: clients of the reference send it under the type of the reply. It describes itself
/// nowhere, since the reply does under this type.
#[derive(Clone, Debug, Deserialize)]
pub struct EnvPlanAsResponse {
    /// As in [`EnvPlanRequest`].
    #[serde(default)]
    pub episode_id: Option<String>,
    /// As in [`EnvPlanRequest`].
    #[serde(default)]
    pub state: Option<JsonObject>,
}

/// What the environment would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvPlanResponse {
    /// Actions in the order in which they are to be taken; empty where it has no plan.
    #[serde(default)]
    pub suggested_actions: Vec<JsonObject>,
}

/// Takes a step in each of several episodes, side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvBatchStepRequest {
    /// At most 1,000. One that stands twice takes its steps in this order.
    #[serde(deserialize_with = "limited_list")]
    pub episode_ids: Vec<String>,
    /// One for each.
    #[serde(deserialize_with = "limited_list")]
    pub actions: Vec<JsonObject>,
    /// Seconds that it may take; 30 where it does not say, 600 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
}

/// The steps, in the order of the request. Where one fails the whole request is refused, and the error's
/// `detail.index` names it; the others were taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvBatchStepResponse {
    /// Each a whole `env/step/resp`.
    pub results: Vec<EnvStepMessage>,
}

/// A whole `env/step/resp`, envelope included, inside another message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvStepMessage {
    /// `env/step/resp`.
    #[serde(rename = "type")]
    pub wire_type: String,
    /// The id of the request.
    pub req_id: String,
    /// What came of the step.
    pub obs: EnvObservation,
}

/// Asks for the steps that were taken in this session, also in episodes that are closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvExpListRequest {
    /// Of this episode; empty is all.
    #[serde(default)]
    pub episode_id: String,
    /// How many, the newest.
    #[serde(default = "hundred", deserialize_with = "number::integer")]
    pub limit: usize,
}

impl Default for EnvExpListRequest {
    fn default() -> Self {
        Self { episode_id: String::new(), limit: hundred() }
    }
}

/// Steps, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvExpListResponse {
    /// The last of them that are still kept, and that fit into a line.
    #[serde(default)]
    pub episodes: Vec<EnvExperience>,
}

/// One step of the past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvExperience {
    /// The episode.
    pub episode_id: String,
    /// The number of the step; the first is 1.
    pub step: u64,
    /// The state before it.
    pub state: JsonObject,
    /// The action.
    pub action: JsonObject,
    /// The reward.
    pub reward: Option<f64>,
    /// The state after it.
    pub next_state: JsonObject,
    /// Whether it ended the episode.
    pub done: bool,
}

/// Takes an episode as it stands, to be restored later, or in another session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvSnapshotRequest {
    /// As `env/reset/resp` gave it.
    pub episode_id: String,
}

/// The episode as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvSnapshotResponse {
    /// For `env/restore/req`.
    pub snapshot: EnvSnapshot,
}

/// An episode without its id: all that is needed to go on from there. Where the environment cannot be set
/// to a state, its run is had again from `seed`, `options` and `actions`, and the result is compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvSnapshot {
    /// The environment.
    pub env_name: String,
    /// The seed of the run.
    #[serde(deserialize_with = "number::integer")]
    pub seed: i64,
    /// The options of the reset.
    pub options: JsonObject,
    /// The actions since; empty where `saved` is there.
    #[serde(default)]
    pub actions: Vec<JsonObject>,
    /// What the environment saved of itself; null where it cannot.
    #[serde(default)]
    pub saved: Option<RawJson>,
    /// The last observation; its `episode_id` is that of the original.
    pub obs: EnvObservation,
}

/// Begins an episode where another one stood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvRestoreRequest {
    /// As `env/snapshot/resp` gave it.
    pub snapshot: EnvSnapshot,
    /// Seconds that it may take; 30 where it does not say, 600 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
}

/// The new episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvRestoreResponse {
    /// As in the snapshot, with an id of its own.
    pub obs: EnvObservation,
}

/// Makes further episodes that go on from where one stands. It stays as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvForkRequest {
    /// As `env/reset/resp` gave it.
    pub episode_id: String,
    /// How many; all or none are made.
    #[serde(default = "one", deserialize_with = "number::integer")]
    pub count: usize,
    /// Seconds that it may take; 30 where it does not say, 600 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
}

/// The new episodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvForkResponse {
    /// Each as the original stands, with an id of its own.
    pub episodes: Vec<EnvObservation>,
}

/// Sent unasked when an episode changes by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvStatePush {
    /// The episode.
    pub episode_id: String,
    /// Its steps so far.
    #[serde(deserialize_with = "number::integer")]
    pub step_id: u64,
    /// The action that led to it, as the environment names it.
    #[serde(default)]
    pub action_id: Option<String>,
    /// `observation`, `tool_result`, `status`, `error`.
    pub event_type: String,
    /// For people.
    #[serde(default)]
    pub reason: String,
    /// The fields of the state that changed.
    #[serde(default)]
    pub delta: JsonObject,
    /// A reward, where there is one.
    #[serde(default)]
    pub reward: Option<f64>,
    /// What the reward is for.
    #[serde(default)]
    pub reward_info: Option<JsonObject>,
    /// Whether the episode is over.
    #[serde(default)]
    pub terminal: bool,
}

message!(EnvResetResponse, "env/reset/resp");
message!(EnvStepResponse, "env/step/resp");
message!(EnvObserveResponse, "env/observe/resp");
message!(EnvCloseResponse, "env/close/resp");
message!(EnvSpaceResponse, "env/space/resp");
message!(EnvRenderResponse, "env/render/resp");
message!(EnvPlanResponse, "env/plan/resp");
message!(EnvBatchStepResponse, "env/batch_step/resp");
message!(EnvExpListResponse, "env/exp/list/resp");
message!(EnvSnapshotResponse, "env/snapshot/resp");
message!(EnvRestoreResponse, "env/restore/resp");
message!(EnvForkResponse, "env/fork/resp");
message!(EnvStatePush, "env/state/push");
message!(EnvResetRequest, "env/reset/req" => EnvResetResponse, First, TimeoutField(30);
    subject "env_name", "seed");
message!(EnvStepRequest, "env/step/req" => EnvStepResponse, First, TimeoutField(30);
    subject "episode_id");
message!(EnvObserveRequest, "env/observe/req" => EnvObserveResponse, First; subject "episode_id");
// `All`: each plugin closes what it has, and answers even if that is nothing.
message!(EnvCloseRequest, "env/close/req" => EnvCloseResponse, All; subject "episode_id");
message!(EnvSpaceRequest, "env/space/req" => EnvSpaceResponse, First; subject "env_name");
message!(EnvSpacesRequest, "env/spaces/req" => EnvSpaceResponse, First; subject "env_name");
message!(EnvRenderRequest, "env/render/req" => EnvRenderResponse, First; subject "episode_id", "mode");
message!(EnvPlanRequest, "env/plan/req" => EnvPlanResponse, First; subject "episode_id");
message!(EnvPlanAsResponse, "env/plan/resp" => EnvPlanResponse, First; subject "episode_id");
message!(EnvBatchStepRequest, "env/batch_step/req" => EnvBatchStepResponse, First, TimeoutField(30));
message!(EnvExpListRequest, "env/exp/list/req" => EnvExpListResponse, Merge; subject "episode_id");
message!(EnvSnapshotRequest, "env/snapshot/req" => EnvSnapshotResponse, First; subject "episode_id");
message!(EnvRestoreRequest, "env/restore/req" => EnvRestoreResponse, First, TimeoutField(30);
    subject "snapshot.env_name");
message!(EnvForkRequest, "env/fork/req" => EnvForkResponse, First, TimeoutField(30);
    subject "episode_id");

#[allow(clippy::unnecessary_wraps, reason = "serde asks for the field's type")]
fn zero() -> Option<f64> {
    Some(0.0)
}

#[allow(clippy::unnecessary_wraps, reason = "serde asks for the field's type")]
fn screenshot() -> Option<String> {
    Some("screenshot".to_owned())
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

fn hundred() -> usize {
    100
}

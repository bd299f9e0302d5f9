//! The wire of `learn/*`: feedback, experience, records; what is changed of it stands in `refinement`.

mod refinement;

use std::collections::BTreeMap;

use a2e_core::codec::RawJson;
use a2e_core::message;
use a2e_core::protocol::number;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::json::{JsonObject, limited_list};

pub use refinement::{
    ChangeScope, Edit, HistoryEntry, LearnApplyRequest, LearnApplyResponse, LearnHistoryRequest,
    LearnHistoryResponse, LearnPlanRequest, LearnPlanResponse, LearnReviewRequest,
    LearnReviewResponse, LearnRollbackRequest, LearnRollbackResponse, Proposal, Risk,
};
pub(super) use refinement::{OPS, TARGETS};

/// Judgements of what an agent did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LearnFeedbackRequest {
    /// At most 1,000; one that is not well formed refuses all.
    #[serde(deserialize_with = "limited_list")]
    pub feedbacks: Vec<Feedback>,
}

/// What was noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LearnFeedbackResponse {
    /// How many.
    #[serde(default, deserialize_with = "number::integer")]
    pub recorded: usize,
    /// The mean of all scores of the last one's component; null where there was none.
    #[serde(default)]
    pub new_score: Option<f64>,
}

/// One judgement. It counts for the component `rated_turn.version`, else `rated_turn.model`, else `unknown`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Feedback {
    /// Drawn by the host where it is absent.
    #[serde(default)]
    pub feedback_id: String,
    /// What it is about, as the agent says.
    #[serde(default)]
    pub correlation_id: String,
    /// The session, as the agent says.
    #[serde(default)]
    pub session_id: String,
    /// The answer that is judged.
    #[serde(default)]
    pub rated_turn: Option<RatedTurn>,
    /// Which way it goes.
    pub polarity: Polarity,
    /// From -1 to 1.
    #[serde(default, deserialize_with = "score")]
    pub score: f64,
    /// What is judged.
    #[serde(default)]
    pub dimension: Dimension,
    /// How sure the judge is.
    #[serde(default = "one")]
    pub confidence: f64,
    /// For people.
    #[serde(default)]
    pub comment: String,
    /// What would have been right; not empty where `polarity` is `corrective`.
    #[serde(default)]
    pub correction: String,
    /// The part of the response that `correction` replaces.
    #[serde(default)]
    pub correction_span: Option<(i64, i64)>,
    /// Who judged.
    #[serde(default)]
    pub source: Source,
    /// Which of them.
    #[serde(default)]
    pub annotator_id: String,
    /// Seconds since the Unix epoch; the host's time where it is absent.
    #[serde(default)]
    pub ts: Option<f64>,
}

/// An answer of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RatedTurn {
    /// What was asked.
    pub prompt: String,
    /// What was answered.
    pub response: String,
    /// By which model.
    pub model: String,
    /// Where.
    #[serde(default)]
    pub environment: Option<RawJson>,
    /// Of the agent or skill.
    #[serde(default)]
    pub version: Option<String>,
}

/// Which way a judgement goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Polarity {
    /// It was good.
    Positive,
    /// It was bad.
    Negative,
    /// Neither.
    Neutral,
    /// It was wrong, and `correction` is right.
    Corrective,
}

/// What is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// Whether it is true.
    Correctness,
    /// Whether it helps.
    #[default]
    Helpfulness,
    /// Whether it does harm.
    Safety,
    /// How it is said.
    Tone,
    /// How it was planned.
    PlanQuality,
}

/// Who judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A person.
    #[default]
    Human,
    /// An environment.
    Env,
    /// The agent.
    #[serde(rename = "self")]
    Own,
}

/// Steps that agents took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LearnExperienceRequest {
    /// At most 1,000.
    #[serde(default, deserialize_with = "limited_list")]
    pub experiences: Vec<Experience>,
}

/// What was noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LearnExperienceResponse {
    /// How many.
    #[serde(default, deserialize_with = "number::integer")]
    pub stored: usize,
}

/// One step. It counts for `action.component_name`, and for each name in `action.components` and
/// `action.tools`; `action.duration_ms` is its duration, from 0 to 1e12.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Experience {
    /// Drawn by the host where it is absent.
    #[serde(default)]
    pub experience_id: String,
    /// Before it.
    #[serde(default)]
    pub state: JsonObject,
    /// What was done.
    #[serde(default)]
    pub action: JsonObject,
    /// After it.
    #[serde(default)]
    pub next_state: JsonObject,
    /// What it brought, from -1e12 to 1e12.
    #[serde(default, deserialize_with = "reward")]
    pub reward: f64,
    /// Whether it was the last of its episode.
    #[serde(default)]
    pub done: bool,
    /// The episode.
    #[serde(default)]
    pub episode_id: String,
    /// Its number in there.
    #[serde(default, deserialize_with = "number::integer")]
    pub step: i64,
    /// Seconds since the Unix epoch; the host's time where it is absent.
    #[serde(default)]
    pub ts: Option<f64>,
}

/// Makes new weights of what was learned, and puts them in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LearnAdaptRequest {
    /// Of this component; empty is all.
    #[serde(default)]
    pub component_name: String,
    /// How.
    #[serde(default)]
    pub strategy: Strategy,
    /// For `custom`: the weights; the plugin's `custom_weights` where they are absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<BTreeMap<String, f64>>,
}

/// How weights are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// A clipped policy-gradient step.
    #[default]
    Ppo,
    /// The one with the highest upper confidence bound.
    Ucb1,
    /// The best one, and now and then any.
    EpsilonGreedy,
    /// More for the better, by a temperature.
    Softmax,
    /// As given.
    Custom,
}

/// The components as they stand then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LearnAdaptResponse {
    /// The named one, or all.
    #[serde(default)]
    pub updated: Vec<ComponentRecord>,
    /// What was done, or why nothing was.
    #[serde(default)]
    pub message: String,
    /// The weights that are in force, by component: of the named one, or all. The reference has no such field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, f64>,
}

/// Asks how components fare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LearnStatsRequest {
    /// This one; empty is all.
    #[serde(default)]
    pub component_name: String,
}

/// How they fare.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LearnStatsResponse {
    /// By name.
    #[serde(default)]
    pub components: Vec<ComponentRecord>,
}

/// How a component fares. Clients of the reference make a model of exactly these keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComponentRecord {
    /// Its name.
    pub component_name: String,
    /// Judgements and steps.
    #[serde(default, deserialize_with = "number::integer")]
    pub calls_total: u64,
    /// Those above 0.
    #[serde(default, deserialize_with = "number::integer")]
    pub calls_success: u64,
    /// Those below 0.
    #[serde(default, deserialize_with = "number::integer")]
    pub calls_failed: u64,
    /// The mean duration of its steps.
    #[serde(default)]
    pub avg_duration_ms: f64,
    /// The mean of its scores; of its rewards where nobody judged it.
    #[serde(default)]
    pub avg_score: f64,
    /// Seconds since the Unix epoch.
    #[serde(default)]
    pub last_called: f64,
    /// 95 of 100 steps took no longer, within 1 %.
    #[serde(default)]
    pub p95_duration_ms: f64,
}

message!(LearnFeedbackResponse, "learn/feedback/resp");
message!(LearnExperienceResponse, "learn/experience/resp");
message!(LearnAdaptResponse, "learn/adapt/resp");
message!(LearnStatsResponse, "learn/stats/resp");
message!(LearnFeedbackRequest, "learn/feedback/req" => LearnFeedbackResponse, First);
message!(LearnExperienceRequest, "learn/experience/req" => LearnExperienceResponse, First);
message!(LearnAdaptRequest, "learn/adapt/req" => LearnAdaptResponse, First; subject "component_name", "strategy");
message!(LearnStatsRequest, "learn/stats/req" => LearnStatsResponse, First; subject "component_name");

/// Any number of them has a sum.
fn reward<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let reward = f64::deserialize(deserializer)?;
    if (-1e12..=1e12).contains(&reward) {
        return Ok(reward);
    }
    Err(de::Error::custom(format_args!("{reward} is not within -1e12 to 1e12")))
}

fn score<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let score = f64::deserialize(deserializer)?;
    if (-1.0..=1.0).contains(&score) {
        return Ok(score);
    }
    Err(de::Error::custom(format_args!("{score} is not within -1 to 1")))
}

fn one() -> f64 {
    1.0
}

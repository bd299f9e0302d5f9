//! The wire of `learn/refinement/*`: proposals, reviews, changes and what was changed.

use a2e_core::message;
use a2e_core::protocol::number;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json::limited_list;

/// What an edit may change.
pub(in crate::learn) const TARGETS: [&str; 5] =
    ["prompt", "tool", "router_weight", "verifier", "router"];

/// How an edit may change it.
pub(in crate::learn) const OPS: [&str; 4] = ["replace", "insert", "delete", "update"];

/// How far a change reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeScope {
    /// Its component.
    #[default]
    #[serde(alias = "")]
    Local,
    /// All components.
    Global,
}

/// Asks for changes that would help.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LearnPlanRequest {
    /// For this component; empty is all.
    #[serde(default)]
    pub component_name: String,
    /// As the proposals will say.
    #[serde(default)]
    pub scope: ChangeScope,
}

/// Changes that would help.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LearnPlanResponse {
    /// 12 hex digits.
    #[serde(default)]
    pub plan_id: String,
    /// For `learn/refinement/review/req` and `…/apply/req`.
    #[serde(default)]
    pub proposals: Vec<Proposal>,
    /// `ready`, or `empty`.
    #[serde(default)]
    pub status: String,
}

/// A change of the policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Proposal {
    /// 12 hex digits.
    #[serde(default)]
    pub refinement_id: String,
    /// How far it reaches.
    #[serde(default)]
    pub scope: ChangeScope,
    /// What it is for.
    #[serde(default)]
    pub component_name: String,
    /// Why.
    #[serde(default)]
    pub feedback_summary: String,
    /// What is changed; at most 1,000.
    #[serde(default, deserialize_with = "limited_list")]
    pub edits: Vec<Edit>,
    /// From 0 to 1.
    #[serde(default)]
    pub confidence: f64,
    /// Seconds since the Unix epoch.
    #[serde(default)]
    pub created_at: f64,
    /// `proposed`.
    #[serde(default)]
    pub status: String,
}

/// A change of one value. What is wrong with it is found when it is applied, and told there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Edit {
    /// What is changed.
    #[serde(default)]
    #[schemars(extend("enum" = TARGETS))]
    pub target: String,
    /// How; `insert` only where nothing is.
    #[serde(default)]
    #[schemars(extend("enum" = OPS))]
    pub op: String,
    /// Names with dots between them, such as `router.weights.gpt`; a dot in a name is `\.`.
    #[serde(default)]
    pub path: String,
    /// What was there, for people.
    #[serde(default)]
    pub old_value: Value,
    /// What is to be there; null only for `delete`.
    #[serde(default)]
    pub new_value: Value,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Asks what would speak against a change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LearnReviewRequest {
    /// The change.
    #[serde(default)]
    pub proposal: Proposal,
}

/// What speaks against it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LearnReviewResponse {
    /// Whether it should be applied.
    #[serde(default)]
    pub approved: bool,
    /// Its confidence in view of the risk.
    #[serde(default)]
    pub confidence_adjusted: f64,
    /// Why.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// How much may go wrong.
    #[serde(default)]
    pub risk_level: Risk,
}

/// How much may go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Little.
    #[default]
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
}

/// Puts a change in force, whatever a review would say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LearnApplyRequest {
    /// The change.
    #[serde(default)]
    pub proposal: Proposal,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LearnApplyResponse {
    /// For `learn/refinement/rollback/req`.
    #[serde(default)]
    pub refinement_id: String,
    /// Edits that are in force.
    #[serde(default, deserialize_with = "number::integer")]
    pub applied_edits: usize,
    /// Edits that are not.
    #[serde(default, deserialize_with = "number::integer")]
    pub failed_edits: usize,
    /// Whether it can be taken back.
    #[serde(default)]
    pub rollback_available: bool,
    /// What was wrong with the edits that failed.
    #[serde(default)]
    pub error: String,
}

/// Takes a change back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LearnRollbackRequest {
    /// As `learn/refinement/apply/resp` gave it.
    #[serde(default)]
    pub refinement_id: String,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LearnRollbackResponse {
    /// As asked.
    #[serde(default)]
    pub refinement_id: String,
    /// Whether the values are as before.
    #[serde(default)]
    pub rolled_back: bool,
    /// Why not.
    #[serde(default)]
    pub error: String,
}

/// Asks what was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LearnHistoryRequest {}

/// What was changed, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LearnHistoryResponse {
    /// The last hundred.
    #[serde(default)]
    pub entries: Vec<HistoryEntry>,
}

/// One change of the past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEntry {
    /// The change.
    pub refinement_id: String,
    /// `applied` or `rolled_back`.
    pub event: String,
    /// Seconds since the Unix epoch.
    pub ts: f64,
    /// As it was proposed; absent where it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<Proposal>,
    /// Edits that came into force.
    #[serde(default)]
    pub applied_edits: usize,
    /// Edits that did not.
    #[serde(default)]
    pub failed_edits: usize,
}

message!(LearnPlanResponse, "learn/refinement/plan/resp");
message!(LearnReviewResponse, "learn/refinement/review/resp");
message!(LearnApplyResponse, "learn/refinement/apply/resp");
message!(LearnRollbackResponse, "learn/refinement/rollback/resp");
message!(LearnHistoryResponse, "learn/refinement/history/resp");
message!(LearnPlanRequest, "learn/refinement/plan/req" => LearnPlanResponse, First; subject "component_name");
message!(LearnReviewRequest, "learn/refinement/review/req" => LearnReviewResponse, First; subject "proposal.refinement_id");
message!(LearnApplyRequest, "learn/refinement/apply/req" => LearnApplyResponse, First; subject "proposal.refinement_id");
message!(LearnRollbackRequest, "learn/refinement/rollback/req" => LearnRollbackResponse, First; subject "refinement_id");
message!(LearnHistoryRequest, "learn/refinement/history/req" => LearnHistoryResponse, First);

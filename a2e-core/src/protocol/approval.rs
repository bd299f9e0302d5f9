//! Calls that wait for a person: `approval/*`. For sessions whose principal has the right `approve`.
//!
//! A session that says `approvals` among the `client_features` of its handshake is told of each call
//! (`approval/ask/push`) and of its end (`approval/over/push`); as long as there is none, calls that need
//! an approval are refused.

use serde::{Deserialize, Serialize};

use crate::codec::RawJson;
use crate::message;

/// In `client_features`: somebody is there who answers `approval/ask/push`.
pub const APPROVALS: &str = "approvals";

/// `approval/ask/push`: a call waits for a person.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ApprovalAsk {
    /// Names the call in the answer; of no use for anything else.
    pub approval_id: String,
    /// A digest of caller, message and rules. The answer repeats it: what is approved is what was shown.
    pub digest: String,
    /// Why it waits.
    pub rules: Vec<String>,
    /// The caller, as it was authenticated; empty where it was not.
    pub principal: String,
    /// What the caller calls itself.
    pub agent_id: String,
    /// The id of its request.
    pub request_id: String,
    /// The type of its request.
    pub message_type: String,
    /// The whole message, as it goes on when it is approved.
    #[cfg_attr(feature = "schema", schemars(with = "serde_json::Map<String, serde_json::Value>"))]
    pub request: RawJson,
    /// Seconds until it is refused for want of an answer.
    pub left_s: f64,
}

/// `approval/over/push`: a call waits no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ApprovalOver {
    /// Which.
    pub approval_id: String,
    /// `approved`, `denied`, `expired`, or `gone` for a call that ended while it waited.
    pub outcome: String,
    /// Who decided; empty where nobody did.
    pub by: String,
}

/// `approval/list/req`: which calls wait?
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ApprovalListRequest {}

/// `approval/list/resp`: the calls that the asker may approve, the oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct ApprovalList {
    /// Each as `approval/ask/push` tells it.
    pub approvals: Vec<ApprovalAsk>,
}

/// `approval/answer/req`: let a call go on, or refuse it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ApprovalAnswerRequest {
    /// Which call.
    pub approval_id: String,
    /// Its digest, as it was told.
    pub digest: String,
    /// Whether it may go on.
    pub approve: bool,
    /// Why not, for the caller.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// `approval/answer/resp`: the answer counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct ApprovalAnswered {
    /// Which call.
    pub approval_id: String,
    /// Whether it goes on.
    pub approved: bool,
}

message!(ApprovalAsk, "approval/ask/push");
message!(ApprovalOver, "approval/over/push");
message!(ApprovalList, "approval/list/resp");
message!(ApprovalListRequest, "approval/list/req" => ApprovalList, First);
message!(ApprovalAnswered, "approval/answer/resp");
message!(ApprovalAnswerRequest, "approval/answer/req" => ApprovalAnswered, First);

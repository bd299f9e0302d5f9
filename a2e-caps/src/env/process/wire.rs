//! What goes between host and program: the messages of `env/*`, a line each.

use a2e_core::codec::{RawJson, decode_field};
use a2e_core::protocol::{ErrorBody, ErrorCode};
use a2e_core::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::env::contract::{Observed, Push};
use crate::env::protocol::{EnvObservation, EnvStatePush};

/// A line of the program.
#[derive(Debug)]
pub(super) enum Line {
    /// `episode_id` is the program's.
    Push {
        episode_id: String,
        push: Push,
    },
    Answer {
        req_id: String,
        wire_type: String,
        body: RawJson,
    },
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    wire_type: String,
    #[serde(default)]
    req_id: String,
}

impl Line {
    /// Reads a line of the program.
    ///
    /// # Errors
    /// `sandbox_crash`: it is no message.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let refused = |why: String| {
            let shown: String = String::from_utf8_lossy(bytes).chars().take(80).collect();
            let text = format!("the program wrote what is no message ({why}): {shown}");
            Error::new(ErrorCode::SandboxCrash, text)
        };
        let text = std::str::from_utf8(bytes).map_err(|error| refused(error.to_string()))?;
        let body = RawJson::parse(text.to_owned()).map_err(|error| refused(error.to_string()))?;
        let head: Head = body.decode().map_err(|error| refused(error.to_string()))?;
        if head.wire_type == "env/state/push" {
            let push: EnvStatePush = body.decode().map_err(|error| refused(error.to_string()))?;
            let episode_id = push.episode_id;
            let push = Push {
                event_type: push.event_type,
                action_id: push.action_id,
                reason: push.reason,
                delta: push.delta,
                reward: push.reward,
                reward_info: push.reward_info,
                terminal: push.terminal,
            };
            return Ok(Self::Push { episode_id, push });
        }
        Ok(Self::Answer { req_id: head.req_id, wire_type: head.wire_type, body })
    }
}

/// The error that a program answered. Codes that speak of the host itself are not for it to say.
pub(super) fn error_of(body: &RawJson) -> Error {
    match decode_field::<ErrorBody>(body, "error") {
        Ok(body) => {
            let is_own = matches!(
                body.code,
                ErrorCode::RuntimeError
                    | ErrorCode::UnknownAction
                    | ErrorCode::ResetDenied
                    | ErrorCode::SchemaViolation
                    | ErrorCode::InvalidMessage
            );
            let code = if is_own { body.code } else { ErrorCode::RuntimeError };
            body.detail.into_iter().fold(Error::new(code, body.message), |error, (key, value)| {
                error.with_detail(&key, value)
            })
        }
        Err(error) => error,
    }
}

/// An observation without what is the host's to say.
pub(super) fn observed(obs: EnvObservation) -> (String, Observed) {
    let seen = Observed {
        state: obs.state,
        reward: obs.reward,
        done: obs.done || obs.truncated,
        truncated: obs.truncated,
        metadata: obs.metadata,
        info: obs.info,
    };
    (obs.episode_id, seen)
}

/// The id of the episode that an answer to a reset begins, as the program calls it.
pub(super) fn begun(body: &RawJson) -> Option<String> {
    #[derive(Deserialize)]
    struct Reset {
        obs: Begun,
    }
    #[derive(Deserialize)]
    struct Begun {
        episode_id: String,
    }
    body.decode::<Reset>().ok().map(|it| it.obs.episode_id)
}

/// A picture, as it stands in an answer.
#[derive(Deserialize)]
pub(super) struct Rendered {
    pub(super) render: Value,
}

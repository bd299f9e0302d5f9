//! What goes over the WebSocket of an episode: a text frame each way, in turns, without ids.

use std::collections::BTreeMap;

use a2e_core::codec::RawJson;
use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::env::contract::{JsonObject, Observed};

/// Characters of a frame that is none that are shown.
const SHOWN: usize = 80;

/// A message to the server.
#[derive(Serialize)]
#[serde(tag = "type", content = "data", rename_all = "lowercase")]
pub(super) enum Asked<'a> {
    /// The options of the reset, and the seed among them.
    Reset(BTreeMap<String, RawJson>),
    /// The fields of the action.
    Step(&'a JsonObject),
    State,
    /// Is not answered but by the end of the connection.
    Close,
}

/// A message of the server.
#[derive(Debug)]
pub(super) enum Told {
    Observation(Observed),
    State(Value),
    Error(Error),
}

#[derive(Deserialize)]
struct Frame {
    #[serde(rename = "type")]
    kind: String,
    data: RawJson,
}

/// A reward may be a truth, which counts as 1 or 0.
#[derive(Deserialize)]
#[serde(untagged)]
enum Reward {
    Number(f64),
    Truth(bool),
}

#[derive(Deserialize)]
struct Seen {
    observation: JsonObject,
    #[serde(default)]
    reward: Option<Reward>,
    #[serde(default)]
    done: bool,
    /// Hosts of A2E add these two.
    #[serde(default)]
    truncated: bool,
    #[serde(default)]
    metadata: Option<JsonObject>,
}

impl Told {
    /// Reads a frame.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let wrong = |error: serde_json::Error| {
            let shown: String = text.chars().take(SHOWN).collect();
            format!("said what is no message ({error}): {shown}")
        };
        let raw = RawJson::parse(text.to_owned()).map_err(wrong)?;
        let object: JsonObject = raw.decode().map_err(wrong)?;
        let Frame { kind, data } = object.raw().decode().map_err(wrong)?;
        match kind.as_str() {
            "observation" => {
                let seen: Seen = data.decode().map_err(wrong)?;
                Ok(Self::Observation(seen.into()))
            }
            "state" => Ok(Self::State(data.decode().map_err(wrong)?)),
            "error" => Ok(Self::Error(error_of(&data.decode().map_err(wrong)?))),
            other => {
                let shown: String = other.chars().take(SHOWN).collect();
                Err(format!("answered `{shown}`, which was not asked for"))
            }
        }
    }

    /// Whether an error ends the connection, and may come unasked.
    pub(super) fn ends(error: &Error) -> bool {
        let code = error.detail().get("openenv_code").and_then(Value::as_str).unwrap_or_default();
        ["CAPACITY_REACHED", "FACTORY_ERROR", "SESSION_ERROR"].contains(&code)
    }
}

impl From<Seen> for Observed {
    fn from(it: Seen) -> Self {
        let reward = it.reward.map(|it| match it {
            Reward::Number(reward) => reward,
            Reward::Truth(reward) => f64::from(reward),
        });
        Self {
            state: it.observation,
            reward,
            done: it.done || it.truncated,
            truncated: it.truncated,
            metadata: it.metadata,
            info: None,
        }
    }
}

/// An error of the server as one of ours; its own code stands in the detail.
fn error_of(data: &Map<String, Value>) -> Error {
    let text = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or_default();
    let code = match text("code") {
        "CAPACITY_REACHED" => ErrorCode::Overloaded,
        "FACTORY_ERROR" => ErrorCode::ResetDenied,
        "SESSION_ERROR" => ErrorCode::Unavailable,
        "VALIDATION_ERROR" => ErrorCode::SchemaViolation,
        _ => ErrorCode::RuntimeError,
    };
    let message = format!("the OpenEnv server: {}", text("message"));
    let others = data.iter().filter(|(key, _)| !["code", "message"].contains(&key.as_str()));
    let error = Error::new(code, message).with_detail("openenv_code", json!(text("code")));
    others.fold(error, |error, (key, value)| error.with_detail(key, value.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_code_and_what_is_said_beside_it() {
        for (code, ours, retryable) in [
            ("CAPACITY_REACHED", "overloaded", true),
            ("FACTORY_ERROR", "reset_denied", false),
            ("SESSION_ERROR", "unavailable", true),
            ("VALIDATION_ERROR", "schema_violation", false),
            ("EXECUTION_ERROR", "runtime_error", false),
            ("UNKNOWN_TYPE", "runtime_error", false),
            ("OF_TOMORROW", "runtime_error", false),
        ] {
            let frame = json!({ "type": "error",
                "data": { "message": "why", "code": code, "max_sessions": 1 } });
            let Ok(Told::Error(error)) = Told::read(&frame.to_string()) else { panic!("{code}") };
            assert_eq!((error.code().as_str(), error.is_retryable()), (ours, retryable), "{code}");
            assert!(error.message().ends_with("why"));
            assert_eq!(error.detail()["openenv_code"], code);
            assert_eq!(error.detail()["max_sessions"], 1);
        }
    }

    #[test]
    fn rewards_are_numbers_truths_or_none() {
        for (reward, expected) in [
            (json!(0.5), Some(0.5)),
            (json!(2), Some(2.0)),
            (json!(true), Some(1.0)),
            (json!(false), Some(0.0)),
            (Value::Null, None),
        ] {
            let frame = json!({ "type": "observation",
                "data": { "observation": {}, "reward": reward, "done": false } });
            let Ok(Told::Observation(seen)) = Told::read(&frame.to_string()) else { panic!() };
            assert_eq!(seen.reward, expected);
        }
    }

    #[test]
    fn what_is_no_message_is_told() {
        for text in [
            "",
            "hello",
            "[]",
            r#"["state",{}]"#,
            "{}",
            r#"{"type":"observation"}"#,
            r#"{"type":"observation","data":{}}"#,
            r#"{"type":"observation","data":{"observation":[]}}"#,
            r#"{"type":"observation","data":{"observation":{},"reward":"much"}}"#,
            r#"{"type":"error","data":[]}"#,
            r#"{"type":"mcp","data":{}}"#,
            &"[".repeat(100_000),
        ] {
            assert!(Told::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_asked_has_the_form_of_openenv() {
        let action = JsonObject::of(&json!({ "message": "hi" })).unwrap();
        for (asked, expected) in [
            (Asked::Step(&action), r#"{"type":"step","data":{"message":"hi"}}"#),
            (Asked::Reset(BTreeMap::new()), r#"{"type":"reset","data":{}}"#),
            (Asked::State, r#"{"type":"state"}"#),
            (Asked::Close, r#"{"type":"close"}"#),
        ] {
            assert_eq!(serde_json::to_string(&asked).unwrap(), expected);
        }
    }
}

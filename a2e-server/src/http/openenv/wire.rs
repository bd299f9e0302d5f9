//! The frames of `/ws`, as OpenEnv has them.

use std::collections::BTreeMap;

use a2e_caps::env::JsonObject;
use a2e_core::Error;
use a2e_core::codec::RawJson;
use a2e_core::protocol::ErrorCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::session::Seen;
use super::shown;

/// What a client says.
pub(super) enum Said {
    Reset(BTreeMap<String, RawJson>),
    Step(JsonObject),
    State,
    Mcp(RawJson),
}

/// What is answered.
#[derive(Serialize)]
#[serde(tag = "type", content = "data", rename_all = "lowercase")]
pub(super) enum Frame {
    Observation(Seen),
    State(Value),
    Mcp(Value),
    Error(Value),
}

#[derive(Deserialize)]
struct Head {
    #[serde(default, rename = "type")]
    kind: Value,
    #[serde(default)]
    data: Option<RawJson>,
}

impl Said {
    /// Reads a frame; `None`: the client closes.
    ///
    /// # Errors
    /// The frame that says what is wrong with it.
    pub(super) fn read(text: &str) -> Result<Option<Self>, Frame> {
        let invalid = |error: serde_json::Error| {
            Frame::error("INVALID_JSON", &format!("Invalid JSON: {error}"))
        };
        let whole = RawJson::parse(text.to_owned()).map_err(invalid)?;
        let wrong = |why: String| {
            Frame::Error(json!({
                "message": "Invalid message",
                "code": "VALIDATION_ERROR",
                "errors": [{ "loc": ["data"], "msg": why }],
            }))
        };
        let head = whole.decode::<JsonObject>().and_then(|it| it.raw().decode());
        let head: Head = head.map_err(|error| wrong(error.to_string()))?;
        let is_missing = || wrong("Field required".to_owned());
        match head.kind.as_str().unwrap_or_default() {
            "reset" => match head.data {
                None => Ok(Some(Self::Reset(BTreeMap::new()))),
                Some(data) => {
                    let data = data.decode().map_err(|error| wrong(error.to_string()))?;
                    Ok(Some(Self::Reset(data)))
                }
            },
            "step" => {
                let data = head.data.ok_or_else(is_missing)?;
                let action = data.decode().map_err(|error| wrong(error.to_string()))?;
                Ok(Some(Self::Step(action)))
            }
            "state" => Ok(Some(Self::State)),
            "mcp" => Ok(Some(Self::Mcp(head.data.ok_or_else(is_missing)?))),
            "close" => Ok(None),
            _ => {
                let text = format!("Unknown message type: {}", shown(&head.kind));
                Err(Frame::error("UNKNOWN_TYPE", &text))
            }
        }
    }
}

impl Frame {
    fn error(code: &str, message: &str) -> Self {
        Self::Error(json!({ "message": message, "code": code }))
    }

    /// An error of the host; its own code stands beside OpenEnv's.
    pub(super) fn of_error(error: &Error) -> Self {
        let code = match error.code() {
            ErrorCode::Overloaded => "CAPACITY_REACHED",
            ErrorCode::ShuttingDown => "SESSION_ERROR",
            ErrorCode::SchemaViolation | ErrorCode::InvalidMessage | ErrorCode::UnknownAction => {
                "VALIDATION_ERROR"
            }
            _ => "EXECUTION_ERROR",
        };
        let mut data = json!({
            "message": error.message(),
            "code": code,
            "error_code": error.code().as_str(),
            "retryable": error.is_retryable(),
        });
        if code == "VALIDATION_ERROR"
            && let Some(data) = data.as_object_mut()
        {
            let loc = error.detail().get("loc").cloned().unwrap_or_default();
            let errors = json!([{ "loc": [loc], "msg": error.message() }]);
            data.insert("errors".to_owned(), errors);
        }
        Self::Error(data)
    }

    /// The frame as text.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| {
            let data = json!({ "message": error.to_string(), "code": "SESSION_ERROR" });
            json!({ "type": "error", "data": data }).to_string()
        })
    }
}

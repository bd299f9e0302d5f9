//! The handshake: the client introduces itself, the host answers.

use a2e_core::protocol::approval::APPROVALS;
use a2e_core::protocol::id::random_hex;
use a2e_core::protocol::{EARLY_EVENTS, HandshakeResponse};
use serde::Serialize;

use crate::calling::read_typed;
use crate::error::ClientError;
use crate::message::Received;
use crate::options::Options;
use crate::reconnect::numbering::{Resume, ResumeAnswer};

/// `handshake/req` as a client sends it.
#[derive(Debug, Serialize)]
pub(crate) struct Greeting<'a> {
    agent_id: String,
    agent_caps: &'a [String],
    auth_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resume: Option<Resume>,
    client_features: &'static [&'static str],
}

impl<'a> Greeting<'a> {
    pub(crate) fn new(options: &'a Options, resume: Option<Resume>) -> Self {
        Self {
            agent_id: options.agent_id.clone(),
            agent_caps: &options.capabilities,
            auth_token: &options.auth_token,
            resume,
            client_features: if options.is_approver {
                &[EARLY_EVENTS, APPROVALS]
            } else {
                &[EARLY_EVENTS]
            },
        }
    }
}

/// Checks the answer: what the session may use, and whether it goes on.
pub(crate) fn read_greeting(
    answer: Received,
) -> Result<(HandshakeResponse, ResumeAnswer), ClientError> {
    let response: HandshakeResponse = read_typed(answer.clone())?;
    if !response.ok {
        let reason = if response.reason.is_empty() { "no reason given" } else { &response.reason };
        return Err(ClientError::Handshake { reason: reason.into() });
    }
    let resumed = answer.decode()?;
    Ok((response, resumed))
}

/// A random name of 8 hex digits for an agent that has none; the same for all its connections.
pub(crate) fn random_name() -> String {
    random_hex().ok().and_then(|hex| hex.get(..8).map(str::to_owned)).unwrap_or_default()
}

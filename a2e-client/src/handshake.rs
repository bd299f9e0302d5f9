//! The handshake: who we are, and what the host says to that.

use std::time::Duration;

use a2e_core::protocol::id::random_hex;
use a2e_core::protocol::{HandshakeRequest, HandshakeResponse};

use crate::client::Client;
use crate::error::ClientError;
use crate::options::Options;

/// Sends `handshake/req` and checks the answer.
pub(crate) async fn shake_hands(
    client: &Client,
    options: &Options,
    limit: Duration,
) -> Result<HandshakeResponse, ClientError> {
    let request = HandshakeRequest {
        agent_id: agent_id(options),
        agent_caps: options.capabilities.clone(),
        auth_token: options.auth_token.clone(),
    };
    let response = client.control(&request, limit).await?;
    if !response.ok {
        let reason = if response.reason.is_empty() { "no reason given" } else { &response.reason };
        return Err(ClientError::Handshake { reason: reason.into() });
    }
    Ok(response)
}

/// The given name, or a random one of 8 hex digits.
fn agent_id(options: &Options) -> String {
    if !options.agent_id.is_empty() {
        return options.agent_id.clone();
    }
    random_hex().ok().and_then(|hex| hex.get(..8).map(str::to_owned)).unwrap_or_default()
}

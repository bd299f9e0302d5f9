//! Typed calls of `skill/*` for agents in Rust.

use a2e_client::{Client, ClientError};
use serde_json::{Map, Value};

use super::protocol::{SkillCallRequest, SkillCallResponse, SkillDefinition, SkillDiscoverRequest};

/// The skills of a host.
///
/// ```no_run
/// # async fn doc(client: a2e_client::Client) -> Result<(), a2e_client::ClientError> {
/// use a2e_caps::skills::SkillClient;
///
/// let skills = SkillClient::new(&client);
/// for skill in skills.discover().await? {
///     let called = skills.call(&skill.name, Default::default()).await?;
///     assert_eq!(called.name, skill.name);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct SkillClient(Client);

impl SkillClient {
    /// Asks over this connection.
    pub fn new(client: &Client) -> Self {
        Self(client.clone())
    }

    /// All skills.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn discover(&self) -> Result<Vec<SkillDefinition>, ClientError> {
        Ok(self.0.rpc(&SkillDiscoverRequest::default()).await?.skills)
    }

    /// Calls one, without events.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn call(
        &self,
        name: &str,
        arguments: Map<String, Value>,
    ) -> Result<SkillCallResponse, ClientError> {
        let (name, streaming) = (name.to_owned(), false);
        let request = SkillCallRequest { name, arguments, streaming, ..Default::default() };
        self.0.rpc(&request).await
    }
}

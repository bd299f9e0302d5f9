//! Typed calls of `skill/*` for agents in Rust.

use a2e_client::{Client, ClientError};
use serde_json::{Map, Value};

use super::protocol::{SkillCallRequest, SkillCallResponse, SkillDefinition, SkillDiscoverRequest};

/// The skills of a host.
///
/// ```
/// use a2e_caps::skills::SkillClient;
/// use a2e_client::{Client, Options};
/// # use a2e_core::{Executor, config::{HostConfig, PluginConfig}};
///
/// # a2e_caps::link();
/// # let root = tempfile::tempdir().unwrap();
/// # std::fs::create_dir(root.path().join("greet")).unwrap();
/// # let text = "---\nname: greet\ndescription: Greets.\n---\nGreet kindly.";
/// # std::fs::write(root.path().join("greet/SKILL.md"), text).unwrap();
/// # let runtime = tokio::runtime::Runtime::new().unwrap();
/// # runtime.block_on(async {
/// # let plugin = PluginConfig::new("skills", "skill", "a2e.caps.skills.plugin.SkillPlugin")
/// #     .with_setting("roots", [root.path().to_str().unwrap()]);
/// # let host = Executor::builder(HostConfig::new().plugin(plugin)).start().await.unwrap();
/// let client = Client::connect(host.connect(), Options::new("doc")).await?;
/// let skills = SkillClient::new(&client);
/// for skill in skills.discover().await? {
///     let called = skills.call(&skill.name, Default::default()).await?;
///     let result = called.data.expect("a host gives it");
///     assert_eq!(result.data["prompt"], "Greet kindly.");
/// }
/// # client.close().await;
/// # Ok::<(), a2e_client::ClientError>(())
/// # }).unwrap();
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

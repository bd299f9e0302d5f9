//! Typed calls of `toolkit/*` for agents in Rust.

use a2e_client::{Client, ClientError};
use serde::Serialize;
use serde_json::Value;

use super::protocol::{ToolkitConfigureRequest, ToolkitDefinition, ToolkitListRequest};

/// The toolkits of a host. Cheap to clone.
///
/// ```
/// use a2e_caps::toolkits::Toolkits;
/// use a2e_client::{Client, Options};
/// # use a2e_core::{Executor, config::{HostConfig, PluginConfig}};
/// use serde_json::json;
///
/// # a2e_caps::link();
/// # let folder = tempfile::tempdir().unwrap();
/// # let runtime = tokio::runtime::Runtime::new().unwrap();
/// # runtime.block_on(async {
/// # let plugin = PluginConfig::new("toolkits", "toolkits", "a2e.caps.toolkits.plugin.ToolkitPlugin")
/// #     .with_setting("filesystem", json!({ "within": [folder.path()] }));
/// # let host = Executor::builder(HostConfig::new().plugin(plugin)).start().await.unwrap();
/// let client = Client::connect(host.connect(), Options::new("doc")).await?;
/// let toolkits = Toolkits::new(&client);
///
/// toolkits.configure("filesystem", &json!({ "root": "." })).await?;
/// let files = toolkits.list().await?.into_iter().find(|it| it.name == "filesystem").unwrap();
/// assert!(files.configured && files.tools.contains(&"filesystem__read_file".to_owned()));
/// # client.close().await;
/// # Ok::<(), a2e_client::ClientError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Toolkits(Client);

impl Toolkits {
    /// The toolkits behind this connection.
    pub fn new(client: &Client) -> Self {
        Self(client.clone())
    }

    /// All of them.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn list(&self) -> Result<Vec<ToolkitDefinition>, ClientError> {
        self.find(&ToolkitListRequest::default()).await
    }

    /// Those of a category that have all tags.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn find(
        &self,
        request: &ToolkitListRequest,
    ) -> Result<Vec<ToolkitDefinition>, ClientError> {
        Ok(self.0.rpc(request).await?.toolkits)
    }

    /// Configures a toolkit for this session; its tools are in `tool/list` then.
    ///
    /// # Errors
    /// As [`Client::rpc`]; [`ClientError::Protocol`] when the configuration is no object.
    pub async fn configure<T: Serialize + ?Sized>(
        &self,
        name: &str,
        config: &T,
    ) -> Result<(), ClientError> {
        let unfit = |why: &str| ClientError::Protocol(format!("the configuration {why}").into());
        let config = serde_json::to_value(config).map_err(|error| unfit(&error.to_string()))?;
        let Value::Object(config) = config else { return Err(unfit("is no object")) };
        let toolkit_name = name.to_owned();
        let request = ToolkitConfigureRequest { toolkit_name, config, session_id: String::new() };
        self.0.rpc(&request).await.map(drop)
    }
}

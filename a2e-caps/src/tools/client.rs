//! Typed calls of `tool/*` for agents and for programs that test hosts.

use std::time::Duration;

use a2e_client::{CallOptions, Calling, Client, ClientError, EventMessage, Subscription};
use a2e_core::codec::{RawJson, encode_value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::protocol::{
    ToolCallRequest, ToolCallResponse, ToolDefinition, ToolListRequest, ToolResult,
};

/// How much longer than the host the client waits, for the way there and back.
const GRACE: Duration = Duration::from_secs(5);

/// The tools of a host. Cheap to clone.
///
/// ```
/// use a2e_caps::tools::client::ToolClient;
/// use a2e_client::{Client, Options};
/// use a2e_core::{Executor, config::{HostConfig, PluginConfig}};
///
/// # let runtime = tokio::runtime::Runtime::new().unwrap();
/// # runtime.block_on(async {
/// # a2e_caps::link();
/// let demo = PluginConfig::new("demo", "tools", "a2e.caps.demo.plugin.DemoToolPlugin");
/// let host = Executor::builder(HostConfig::new().plugin(demo)).start().await.unwrap();
/// let client = Client::connect(host.connect(), Options::new("doc")).await?;
///
/// let tools = ToolClient::new(&client);
/// assert!(tools.list().await?.iter().any(|tool| tool.name == "echo"));
/// let result = tools.call("echo", &serde_json::json!({ "text": "hi" })).await?;
/// assert_eq!(result.data.unwrap().get(), r#"{"text":"hi"}"#);
/// # client.close().await;
/// # Ok::<(), a2e_client::ClientError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct ToolClient {
    client: Client,
    timeout: Duration,
}

impl ToolClient {
    /// The tools behind this connection; a call may take a minute.
    pub fn new(client: &Client) -> Self {
        Self { client: client.clone(), timeout: Duration::from_mins(1) }
    }

    /// Sets how long a call may take, in whole seconds; the host ends it then with `timeout`.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// The tools that are listed unasked.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn list(&self) -> Result<Vec<ToolDefinition>, ClientError> {
        self.find(&ToolListRequest::default()).await
    }

    /// The tools that have all tags and match the query.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn find(
        &self,
        request: &ToolListRequest,
    ) -> Result<Vec<ToolDefinition>, ClientError> {
        Ok(self.client.rpc(request).await?.tools)
    }

    /// Runs a tool. `arguments` is a struct or a map.
    ///
    /// # Errors
    /// As [`Client::rpc`]; a tool that ran and failed may also say so in the result.
    pub async fn call<T: Serialize + ?Sized>(
        &self,
        tool: &str,
        arguments: &T,
    ) -> Result<ToolResult, ClientError> {
        self.start(tool, arguments, false).await?.reply().await.map(|reply| reply.data)
    }

    /// As [`call`](Self::call), for a result of a known form: the built-in tools give one.
    ///
    /// ```no_run
    /// # async fn doc(tools: a2e_caps::tools::client::ToolClient) -> Result<(), a2e_client::ClientError> {
    /// #[derive(serde::Deserialize)]
    /// struct Edited { replacements: usize, diff: String }
    ///
    /// let edits = serde_json::json!([{ "old": "colour", "new": "color", "count": 3 }]);
    /// let arguments = serde_json::json!({ "path": "notes.md", "edits": edits });
    /// let edited: Edited = tools.call_as("edit_file", &arguments).await?;
    /// assert_eq!(edited.replacements, 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ClientError::Protocol`] when the tool says that it failed or its
    /// result has another form.
    pub async fn call_as<T: DeserializeOwned>(
        &self,
        tool: &str,
        arguments: &(impl Serialize + ?Sized),
    ) -> Result<T, ClientError> {
        let result = self.call(tool, arguments).await?;
        let failed = |why: String| ClientError::Protocol(format!("tool `{tool}`: {why}").into());
        if !result.success {
            return Err(failed(result.error.unwrap_or_else(|| "it failed".to_owned())));
        }
        let data = result.data.ok_or_else(|| failed("no `data`".to_owned()))?;
        data.decode().map_err(|error| failed(error.to_string()))
    }

    /// How many tools are left out of lists because their definition is not the approved one.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn quarantined(&self) -> Result<usize, ClientError> {
        Ok(self.client.rpc(&ToolListRequest::default()).await?.quarantined)
    }

    /// As [`call`](Self::call); `on_event` gets what the tool reports while it works.
    ///
    /// # Errors
    /// As [`Client::rpc_with_events`].
    pub async fn call_with_events<T: Serialize + ?Sized>(
        &self,
        tool: &str,
        arguments: &T,
        mut on_event: impl FnMut(EventMessage),
    ) -> Result<ToolResult, ClientError> {
        let mut calling = self.start(tool, arguments, true).await?;
        while let Some(event) = calling.next_event().await {
            on_event(event);
        }
        calling.reply().await.map(|reply| reply.data)
    }

    /// Starts a tool and gives back the call, for its events and its reply. Dropping it cancels.
    ///
    /// # Errors
    /// What keeps it from being sent.
    pub async fn start<T: Serialize + ?Sized>(
        &self,
        tool: &str,
        arguments: &T,
        streaming: bool,
    ) -> Result<Calling<ToolCallResponse>, ClientError> {
        let request = ToolCallRequest {
            session_id: String::new(),
            tool_name: tool.to_owned(),
            arguments: raw(arguments)?,
            correlation_id: String::new(),
            streaming,
            timeout: i64::try_from(self.timeout.as_secs().max(1)).unwrap_or(i64::MAX),
        };
        let limit = CallOptions::within(self.timeout.saturating_add(GRACE));
        self.client.call_with(&request, limit).await
    }

    /// Runs `on_change` whenever the host says that its tools are others than before.
    #[must_use = "the handler goes with the subscription"]
    pub fn on_change(&self, on_change: impl Fn() + Send + Sync + 'static) -> Subscription {
        self.client.on_push("tool/changed/push", move |_| on_change())
    }
}

fn raw<T: Serialize + ?Sized>(arguments: &T) -> Result<RawJson, ClientError> {
    let text = String::from_utf8_lossy(&encode_value(arguments)?).into_owned();
    RawJson::parse(text).map_err(|error| ClientError::Protocol(error.to_string().into()))
}

//! Typed calls of `chain/*` for agents in Rust.

use std::time::Duration;

use a2e_client::{CallOptions, Client, ClientError};

use super::protocol::{ChainEvent, ChainRequest, ChainResponse};

/// How much longer than the host the client waits, for the way there and back.
const GRACE: Duration = Duration::from_secs(5);

/// The chains of a host. Cheap to clone.
///
/// ```
/// use a2e_caps::chains::{ChainNode, ChainRequest, Chains};
/// use a2e_client::{Client, Options};
/// # use a2e_core::{Executor, config::{HostConfig, PluginConfig}};
///
/// # a2e_caps::link();
/// # let runtime = tokio::runtime::Runtime::new().unwrap();
/// # runtime.block_on(async {
/// # let demo = PluginConfig::new("demo", "tools", "a2e.caps.demo.plugin.DemoToolPlugin");
/// # let chains = PluginConfig::new("chains", "chains", "a2e.caps.chains.plugin.ChainPlugin");
/// # let config = HostConfig::new().plugin(demo).plugin(chains);
/// # let host = Executor::builder(config).start().await.unwrap();
/// let client = Client::connect(host.connect(), Options::new("doc")).await?;
/// let chains = Chains::new(&client);
///
/// let first = ChainNode::tool("first", "echo").with("text", "$.greeting").then("second");
/// let second = ChainNode::tool("second", "echo").with("text", "$.first.text");
/// let chain = ChainRequest::new([first, second]).input("greeting", "hello");
/// let done = chains.run(&chain).await?;
/// assert!(done.success);
/// assert_eq!(done.final_output["text"], "hello");
/// # client.close().await;
/// # Ok::<(), a2e_client::ClientError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Chains(Client);

impl Chains {
    /// The chains behind this connection.
    pub fn new(client: &Client) -> Self {
        Self(client.clone())
    }

    /// Runs a chain. One that failed says so in the reply.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn run(&self, chain: &ChainRequest) -> Result<ChainResponse, ClientError> {
        let chain = ChainRequest { streaming: false, ..chain.clone() };
        self.run_with_events(&chain, |_| ()).await
    }

    /// As [`run`](Self::run); `on_event` gets what is told of the nodes meanwhile.
    ///
    /// # Errors
    /// As `run`.
    pub async fn run_with_events(
        &self,
        chain: &ChainRequest,
        mut on_event: impl FnMut(ChainEvent),
    ) -> Result<ChainResponse, ClientError> {
        let seconds = u64::try_from(chain.timeout).ok().filter(|it| *it > 0).unwrap_or(300);
        let limit = CallOptions::within(Duration::from_secs(seconds).saturating_add(GRACE));
        let mut calling = self.0.call_with(chain, limit).await?;
        while let Some(event) = calling.next_event().await {
            on_event(event.message().decode()?);
        }
        calling.reply().await
    }
}

//! Answers `chain/req`: checks the chain as a whole, then runs it as a future.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
use a2e_core::protocol::id::random_hex;
use a2e_core::request::Call;
use a2e_core::{Error, Result, register_plugin};
use schemars::JsonSchema;
use serde::Deserialize;

use super::nodes::Worker;
use super::plan::Plan;
use super::protocol::{ChainRequest, ChainResponse};
use super::run::{Run, limit};
use super::tools::{ChainTool, ChainTools};
use crate::tools::contract::ToolProvider;

/// Requests that one request may lead to at a time, less some for what those lead to.
const MOST_PARALLEL: usize = 32;

/// The settings of a chains plugin.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ChainConfig {
    /// Items of a map that run at a time; 32 at most.
    #[serde(default = "max_parallel")]
    pub max_parallel: NonZeroUsize,
    /// Most nodes of a chain.
    #[serde(default = "max_nodes")]
    pub max_nodes: NonZeroUsize,
    /// Most items of a map.
    #[serde(default = "max_items")]
    pub max_items: NonZeroUsize,
    /// Most bytes of all outputs of a chain as its reply has them, and of what the paths of a node find; three
    /// quarters of `global_limits.max_line_bytes` by default.
    #[serde(default)]
    pub max_output_bytes: Option<NonZeroUsize>,
    /// Chains that are tools of their own, by name.
    #[serde(default)]
    pub tools: BTreeMap<String, ChainTool>,
}

fn max_parallel() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(7)
}

fn max_nodes() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(999)
}

fn max_items() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(999)
}

/// The bounds of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) nodes: usize,
    pub(super) parallel: usize,
    pub(super) items: usize,
    pub(super) bytes: usize,
}

/// Runs chains; it keeps nothing.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    host: Host,
    pub(super) limits: Limits,
}

/// Answers for chains, and offers those of the settings.
struct ChainPlugin {
    runner: Runner,
    tools: Arc<ChainTools>,
}

impl ChainPlugin {
    fn new(config: ChainConfig, host: &Host) -> Result<Self> {
        let parallel = config.max_parallel.get();
        if parallel > MOST_PARALLEL {
            let text = format!("max_parallel: {parallel} is above {MOST_PARALLEL}");
            return Err(Error::runtime(text));
        }
        // The rest of a line is for what else stands in a reply.
        let most = host.config().limits.max_line_bytes / 4 * 3;
        let limits = Limits {
            nodes: config.max_nodes.get(),
            parallel,
            items: config.max_items.get(),
            bytes: config.max_output_bytes.map_or(most, NonZeroUsize::get),
        };
        let runner = Runner { host: host.clone(), limits };
        let tools = Arc::new(ChainTools::new(runner.clone(), config.tools)?);
        Ok(Self { runner, tools })
    }

    async fn run(self: Arc<Self>, request: ChainRequest, call: Call) -> Answer<ChainResponse> {
        if !request.streaming {
            call.mute();
        }
        self.runner.run(request, call).await.map(Into::into)
    }
}

impl Runner {
    /// Looks at a chain and runs it to its end.
    ///
    /// # Errors
    /// When the system gives no random bytes; what is wrong with a chain stands in the response.
    pub(super) async fn run(&self, mut request: ChainRequest, call: Call) -> Result<ChainResponse> {
        if request.chain_id.is_empty() {
            request.chain_id = random_hex()?.chars().take(8).collect();
        }
        let plan = match Plan::of(&request, self.limits.nodes) {
            Ok(plan) => plan,
            Err(error) => {
                let (chain_id, code) = (request.chain_id, Some(error.code.clone()));
                return Ok(ChainResponse {
                    chain_id,
                    code,
                    error: Some(error),
                    ..Default::default()
                });
            }
        };
        // The wait for a permit has its end already: what the call has left is less by it.
        let (started, limit) = (self.host.now(), limit(&request, &call));
        let worker = Worker { call, host: self.host.clone() };
        let run = Run { request: &request, plan, worker, limits: self.limits, started, limit };
        Ok(run.to_end().await)
    }
}

impl Plugin for ChainPlugin {
    fn handlers(on: &mut Handlers<Self>) {
        on.future(Self::run);
    }

    fn start(&self, host: &Host) -> Result<()> {
        if !self.tools.is_empty() {
            let tools: Arc<dyn ToolProvider> = Arc::clone(&self.tools) as _;
            host.contribute::<dyn ToolProvider>(host.plugin().as_str(), tools)?.keep();
        }
        Ok(())
    }
}

register_plugin!(
    ChainPlugin,
    cls = "a2e.caps.chains.plugin.ChainPlugin",
    capability = "chains",
    config = ChainConfig,
    build = ChainPlugin::new,
    about = "runs chains of tools, skills and programs, with branches and maps",
    default_settings = Some("{}")
);

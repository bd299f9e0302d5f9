//! Answers `mcp/*`: keeps the servers of the settings and those that messages register, and offers what
//! they have.

mod ask;
mod register;
mod serve;
mod several;

use std::sync::Arc;

use a2e_core::plugin::{Answer, Handlers, Host, Outcome, Plugin};
use a2e_core::protocol::SessionId;
use a2e_core::request::Call;
use a2e_core::{Result, register_plugin};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::config::McpConfig;
use super::contract::{PromptProvider, ResourceProvider};
use super::offers::{Prompts, Resources, Servers};
use super::protocol::{
    ElicitResponse, RootListRequest, RootListResponse, SampleResponse, ServerListRequest,
    ServerListResponse,
};
use super::upstream::{Shared, Upstream};
use crate::tools::contract::ToolProvider;

/// Servers that begin to start at a time.
const STARTS: usize = 16;

/// Servers of MCP, and what they offer.
struct MCPPlugin {
    config: McpConfig,
    host: Host,
    servers: Arc<Servers>,
}

impl std::fmt::Debug for MCPPlugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MCPPlugin `{}`", self.host.plugin())
    }
}

impl MCPPlugin {
    fn new(config: McpConfig, host: &Host) -> Result<Self> {
        config.check()?;
        let shared = Shared {
            host: host.clone(),
            roots: config.roots.clone(),
            idle_stop: std::time::Duration::try_from_secs_f64(config.idle_stop).unwrap_or_default(),
            starts: Arc::new(Semaphore::new(STARTS)),
            state_dir: config.state_dir(),
        };
        let servers = Servers::new(Arc::new(shared));
        for (id, server) in &config.servers.0 {
            if !server.disabled {
                let upstream = Upstream::new(id.clone(), server.clone(), false, &servers.shared);
                servers.add(&upstream, 0);
            }
        }
        Ok(Self { config, host: host.clone(), servers })
    }

    fn list(&self, request: ServerListRequest, _call: &Call) -> Answer<ServerListResponse> {
        let all = self.servers.all();
        let infos = all.iter().map(|it| it.info());
        let wanted =
            |status: &str| request.status_filter.is_empty() || request.status_filter == status;
        let servers = infos.filter(|info| wanted(info.status.as_str())).collect();
        Ok(ServerListResponse { servers }.into())
    }

    fn roots(&self, request: RootListRequest, _call: &Call) -> Answer<RootListResponse> {
        let RootListRequest { server_id, mcp_request_id } = request;
        let roots = self.config.roots.clone();
        Ok(RootListResponse { server_id, mcp_request_id, roots }.into())
    }

    /// An answer to a question that nobody waits for any more.
    fn late_sample(&self, _: SampleResponse, _: &Call) -> Answer<a2e_core::protocol::NoReply> {
        Ok(Outcome::Nothing)
    }

    fn late_elicit(&self, _: ElicitResponse, _: &Call) -> Answer<a2e_core::protocol::NoReply> {
        Ok(Outcome::Nothing)
    }

    /// Waits for the lists of servers that were never heard, for a moment.
    fn wait_for_lists(&self) {
        let unheard: Vec<Arc<Upstream>> =
            self.servers.all().into_iter().filter(|it| it.known().is_none()).collect();
        let limit = self.config.start_wait();
        if unheard.is_empty() || limit.is_zero() {
            return;
        }
        let all = async {
            for upstream in &unheard {
                // One that fails is told by its keeper.
                upstream.heard().await.ok();
            }
        };
        // Called on a thread that may block, within the host's runtime.
        let waited = Handle::current().block_on(async { tokio::time::timeout(limit, all).await });
        if waited.is_err() {
            tracing::info!(plugin = %self.host.plugin(), "some servers of MCP are still starting");
        }
    }
}

impl Plugin for MCPPlugin {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Self::list);
        on.inline(Self::roots);
        on.inline(Self::late_sample);
        on.inline(Self::late_elicit);
        on.future(register::register);
        on.future(register::unregister);
        on.inline(serve::resources);
        on.inline(serve::prompts);
        on.future(serve::read);
        on.future(serve::subscribe);
        on.future(serve::prompt);
        on.future(ask::ask);
    }

    fn start(&self, host: &Host) -> Result<()> {
        let name = host.plugin().as_str();
        // By which such plugins of a host know of each other.
        host.contribute(name, Arc::clone(&self.servers))?.keep();
        let tools: Arc<dyn ToolProvider> = Arc::clone(&self.servers) as _;
        host.contribute::<dyn ToolProvider>(name, tools)?.keep();
        let resources: Arc<dyn ResourceProvider> = Arc::new(Resources(Arc::clone(&self.servers)));
        host.contribute::<dyn ResourceProvider>(name, resources)?.keep();
        let prompts: Arc<dyn PromptProvider> = Arc::new(Prompts(Arc::clone(&self.servers)));
        host.contribute::<dyn PromptProvider>(name, prompts)?.keep();
        for upstream in self.servers.all() {
            upstream.keep();
        }
        self.wait_for_lists();
        Ok(())
    }

    fn session_ended(&self, session: &SessionId) {
        for upstream in self.servers.all() {
            upstream.session_ended(session);
        }
    }

    fn notes(&self) -> Vec<String> {
        self.servers.all().iter().flat_map(|it| it.notes()).collect()
    }

    fn teardown(&self) {
        self.servers.clear();
    }
}

register_plugin!(
    MCPPlugin,
    cls = "a2e.caps.mcp.plugin.MCPPlugin",
    capability = "mcp",
    config = McpConfig,
    build = MCPPlugin::new,
    about = "servers of the Model Context Protocol: their tools, resources and prompts"
);

//! Answers `toolkit/*`, and offers the tools of what is configured.

use std::collections::BTreeMap;
use std::sync::Arc;

use a2e_core::plugin::{Answer, Handlers, Host, Plugin, Scope};
use a2e_core::protocol::{Changed, SessionId};
use a2e_core::request::Call;
use a2e_core::snapshot::State;
use a2e_core::{Result, register_plugin};
use serde_json::{Map, Value};

use super::config::ToolkitConfig;
use super::configured::Toolkits;
use super::kits;
use super::protocol::{
    ToolkitConfigureRequest, ToolkitConfigureResponse, ToolkitDefinition, ToolkitListRequest,
    ToolkitListResponse, ToolkitStatus,
};
use crate::tools::contract::ToolProvider;

/// Configurations of a session, by toolkit.
type Kept = BTreeMap<String, Map<String, Value>>;

/// Keeps what each session has configured.
struct ToolkitPlugin {
    host: Host,
    toolkits: Arc<Toolkits>,
}

impl ToolkitPlugin {
    fn new(config: ToolkitConfig, host: &Host) -> Result<Self> {
        // As the tools plugin: half a line for a result, and some of it for the fields beside the content.
        let half = host.config().limits.max_line_bytes / 2;
        let budget = half - half.min(64 * 1024) / 2;
        let toolkits = Arc::new(Toolkits::new(host, kits::built_in(config, budget)?)?);
        Ok(Self { host: host.clone(), toolkits })
    }

    #[allow(clippy::unnecessary_wraps, reason = "the shape of a handler")]
    fn list(&self, request: ToolkitListRequest, call: &Call) -> Answer<ToolkitListResponse> {
        let session = call.session_id();
        let all = self.toolkits.all_for(call).into_iter();
        let all = all.map(|it| self.toolkits.definition(it.about, session));
        let toolkits = all.filter(|it| selects(&request, it)).collect();
        Ok(ToolkitListResponse { toolkits }.into())
    }

    fn configure(
        &self,
        request: ToolkitConfigureRequest,
        call: &Call,
    ) -> Answer<ToolkitConfigureResponse> {
        let ToolkitConfigureRequest { toolkit_name, config, .. } = request;
        let is_new = self.toolkits.configure(&toolkit_name, &config, call)?;
        if !is_new {
            // The host's tools are those that they were, those of this session may be others.
            let (session, generation) = (call.session(), self.host.contribution_generation());
            call.after_reply(move |_| {
                let body = Changed { generation };
                if let Err(error) = session.push_as("tool/changed/push", &body, None) {
                    tracing::debug!(%error, "a session does not hear of its tools");
                }
            });
        }
        let (status, message) = (ToolkitStatus::Ok, None);
        Ok(ToolkitConfigureResponse { toolkit_name, status, message }.into())
    }
}

impl Plugin for ToolkitPlugin {
    fn handlers(on: &mut Handlers<Self>) {
        on.pool(Self::list);
        on.blocking(Self::configure);
    }

    fn start(&self, host: &Host) -> Result<()> {
        let provider: Arc<dyn ToolProvider> = Arc::clone(&self.toolkits) as _;
        host.contribute::<dyn ToolProvider>(host.plugin().as_str(), provider)?.keep();
        Ok(())
    }

    fn session_ended(&self, session: &SessionId) {
        self.toolkits.forget(session);
    }

    fn save(&self, scope: Scope<'_>) -> Result<Option<State>> {
        let Scope::Session(session) = scope else { return Ok(None) };
        self.toolkits.kept(session).map(|kept| State::json(1, &kept)).transpose()
    }

    fn restore(&self, scope: Scope<'_>, state: State) -> Result<()> {
        let Scope::Session(session) = scope else { return Ok(()) };
        for (name, config) in state.decode::<Kept>()? {
            // What the operator has closed meanwhile stays closed.
            if let Err(error) = self.toolkits.configure_again(&name, &config, session) {
                tracing::warn!(toolkit = name, %error, "a toolkit is not configured again");
            }
        }
        Ok(())
    }

    fn clear(&self, scope: Scope<'_>) -> Result<()> {
        if let Scope::Session(session) = scope {
            self.toolkits.forget(session);
        }
        Ok(())
    }
}

fn selects(request: &ToolkitListRequest, toolkit: &ToolkitDefinition) -> bool {
    let has = |tag: &String| toolkit.tags.iter().any(|it| it.eq_ignore_ascii_case(tag));
    (request.filter_kind.is_empty() || request.filter_kind == toolkit.category)
        && request.filter_tags.iter().all(|tag| tag.is_empty() || has(tag))
}

register_plugin!(
    ToolkitPlugin,
    cls = "a2e.caps.toolkits.plugin.ToolkitPlugin",
    capability = "toolkits",
    config = ToolkitConfig,
    build = ToolkitPlugin::new,
    about = "bundles of tools that a session configures: filesystem, http, sqlite"
);

//! The front's plugin in the host: what plugins offer beside tools, and what they ask clients.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use a2e_caps::mcp::contract::{AskRequest, AskResponse, Question};
use a2e_caps::tools::contract::ToolProvider;
use a2e_core::plugin::{Answer, Contribution, Handlers, Host, Outcome, Plugin};
use a2e_core::protocol::ErrorCode;
use a2e_core::request::Call;
use a2e_core::{Error, Result, message};
use dashmap::DashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};

use super::listing;

/// Rounds of questions that a call may have waiting; the plugin that asks waits for room.
const ROUNDS: usize = 4;

/// `mcp/offer/req`: what plugins offer to MCP clients beside tools.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct OfferRequest {
    /// The method of MCP: `resources/list`, `resources/templates/list`, `resources/read`, `skills/list`,
    /// `skills/get`, `prompts/list`, `prompts/get` or `completion/complete`.
    pub(super) method: String,
    /// Its parameters, as MCP has them.
    #[serde(default)]
    pub(super) params: Map<String, Value>,
}

/// `mcp/offer/resp`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct OfferResponse {
    /// The result, as MCP has it.
    pub(super) result: Map<String, Value>,
}

message!(OfferResponse, "mcp/offer/resp");
message!(OfferRequest, "mcp/offer/req" => OfferResponse, First, TimeoutField(300);
    subject "method", "params.uri", "params.name");

/// Questions of a plugin, and where the answers go.
pub(super) struct Asked {
    pub(super) questions: BTreeMap<String, Question>,
    answers: oneshot::Sender<Result<AskResponse>>,
}

impl Asked {
    pub(super) fn reply(self, answer: Result<AskResponse>) {
        let _gone = self.answers.send(answer);
    }

    /// Resolves when the plugin waits no more.
    pub(super) async fn gone(&mut self) {
        self.answers.closed().await;
    }
}

/// What the front and its plugin share.
#[derive(Default)]
pub(super) struct Desk {
    host: OnceLock<Host>,
    /// The calls of clients whose plugins may ask, by session and mark.
    calls: DashMap<(String, String), mpsc::Sender<Asked>>,
}

/// Keeps a call in the table of the desk.
pub(super) struct Listed {
    desk: Arc<Desk>,
    key: (String, String),
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.desk.calls.remove(&self.key);
    }
}

impl Desk {
    /// The questions of plugins that work for the call with this mark.
    pub(super) fn listen(
        self: &Arc<Self>,
        session: &str,
        mark: &str,
    ) -> (Listed, mpsc::Receiver<Asked>) {
        let (sender, asked) = mpsc::channel(ROUNDS);
        let key = (session.to_owned(), mark.to_owned());
        self.calls.insert(key.clone(), sender);
        (Listed { desk: Arc::clone(self), key }, asked)
    }

    /// Sees what plugins offer change.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        let none = || watch::channel(0).1;
        self.host.get().map_or_else(none, Host::watch_contributions)
    }

    /// Rises when what plugins offer changes; 0 before the host has started.
    pub(super) fn generation(&self) -> u64 {
        self.host.get().map(Host::contribution_generation).unwrap_or_default()
    }

    /// The tools of all plugins, for every session: for what is looked up by a name that one tool has.
    pub(super) fn all_tools(&self) -> Vec<Contribution<dyn ToolProvider>> {
        self.host.get().map(Host::contributions).unwrap_or_default()
    }

    /// What plugins that a tenant sees contribute of a type.
    pub(super) fn contributed<T: ?Sized + Send + Sync + 'static>(
        &self,
        tenant: Option<&str>,
    ) -> Vec<Contribution<T>> {
        self.host.get().map(|host| host.contributions_for(tenant)).unwrap_or_default()
    }
}

/// The plugin.
pub(super) struct DeskPlugin(Arc<Desk>);

impl DeskPlugin {
    pub(super) fn new(desk: &Arc<Desk>) -> Self {
        Self(Arc::clone(desk))
    }

    async fn ask(self: Arc<Self>, request: AskRequest, call: Call) -> Answer<AskResponse> {
        let mark = call.correlation_id().unwrap_or_default();
        let key = (call.session_id().to_string(), mark.to_owned());
        let sender = self.0.calls.get(&key).map(|it| it.clone());
        let Some(sender) = sender else {
            let text = "the client of this session speaks no MCP";
            return Ok(Outcome::Pass(Error::new(ErrorCode::McpCapabilityMissing, text)));
        };
        let (answers, answer) = oneshot::channel();
        let asked = Asked { questions: request.questions, answers };
        let gone = || Error::new(ErrorCode::Cancelled, "the client waits for this call no more");
        sender.send(asked).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map(Into::into)
    }

    async fn offer(self: Arc<Self>, request: OfferRequest, call: Call) -> Answer<OfferResponse> {
        let result = listing::answer(&self.0, &request.method, request.params, call).await?;
        Ok(OfferResponse { result }.into())
    }
}

impl Plugin for DeskPlugin {
    fn handlers(on: &mut Handlers<Self>) {
        on.future(Self::ask);
        on.future(Self::offer);
    }

    fn start(&self, host: &Host) -> Result<()> {
        // The program makes it once and gives it to one host.
        let _same = self.0.host.set(host.clone());
        Ok(())
    }
}

//! A connection to an MCP server. The types of rmcp stay in this folder: what goes in and out is JSON as
//! the protocol has it.

mod fate;
mod flights;
mod http;
mod service;
mod sse;
mod stdio;
mod subscribe;
mod tap;
mod tasks;
mod token;

use std::collections::BTreeMap;
use std::sync::Arc;

use a2e_core::plugin::BoxFuture;
use a2e_core::protocol::ErrorCode;
use a2e_core::request::Call;
use a2e_core::{Error, Result};
use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, ClientRequest, GetExtensions,
    ProtocolVersion, RequestId,
};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, Peer, PeerRequestOptions, RoleClient, ServiceError,
    serve_client_with_lifecycle_and_ct,
};
use rmcp::transport::Transport;
use serde_json::{Map, Value, json};

pub(super) use fate::{Fate, gone};
pub(super) use flights::Asker;
pub(super) use http::Http;
pub(super) use stdio::Stdio;
pub(super) use subscribe::Watched;
pub(super) use token::TokenSource;

use flights::{FlightNumber, Flights, OpenFlight};
use service::Handler;
use tap::Tap;
use tasks::wants_task;

/// Most rounds in which a server asks before it answers.
const MAX_ROUNDS: usize = 10;

/// Most pages of a list.
const MAX_PAGES: usize = 256;

/// Most entries of a list.
const MAX_ENTRIES: usize = 4096;

/// What a server tells and asks by itself.
pub(super) trait Upcalls: Send + Sync + 'static {
    /// A notification, in the order of their coming. Never waits.
    fn notified(&self, method: &str, params: Map<String, Value>);

    /// Questions of the server, in the course of a call where that is known; the answers by id.
    fn ask(
        self: Arc<Self>,
        questions: Vec<Question>,
        call: Option<Call>,
    ) -> BoxFuture<Result<BTreeMap<String, Value>, Refusal>>;
}

/// A question of a server.
#[derive(Debug)]
pub(super) struct Question {
    /// The server's id of it, or the key of an input that a result requires.
    pub(super) id: String,
    pub(super) method: String,
    pub(super) params: Map<String, Value>,
}

/// Why a question gets no answer: an error of JSON-RPC.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: i32,
    pub(super) message: String,
}

/// How a conversation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Opening {
    /// With `initialize`.
    Initialize,
    /// With `server/discover`.
    Discover,
    /// With `server/discover`, then with `initialize` where that is not known.
    Probe,
}

/// Why a conversation did not begin.
#[derive(Debug)]
pub(super) struct NotOpened {
    pub(super) error: Error,
    /// Whether the server answered, and did not know this way to begin.
    pub(super) is_other_era: bool,
}

/// What a server says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) version: String,
    pub(super) server_name: String,
    pub(super) server_version: String,
    pub(super) capabilities: Map<String, Value>,
    /// Whether it speaks the revision without sessions.
    pub(super) is_modern: bool,
}

impl Facts {
    /// Whether it has this capability, as `resources` or `resources.subscribe`.
    pub(super) fn can(&self, capability: &str, part: &str) -> bool {
        let has = self.capabilities.get(capability);
        has.is_some_and(|it| part.is_empty() || it.get(part).and_then(Value::as_bool) == Some(true))
    }
}

/// An open connection. Dropping it closes it.
pub(super) struct Link {
    peer: Peer<RoleClient>,
    flights: Arc<Flights>,
    upcalls: Arc<dyn Upcalls>,
    fate: Arc<Fate>,
    facts: Facts,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.fate.over.cancel();
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link to `{}`", self.facts.server_name)
    }
}

impl Link {
    /// Begins the conversation over a transport. `fate` is what ends it, from either side.
    pub(super) async fn open<T: Transport<RoleClient> + 'static>(
        transport: T,
        opening: Opening,
        upcalls: Arc<dyn Upcalls>,
        fate: Arc<Fate>,
    ) -> Result<Self, NotOpened> {
        let flights = Arc::new(Flights::default());
        let tap = Tap::new(transport, Arc::clone(&flights), Arc::clone(&upcalls));
        let handler = Handler::new(Arc::clone(&flights), Arc::clone(&upcalls));
        let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
        let lifecycle = match opening {
            Opening::Initialize => ClientLifecycleMode::Initialize,
            Opening::Discover => ClientLifecycleMode::Discover { preferred_versions },
            Opening::Probe => ClientLifecycleMode::Auto {
                preferred_versions,
                legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
            },
        };
        let ct = fate.over.clone();
        let opened = serve_client_with_lifecycle_and_ct(handler, tap, lifecycle, ct).await;
        let running = match opened {
            Ok(running) => running,
            Err(error) => return Err(not_opened(&error, &fate).await),
        };
        let peer = running.peer().clone();
        let facts = facts(&peer);
        let ended = Arc::clone(&fate);
        tokio::spawn(async move {
            // Why it ended is told by who ended it; else the server closed its side.
            running.waiting().await.map(drop).ok();
            ended.over.cancel();
        });
        Ok(Self { peer, flights, upcalls, fate, facts })
    }

    /// What ends it.
    pub(super) fn fate(&self) -> &Fate {
        &self.fate
    }

    /// What the server says of itself.
    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Asks the server, and answers what it asks meanwhile. Dropping the future tells the server that
    /// the answer is not wanted.
    pub(super) async fn request(
        &self,
        method: &str,
        mut params: Map<String, Value>,
        asker: Option<Asker>,
    ) -> Result<Map<String, Value>> {
        for _ in 0..MAX_ROUNDS {
            let answer = self.once(method, &params, asker.clone()).await;
            if method == "tools/call" && !self.facts.is_modern && wants_task(&answer) {
                return self.as_task(&params, asker).await;
            }
            let result = answer?;
            match result.get("resultType").and_then(Value::as_str) {
                Some("input_required") => {}
                Some("task") => return self.awaited(result, asker).await,
                _ => return Ok(result),
            }
            let call = asker.as_ref().map(|asker| asker.call.clone());
            self.fulfil(&result, &mut params, call).await?;
        }
        Err(protocol(format!("`{method}` asked for input more than {MAX_ROUNDS} times")))
    }

    /// All entries of a list, over its pages.
    pub(super) async fn list(&self, method: &str, key: &str) -> Result<Vec<Value>> {
        let (mut all, mut params) = (Vec::new(), Map::new());
        for _ in 0..MAX_PAGES {
            let mut page = self.once(method, &params, None).await?;
            match page.remove(key) {
                Some(Value::Array(entries)) => all.extend(entries),
                _ => return Err(protocol(format!("the answer to `{method}` has no `{key}`"))),
            }
            if all.len() > MAX_ENTRIES {
                return Err(protocol(format!("`{method}` lists more than {MAX_ENTRIES}")));
            }
            match page.remove("nextCursor") {
                Some(Value::String(cursor)) => params.insert("cursor".to_owned(), cursor.into()),
                _ => return Ok(all),
            };
        }
        Err(protocol(format!("the list of `{method}` has more than {MAX_PAGES} pages")))
    }

    async fn once(
        &self,
        method: &str,
        params: &Map<String, Value>,
        asker: Option<Asker>,
    ) -> Result<Map<String, Value>> {
        let message = json!({ "method": method, "params": params });
        let request =
            serde_json::from_value(message).map_err(|error| protocol(error.to_string()))?;
        self.sent(method, request, asker).await
    }

    async fn sent(
        &self,
        method: &str,
        mut request: ClientRequest,
        asker: Option<Asker>,
    ) -> Result<Map<String, Value>> {
        let room = self.flights.room(size(&request)).await;
        let flight = self.flights.begin(asker);
        request.extensions_mut().insert(FlightNumber(flight.number));
        request.extensions_mut().insert(room);
        let options = PeerRequestOptions::no_options();
        let sent = self.peer.send_request_with_option(request, options).await;
        let handle = match sent {
            Ok(handle) => handle,
            Err(error) => return Err(self.failed(method, error).await),
        };
        let id = Some(handle.id.clone());
        let mut abandon = Abandon { link: self, id, flight: &flight };
        let result = handle.await_response().await;
        abandon.id = None;
        match result {
            Err(error) => Err(self.failed(method, error).await),
            Ok(result) => match serde_json::to_value(result) {
                Ok(Value::Object(result)) => Ok(result),
                _ => Err(protocol(format!("the result of `{method}` is no object"))),
            },
        }
    }

    /// Answers what a result requires, into the parameters of the next round.
    async fn fulfil(
        &self,
        result: &Map<String, Value>,
        params: &mut Map<String, Value>,
        call: Option<Call>,
    ) -> Result<()> {
        let questions = questions(result);
        if questions.is_empty() && !result.contains_key("requestState") {
            return Err(protocol("it asks for input and does not say for which"));
        }
        let mut answers = Map::new();
        if !questions.is_empty() {
            let answered = Arc::clone(&self.upcalls).ask(questions, call).await;
            answers.extend(
                answered.map_err(|refusal| {
                    Error::new(ErrorCode::McpCapabilityMissing, refusal.message)
                })?,
            );
        }
        params.remove("inputResponses");
        if !answers.is_empty() {
            params.insert("inputResponses".to_owned(), answers.into());
        }
        match result.get("requestState") {
            Some(state) => params.insert("requestState".to_owned(), state.clone()),
            None => params.remove("requestState"),
        };
        Ok(())
    }

    async fn failed(&self, method: &str, error: ServiceError) -> Error {
        if let ServiceError::McpError(data) = &error
            && !self.fate.over.is_cancelled()
        {
            return refused(method, data.code.0, &data.message, data.data.clone());
        }
        if error.is_authorization_required() {
            return unauthorized(error.auth_challenge());
        }
        match error {
            ServiceError::TransportSend(error) if !self.fate.over.is_cancelled() => {
                Error::new(ErrorCode::McpTransportError, http::why(&error)).with_retryable(true)
            }
            ServiceError::UnexpectedResponse => protocol("an answer of another kind"),
            _ => self.fate.cause().await,
        }
    }
}

/// The questions of a result or a task.
fn questions(of: &Map<String, Value>) -> Vec<Question> {
    let asked = of.get("inputRequests").and_then(Value::as_object);
    let question = |(id, request): (&String, &Value)| {
        let part = |key: &str| request.get(key);
        Question {
            id: id.clone(),
            method: part("method").and_then(Value::as_str).unwrap_or_default().to_owned(),
            params: part("params").and_then(Value::as_object).cloned().unwrap_or_default(),
        }
    };
    asked.into_iter().flatten().map(question).collect()
}

/// An error that the server has answered with.
fn refused(method: &str, rpc_code: i32, message: &str, data: Option<Value>) -> Error {
    let code = match (rpc_code, method) {
        (-32602, "tools/call") => ErrorCode::McpToolNotFound,
        (-32602 | -32002, "resources/read") => ErrorCode::McpResourceNotFound,
        (-32602, "prompts/get") => ErrorCode::McpPromptNotFound,
        _ => ErrorCode::McpProtocolError,
    };
    let told = Error::new(code, message).with_detail("rpc_code", rpc_code);
    match data {
        Some(more) => told.with_detail("data", more),
        None => told,
    }
}

/// Tells the server that an answer is not wanted any more.
struct Abandon<'a> {
    link: &'a Link,
    id: Option<RequestId>,
    flight: &'a OpenFlight,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        self.flight.give_up(&runtime);
        // A server that reads nothing is told nothing more.
        let Some(room) = self.link.flights.room_now() else { return };
        let reason = Some("the call has ended".to_owned());
        let mut told =
            CancelledNotification::new(CancelledNotificationParam::new(Some(id), reason));
        told.extensions.insert(room);
        let peer = self.link.peer.clone();
        // Refused when the connection has ended, which is as good.
        runtime.spawn(async move { peer.send_notification(told.into()).await.ok() });
    }
}

/// Bytes of a request as JSON.
fn size(request: &ClientRequest) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // It takes everything.
    serde_json::to_writer(&mut count, request).ok();
    count.0
}

fn facts(peer: &Peer<RoleClient>) -> Facts {
    let info = peer.peer_info();
    let info = info.and_then(|info| serde_json::to_value(&*info).ok()).unwrap_or_default();
    let text = |pointer: &str| info.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let version = text("/protocolVersion").to_owned();
    Facts {
        is_modern: version.as_str() >= ProtocolVersion::NO_INITIALIZE.as_str(),
        version,
        server_name: text("/serverInfo/name").to_owned(),
        server_version: text("/serverInfo/version").to_owned(),
        capabilities: info
            .get("capabilities")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default(),
    }
}

/// The server broke its protocol.
pub(super) fn protocol(why: impl Into<String>) -> Error {
    Error::new(ErrorCode::McpProtocolError, why)
}

fn unauthorized(challenge: Option<&str>) -> Error {
    let text = "the server wants authorization (401): have its token read from a file \
                (`token_file`) or printed by a command (`token_command`) in its settings";
    let error = Error::new(ErrorCode::Unauthorized, text);
    match challenge {
        Some(challenge) => error.with_detail("challenge", challenge),
        None => error,
    }
}

async fn not_opened(error: &ClientInitializeError, fate: &Fate) -> NotOpened {
    let is_other_era = matches!(
        error,
        ClientInitializeError::JsonRpcError(_)
            | ClientInitializeError::LegacyFallbackFailed { .. }
            | ClientInitializeError::NoCompatibleProtocolVersion { .. }
    );
    let error = match error {
        it if it.is_authorization_required() => unauthorized(it.auth_challenge()),
        ClientInitializeError::ConnectionClosed(_) | ClientInitializeError::Cancelled => {
            fate.cause().await
        }
        ClientInitializeError::JsonRpcError(data) => {
            protocol(format!("it refused to begin: {} ({})", data.message, data.code.0))
        }
        ClientInitializeError::TransportError { error, .. } => {
            Error::new(ErrorCode::McpTransportError, http::why(error)).with_retryable(true)
        }
        ClientInitializeError::ConflictInitResponseId(expected, found) => {
            protocol(format!("it answered `{found}` where `{expected}` was asked"))
        }
        other => protocol(cut(&other.to_string())),
    };
    NotOpened { error, is_other_era }
}

/// An error with what led to it: that of an HTTP client says nothing by itself.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = said(error);
    let mut source = error.source();
    while let Some(error) = source {
        let more = said(error);
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    cut(&text)
}

/// The text of an error without the URL, which may hold a secret.
fn said(error: &(dyn std::error::Error + 'static)) -> String {
    let text = error.to_string();
    match error.downcast_ref::<reqwest::Error>().and_then(reqwest::Error::url) {
        Some(url) => text.replace(&format!(" for url ({url})"), ""),
        None => text,
    }
}

/// A text of a server for an error.
fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(1000)).unwrap_or_default().to_owned()
}

//! One MCP session: the A2E session behind it, opened when it is first needed, and ended with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use a2e_caps::mcp::contract::{PromptProvider, ResourceProvider};
use a2e_client::{Client, ClientError, Options, Subscription};
use a2e_core::protocol::ErrorCode;
use a2e_core::protocol::id::random_hex;
use a2e_core::transport::Identity;
use a2e_core::{Clock as _, SystemClock};
use dashmap::DashMap;
use rmcp::RoleServer;
use rmcp::model::{ErrorData, LoggingLevel, ProtocolVersion};
use rmcp::service::{Peer, RequestContext};
use serde_json::json;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use super::resources::{Results, Subscriptions};
use super::{McpFront, View};

/// Longest name of a client in the audit.
const MAX_NAME: usize = 64;

/// Most sessions that clients have opened by name.
const MAX_NAMED: usize = 1024;

/// The context of a request of a client.
pub(super) type Context = RequestContext<RoleServer>;

/// How long a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// From `initialize` on, until the client or its connection ends it.
    Session,
    /// For one request.
    Alone,
    /// Opened by `session_open`, until nothing names it for a while.
    Named,
}

/// One MCP session.
pub(super) struct Session {
    pub(super) front: Arc<McpFront>,
    pub(super) kind: Kind,
    pub(super) view: View,
    /// The client over stdio; over HTTP each request tells.
    identity: Option<Identity>,
    link: OnceCell<Link>,
    pub(super) results: Results,
    pub(super) subscriptions: Subscriptions,
    /// What a client of the older era wants to be told.
    level: Mutex<LoggingLevel>,
    /// Ends the tasks that were made in it: they hold its A2E session, processes included.
    pub(super) ended: CancellationToken,
    /// The handles that were opened for the model, by the type that opens them. Held while one is opened, so
    /// that two calls share it.
    handles: AsyncMutex<HashMap<&'static str, String>>,
}

/// The A2E session.
pub(super) struct Link {
    pub(super) client: Client,
    /// Its id.
    pub(super) id: String,
    pub(super) may_control_envs: bool,
    /// For whom it was opened.
    pub(super) identity: Identity,
    _changes: Option<(Subscription, AbortOnDrop)>,
}

/// Ends a task when it is dropped.
pub(super) struct AbortOnDrop(AbortHandle);

impl AbortOnDrop {
    pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task).abort_handle())
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Session {
    pub(super) fn new(front: Arc<McpFront>, kind: Kind, view: View) -> Arc<Self> {
        Self::made(front, kind, view, None)
    }

    /// As a session of this identity.
    pub(super) fn as_identity(front: Arc<McpFront>, view: View, identity: Identity) -> Arc<Self> {
        Self::made(front, Kind::Session, view, Some(identity))
    }

    fn made(front: Arc<McpFront>, kind: Kind, view: View, identity: Option<Identity>) -> Arc<Self> {
        Arc::new(Self {
            front,
            kind,
            view,
            identity,
            link: OnceCell::new(),
            results: Results::default(),
            subscriptions: Subscriptions::default(),
            level: Mutex::new(LoggingLevel::Info),
            ended: CancellationToken::new(),
            handles: AsyncMutex::default(),
        })
    }

    /// The client of a request.
    pub(super) fn identity(&self, context: &Context) -> Identity {
        match &self.identity {
            Some(identity) => identity.clone(),
            None => identity_of(context).unwrap_or_default(),
        }
    }

    pub(super) fn set_level(&self, level: LoggingLevel) {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = level;
    }

    /// The least severe messages that the client of this request wants; `None`: it wants none.
    pub(super) fn level(&self, context: &Context) -> Option<LoggingLevel> {
        if is_modern(context) {
            return context.meta.log_level();
        }
        Some(*self.level.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The A2E session, opened now if it is not yet.
    ///
    /// # Errors
    /// When the host opens no more sessions, or asks for a token that was not shown.
    pub(super) async fn link(&self, context: &Context) -> Result<&Link, ErrorData> {
        self.link.get_or_try_init(|| self.open(context)).await.map_err(|error| {
            let data = json!({ "code": error.code().map(ErrorCode::as_str) });
            ErrorData::internal_error(error.to_string(), Some(data))
        })
    }

    async fn open(&self, context: &Context) -> Result<Link, ClientError> {
        let identity = self.identity(context);
        let may_control_envs = identity.rights.env_control;
        let connection = self.front.executor.connect_as(identity.clone());
        let options = Options::new(agent_name(self.kind, context));
        let client = Client::connect(connection, options).await?;
        let id = client.session().map(|it| it.session_id.clone()).unwrap_or_default();
        let changes = (self.kind == Kind::Session && !is_modern(context)).then(|| {
            let (desk, peer) = (Arc::clone(&self.front.desk), context.peer.clone());
            let others = tell_of_others(desk, identity.tenant.clone(), peer);
            (tell_of_tools(&client, context.peer.clone()), AbortOnDrop::spawn(others))
        });
        Ok(Link { client, id, may_control_envs, identity, _changes: changes })
    }

    /// The handle that a type of requests opens, opened now if it is not yet.
    ///
    /// # Errors
    /// What the host answers.
    pub(super) async fn handle(
        &self,
        client: &Client,
        init: &'static str,
        field: &str,
    ) -> Result<String, ClientError> {
        let mut handles = self.handles.lock().await;
        if let Some(handle) = handles.get(init) {
            return Ok(handle.clone());
        }
        let answer = client.rpc_raw(init, &json!({}), a2e_client::CallOptions::default()).await?;
        let answer: serde_json::Map<String, serde_json::Value> = answer.decode()?;
        let handle = answer.get(field).and_then(|it| it.as_str()).unwrap_or_default().to_owned();
        handles.insert(init, handle.clone());
        Ok(handle)
    }

    /// Forgets the handles: the plugin that gave them may not know them any more.
    pub(super) async fn forget_handles(&self) {
        self.handles.lock().await.clear();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Told, and not only cut: a session that is cut waits to be resumed, with its processes.
        if let (Some(link), Ok(runtime)) = (self.link.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(async move {
                let _gone = link.client.shutdown(Duration::ZERO).await;
            });
        }
    }
}

/// Tells the client when the tools are others than before. Ends with the subscription.
fn tell_of_tools(client: &Client, peer: Peer<RoleServer>) -> Subscription {
    client.on_push("tool/changed/push", move |_| {
        let peer = peer.clone();
        tokio::spawn(async move {
            let _gone = peer.notify_tool_list_changed().await;
        });
    })
}

/// Tells the client when what plugins offer beside tools may be another.
async fn tell_of_others(desk: Arc<Desk>, tenant: Option<String>, peer: Peer<RoleServer>) {
    let (mut changes, tenant) = (desk.changes(), tenant.as_deref());
    changes.mark_unchanged();
    while changes.changed().await.is_ok() && !peer.is_transport_closed() {
        // Where nobody offers any, no list has changed.
        if !desk.contributed::<dyn ResourceProvider>(tenant).is_empty() {
            let _gone = peer.notify_resource_list_changed().await;
        }
        if !desk.contributed::<dyn PromptProvider>(tenant).is_empty() {
            let _gone = peer.notify_prompt_list_changed().await;
        }
    }
}

/// Whether a request is of the revision without sessions, or a later one.
pub(super) fn is_modern(context: &Context) -> bool {
    context.protocol_version().is_some_and(|it| it >= ProtocolVersion::V_2026_07_28)
}

/// The client as the audit names it: `mcp:NAME/VERSION`.
fn agent_name(kind: Kind, context: &Context) -> String {
    // One of the older era that sends no session back has told its name in another session, or never; what rmcp
    // says then is its own.
    let is_told = kind == Kind::Session || is_modern(context);
    let client = context.client_info().filter(|_| is_told);
    let name =
        client.map_or_else(|| "unknown".to_owned(), |it| format!("{}/{}", it.name, it.version));
    let plain = name.chars().filter(char::is_ascii_graphic).take(MAX_NAME);
    format!("mcp:{}", plain.collect::<String>())
}

#[cfg(feature = "http")]
fn identity_of(context: &Context) -> Option<Identity> {
    let parts = context.extensions.get::<axum::http::request::Parts>()?;
    Some(parts.extensions.get::<crate::http::Caller>()?.identity.clone())
}

#[cfg(not(feature = "http"))]
fn identity_of(_: &Context) -> Option<Identity> {
    None
}

/// Sessions that clients of the newest revision have opened, by the name that they were given. As many as
/// `MAX_NAMED`; each ends when nothing has named it for a while.
pub(super) struct Named {
    clock: SystemClock,
    idle: Duration,
    sessions: DashMap<String, Entry>,
}

struct Entry {
    session: Arc<Session>,
    principal: String,
    /// When it was named last; a task ends the session when that is longer ago than `idle`.
    last: Duration,
}

impl Named {
    pub(super) fn new(idle: Duration) -> Arc<Self> {
        let named = Arc::new(Self { clock: SystemClock::new(), idle, sessions: DashMap::new() });
        let table = Arc::downgrade(&named);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep((idle / 4).max(Duration::from_millis(25))).await;
                let Some(named) = table.upgrade() else { return };
                let now = named.clock.now().mono;
                named.sessions.retain(|_, entry| {
                    // One that a call holds is in use.
                    Arc::strong_count(&entry.session) > 1
                        || now.saturating_sub(entry.last) < named.idle
                });
            }
        });
        named
    }

    /// Opens a session; the name cannot be guessed.
    ///
    /// # Errors
    /// When there are as many as may be.
    pub(super) fn open(&self, of: &Session, context: &Context) -> Result<String, ErrorData> {
        if self.sessions.len() >= MAX_NAMED {
            return Err(ErrorData::internal_error("too many sessions are open", None));
        }
        let name = random_hex().map_err(|it| ErrorData::internal_error(it.to_string(), None))?;
        let session = Session::new(Arc::clone(&of.front), Kind::Named, of.view.clone());
        let principal = of.identity(context).principal;
        let last = self.clock.now().mono;
        self.sessions.insert(name.clone(), Entry { session, principal, last });
        Ok(name)
    }

    /// The session of this name, for the principal that opened it; it is told apart from none.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn find(&self, name: &str, principal: &str) -> Result<Arc<Session>, ErrorData> {
        let mut found = self.sessions.get_mut(name).filter(|it| it.principal == principal);
        let Some(entry) = found.as_deref_mut() else {
            let text = "no such session: it has ended, or was never opened; call session_open";
            return Err(ErrorData::invalid_params(text, None));
        };
        entry.last = self.clock.now().mono;
        Ok(Arc::clone(&entry.session))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::AbortOnDrop;

    #[tokio::test]
    async fn a_task_ends_with_its_guard() {
        let held = Arc::new(());
        let own = Arc::clone(&held);
        let guard = AbortOnDrop::spawn(async move {
            std::future::pending::<()>().await;
            drop(own);
        });
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&held), 2);
        drop(guard);
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }
}

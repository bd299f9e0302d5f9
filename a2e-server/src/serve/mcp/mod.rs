//! MCP: what a client of the Model Context Protocol sees of this host, over stdio and at `/mcp`.
//!
//! A client's session is a session of the host, opened inside the process under the client's identity; each
//! of its calls is a request there, with the deadlines, permits and audit of any other. Both eras are
//! served: sessions with `initialize`, and requests that stand alone (2026-07-28). rmcp does the wire.

#![allow(
    deprecated,
    reason = "clients of the older era log, sample and subscribe as they always did"
)]

mod calls;
mod convert;
mod desk;
mod handler;
mod headers;
mod listing;
mod names;
mod resources;
mod session;
mod settings;
mod tools;

use std::collections::BTreeMap;
use std::sync::Arc;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig, PluginMeta};
use a2e_core::executor::Builder;
use a2e_core::protocol::id::random_hex;
use a2e_core::transport::Identity;
use rmcp::ServiceExt as _;
use rmcp::model::RequestStateCodec;
use rmcp::transport::async_rw::AsyncRwTransport;
use tokio_util::sync::CancellationToken;

use super::held::Held;
use crate::Failure;
use calls::{Suspended, Tasks};
use desk::{Desk, DeskPlugin};
pub(crate) use handler::Handler;
use headers::Headers;
use names::Exposed;
use session::{Kind, Named, Session};
pub(crate) use settings::McpSettings;

/// The front before its host is started.
pub(crate) struct Prepared {
    settings: McpSettings,
    /// Of the client over stdio.
    view: View,
    desk: Arc<Desk>,
}

impl Prepared {
    /// Reads the settings.
    ///
    /// # Errors
    /// What is wrong with `mcp_server`, or a view that there is not.
    pub(crate) fn of(config: &HostConfig, view: Option<&str>) -> Result<Self, Failure> {
        let (settings, problems) = McpSettings::of(config);
        let errors = problems.iter().filter(|problem| problem.is_error());
        let errors: Vec<String> = errors.map(ToString::to_string).collect();
        if !errors.is_empty() {
            return Err(Failure::refused(errors.join("\n")));
        }
        let view = View::named(&settings, view)?;
        Ok(Self { settings, view, desk: Arc::default() })
    }

    /// Adds the plugin that the front needs, where MCP is to be served.
    pub(crate) fn add_to(&self, builder: Builder, is_stdio: bool, has_http: bool) -> Builder {
        if is_stdio || (has_http && self.settings.enabled) {
            // Before a plugin that asks agents by pushes: the clients here answer no push.
            let mut first = PluginMeta::default();
            first.priority = Some(1_000_000);
            let entry = PluginConfig::new("mcp_server", "mcp_server", "").with_metadata(first);
            return builder.plugin_as(entry, DeskPlugin::new(&self.desk));
        }
        builder
    }

    /// The front over the host that runs, and the view of the client over stdio.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(crate) fn start(
        self,
        executor: &Arc<Executor>,
        cut: &CancellationToken,
    ) -> Result<(Arc<McpFront>, View), Failure> {
        let Self { settings, view, desk } = self;
        let front = McpFront::new(Arc::clone(executor), settings, desk, cut.clone());
        Ok((front.map_err(Failure::internal)?, view))
    }
}

/// What all MCP sessions of a host share.
pub(crate) struct McpFront {
    executor: Arc<Executor>,
    pub(crate) settings: McpSettings,
    desk: Arc<Desk>,
    seal: RequestStateCodec,
    suspended: Arc<Suspended>,
    tasks: Arc<Tasks>,
    headers: Headers,
    named: Arc<Named>,
    /// The request types that are offered as tools; whether a plugin handles them is looked up each time.
    exposed: BTreeMap<String, Arc<Exposed>>,
    /// Ends what clients hold open over HTTP: cancelled when the host has drained.
    pub(crate) cut: CancellationToken,
}

impl std::fmt::Debug for McpFront {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpFront").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl McpFront {
    /// Over a host that runs with the plugin.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    fn new(
        executor: Arc<Executor>,
        settings: McpSettings,
        desk: Arc<Desk>,
        cut: CancellationToken,
    ) -> std::io::Result<Arc<Self>> {
        let key = format!("{}{}", random_hex()?, random_hex()?);
        let seal = RequestStateCodec::try_new(key).map_err(std::io::Error::other)?;
        let named = Named::new(settings.session_ttl);
        let (suspended, tasks, headers) = Default::default();
        let exposed = names::exposed(&settings.expose);
        Ok(Arc::new(Self {
            executor,
            settings,
            desk,
            seal,
            suspended,
            tasks,
            headers,
            named,
            exposed,
            cut,
        }))
    }

    /// The longest message of a client.
    pub(crate) fn max_line(&self) -> usize {
        self.executor.config().limits.max_line_bytes
    }

    /// A handler for one session, or for one request that stands alone.
    pub(crate) fn handler(self: &Arc<Self>, view: &View, is_alone: bool) -> Handler {
        let kind = if is_alone { Kind::Alone } else { Kind::Session };
        Handler::new(Session::new(Arc::clone(self), kind, view.clone()))
    }

    /// Serves standard input and output until the client ends its side, or `ended`.
    pub(crate) async fn serve_stdio(self: Arc<Self>, view: View, ended: CancellationToken) {
        let parent = Identity { name: "stdio".to_owned(), ..Identity::of("stdio") };
        let session = Session::as_identity(Arc::clone(&self), view, parent);
        let (input, output) = rmcp::transport::stdio_pipes();
        let most = self.max_line();
        let transport = AsyncRwTransport::new_server(input, output).with_max_line_length(most);
        let transport = Held::new(transport);
        match Handler::new(session).serve_with_ct(transport, ended).await {
            Ok(served) => match served.waiting().await {
                Ok(reason) => tracing::debug!(?reason, "the MCP session over stdio has ended"),
                Err(error) => tracing::warn!(%error, "the MCP session over stdio broke off"),
            },
            Err(error) => tracing::warn!(%error, "no MCP session over stdio"),
        }
    }
}

/// Which tools a list has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// All but those that are found by search.
    Full,
    /// Only the two that search for the others and call them.
    Search,
    /// Those that fit a pattern.
    Named(Arc<[String]>),
}

impl View {
    /// The views of a host, each with the end of its path.
    pub(crate) fn all(settings: &McpSettings) -> Vec<(String, Self)> {
        let named = settings
            .views
            .iter()
            .map(|(name, patterns)| (format!("/{name}"), Self::Named(patterns.as_slice().into())));
        let own = [(String::new(), Self::Full), ("/search".to_owned(), Self::Search)];
        own.into_iter().chain(named).collect()
    }

    /// The view of this name.
    ///
    /// # Errors
    /// The names that there are.
    fn named(settings: &McpSettings, name: Option<&str>) -> Result<Self, Failure> {
        let Some(name) = name.filter(|name| *name != "full") else { return Ok(Self::Full) };
        let all = Self::all(settings);
        let found = all.iter().find(|(end, _)| end.strip_prefix('/') == Some(name));
        found.map(|(_, view)| view.clone()).ok_or_else(|| {
            let names = all.iter().map(|(end, _)| end.strip_prefix('/').unwrap_or("full"));
            let names = names.collect::<Vec<_>>().join(", ");
            Failure::refused(format_args!("no view is named {name:?}; there are {names}"))
        })
    }
}

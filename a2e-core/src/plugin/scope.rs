//! Which state a request works on: by default that of its session, otherwise what a resolver says.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Host;
use crate::Result;
use crate::layers::catch;
use crate::protocol::{PluginName, SessionId};
use crate::request::Call;

/// The state that a request works on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StateScope {
    /// That of its session, which no other session sees.
    Session(SessionId),
    /// One that sessions share, by a name that the resolver gives: a project, a team.
    Shared(Box<str>),
}

impl StateScope {
    /// A scope that sessions share.
    pub fn shared(name: impl Into<Box<str>>) -> Self {
        Self::Shared(name.into())
    }
}

/// For logs and keys: `session:<id>`, `shared:<name>`.
impl fmt::Display for StateScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(id) => write!(f, "session:{id}"),
            Self::Shared(name) => write!(f, "shared:{name}"),
        }
    }
}

/// What a resolver decides by.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ScopeQuery<'a> {
    /// The session of the request.
    pub session: &'a SessionId,
    /// The agent, as its handshake named it; empty before one.
    pub agent_id: &'a str,
    /// The plugin that asks.
    pub plugin: Option<&'a PluginName>,
    /// The type of the request.
    pub wire_type: &'a str,
    /// The `correlation_id` of the request.
    pub correlation_id: Option<&'a str>,
    /// What the request says about itself (its `metadata`), as far as the plugin passes it on.
    pub metadata: &'a Map<String, Value>,
}

/// Maps requests to state, so that for example a project has a memory of its own.
type ScopeResolver = dyn Fn(&ScopeQuery<'_>) -> Option<StateScope> + Send + Sync;

impl Host {
    /// Has this resolver asked for the state of requests, in place of the one that was set before.
    /// It goes with the plugin; then the one before is asked again. Only the resolver that was set last is
    /// asked, while a request is handled: below 10 us, no I/O, no wait; `None` is the state of the session.
    ///
    /// A resolver that gives two sessions one scope lets each see what the other stores: a name that an agent
    /// sends is no proof that it may have it.
    ///
    /// ```
    /// use a2e_core::plugin::{Host, ScopeQuery, StateScope};
    ///
    /// fn by_project(query: &ScopeQuery<'_>) -> Option<StateScope> {
    ///     let project = query.metadata.get("project")?.as_str()?;
    ///     Some(StateScope::shared(project))
    /// }
    ///
    /// fn start(host: &Host) -> a2e_core::Result<()> {
    ///     host.set_scope_resolver(by_project)
    /// }
    /// ```
    ///
    /// # Errors
    /// Never but for a fault of ours; a plugin that sets a second one replaces its first.
    pub fn set_scope_resolver(
        &self,
        resolver: impl Fn(&ScopeQuery<'_>) -> Option<StateScope> + Send + Sync + 'static,
    ) -> Result<()> {
        let resolver: Arc<ScopeResolver> = Arc::new(resolver);
        self.contribution_table().withdraw_type::<ScopeResolver>(self.epoch());
        self.contribute(self.plugin().as_str(), resolver)?.keep();
        Ok(())
    }
}

impl Call {
    /// The state that this request works on: that of its session, unless a resolver says otherwise.
    pub fn scope(&self) -> StateScope {
        self.scope_with(&Map::new())
    }

    /// As [`scope`](Self::scope), for a request that says more about itself.
    pub fn scope_with(&self, metadata: &Map<String, Value>) -> StateScope {
        let own = || StateScope::Session(self.session_id().clone());
        let Some(plugin) = self.0.course.plugin() else { return own() };
        let resolver = self.0.session.services.contributions.last::<ScopeResolver>();
        let Some(resolver) = resolver else { return own() };
        let agent_id = self.agent_id();
        let query = ScopeQuery {
            session: self.session_id(),
            agent_id: &agent_id,
            plugin: Some(&plugin.name),
            wire_type: self.wire_type(),
            correlation_id: self.correlation_id(),
            metadata,
        };
        match catch(|| (resolver.item)(&query)) {
            Ok(scope) => scope.unwrap_or_else(own),
            Err(panic) => {
                tracing::error!(plugin = %resolver.owner, panic, "the scope resolver panicked");
                own()
            }
        }
    }
}

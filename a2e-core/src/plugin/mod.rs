//! What a plugin is: the trait, its handlers, how it is registered and what the host gives it.

mod answer;
mod descriptor;
mod given;
mod handlers;
mod host;
mod intercept;
mod registry;
mod scope;

use crate::Result;
use crate::protocol::SessionId;
use crate::snapshot::State;

pub use crate::config::PluginScope;
pub use crate::contribution::{Contribution, Contributions, Registration};
pub use crate::layers::{Health, Run};
pub use crate::request::{Answered, TypeSpec};
pub use answer::{Answer, BoxFuture, Later, Outcome, RawReply};
pub(crate) use answer::{EncodedWork, Ended};
pub use descriptor::{ClassFacts, Descriptor, Loaded, PluginClass, load, settings};
pub(crate) use given::{Given, entry_of, is_given};
pub(crate) use handlers::Door;
pub use handlers::{Declared, Handler, Handlers};
pub use host::Host;
pub(crate) use host::HostDesk;
pub(crate) use intercept::Interception;
pub use intercept::{Before, Exchange, Interceptor};
pub use registry::{Registry, RegistryError};
pub use scope::{ScopeQuery, StateScope};

/// One configured instance of a capability. Everything but [`handlers`](Plugin::handlers) has a default.
///
/// The other methods are called on a thread that may block, under `catch_unwind` and with a limit of
/// 5 s; a failure is the plugin's own and never ends the host.
pub trait Plugin: Send + Sync + 'static {
    /// Declares what it handles, by the doors of [`Handlers`].
    fn handlers(on: &mut Handlers<Self>)
    where
        Self: Sized;

    /// Called once, after every plugin is built and its state restored, before any message.
    /// Here a plugin contributes to others and starts its own tasks. An instance of a session
    /// (`scope: session`) is built, restored and started when its first request waits for it, so
    /// these have to be quick there; its tasks end with the session.
    ///
    /// # Errors
    /// The plugin then counts as failed and gets no messages.
    fn start(&self, host: &Host) -> Result<()> {
        let _ = host;
        Ok(())
    }

    /// A session has ended: what was kept for it goes.
    fn session_ended(&self, session: &SessionId) {
        let _ = session;
    }

    /// The state to keep, if there is one. What is kept of one session is asked for apart, and only
    /// of sessions that can be resumed: before [`session_ended`](Plugin::session_ended), on schedule,
    /// and at the end of the host. Look at `scope`: what belongs to the host or to another session
    /// must not be in it.
    ///
    /// # Errors
    /// Whatever keeps it from being saved; the previous snapshot stays.
    fn save(&self, scope: Scope<'_>) -> Result<Option<State>> {
        let _ = scope;
        Ok(None)
    }

    /// Takes back what [`save`](Plugin::save) gave for the same scope; for a session when it is
    /// resumed, before its first request.
    ///
    /// # Errors
    /// When the state is not its own; the plugin then starts empty, which is reported.
    fn restore(&self, scope: Scope<'_>, state: State) -> Result<()> {
        let _ = (scope, state);
        Ok(())
    }

    /// Forgets everything of this scope; the stored snapshot goes too. For a session when nobody has
    /// resumed it within `session_ttl`.
    ///
    /// # Errors
    /// Whatever keeps it from forgetting.
    fn clear(&self, scope: Scope<'_>) -> Result<()> {
        let _ = scope;
        Ok(())
    }

    /// What an operator should know of it beyond what the host counts, a line each: shown in
    /// `host/status/resp`. Asked on readers: no I/O, no wait.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// The host is ending: close what must be closed. Tasks of [`Host::spawn`] have ended before.
    fn teardown(&self) {}
}

/// Whose state is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// What belongs to no session.
    Host,
    /// What belongs to this session.
    Session(&'a SessionId),
}

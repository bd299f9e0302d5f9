//! How a client connects and calls: identity, limits, time-outs.

use std::fmt;
use std::time::Duration;

use a2e_core::protocol::CapabilityName;

use crate::reconnect::policy::Reconnect;

/// A bound of a queue, in messages and in bytes. One message always fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Most messages that wait.
    pub messages: usize,
    /// Most bytes that wait.
    pub bytes: usize,
}

impl Default for Bound {
    /// 1024 messages and 16 MiB.
    fn default() -> Self {
        Self { messages: 1024, bytes: 16 << 20 }
    }
}

/// The identity of the agent, and the limits of its client.
///
/// ```
/// use a2e_client::Options;
/// use std::time::Duration;
/// let options = Options::new("planner")
///     .capabilities(["tools", "memory"])
///     .call_timeout(Duration::from_mins(1));
/// ```
#[derive(Clone)]
pub struct Options {
    pub(crate) agent_id: String,
    pub(crate) capabilities: Vec<String>,
    pub(crate) auth_token: String,
    pub(crate) handshake: bool,
    pub(crate) is_approver: bool,
    pub(crate) handshake_timeout: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) max_line_bytes: usize,
    pub(crate) max_pending: usize,
    pub(crate) max_unsent_bytes: usize,
    pub(crate) event_bound: Bound,
    pub(crate) push_bound: Bound,
    pub(crate) reconnect: Option<Reconnect>,
}

impl Default for Options {
    /// A random agent id, every capability of the protocol, no token, a handshake, no reconnecting.
    fn default() -> Self {
        Self {
            agent_id: String::new(),
            capabilities: CapabilityName::all().map(str::to_owned).collect(),
            auth_token: String::new(),
            handshake: true,
            is_approver: false,
            handshake_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_mins(5),
            max_line_bytes: 64 << 20,
            max_pending: 1024,
            max_unsent_bytes: 1 << 20,
            event_bound: Bound::default(),
            push_bound: Bound::default(),
            reconnect: None,
        }
    }
}

impl Options {
    /// The defaults under this agent id.
    pub fn new(agent_id: impl Into<String>) -> Self {
        Self { agent_id: agent_id.into(), ..Self::default() }
    }

    /// What the handshake asks for; unless set, every capability that the protocol names.
    #[must_use]
    pub fn capabilities<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.capabilities = names.into_iter().map(Into::into).collect();
        self
    }

    /// The host's token.
    #[must_use]
    pub fn auth_token(mut self, token: impl Into<String>) -> Self {
        self.auth_token = token.into();
        self
    }

    /// Sends no handshake: for tools that send their own, or none.
    #[must_use]
    pub fn without_handshake(mut self) -> Self {
        self.handshake = false;
        self
    }

    /// Says in the handshake that a person is there to answer `approval/ask/push`: for a principal with the
    /// right `approve`.
    #[must_use]
    pub fn approver(mut self) -> Self {
        self.is_approver = true;
        self
    }

    /// How long connecting and the handshake may take together; 30 s unless set.
    #[must_use]
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake_timeout = limit;
        self
    }

    /// How long a call may take where it says nothing itself; 300 s unless set.
    #[must_use]
    pub fn call_timeout(mut self, limit: Duration) -> Self {
        self.call_timeout = limit;
        self
    }

    /// The longest line that is read or sent; 64 MiB unless set, which is the protocol's ceiling.
    #[must_use]
    pub fn max_line_bytes(mut self, limit: usize) -> Self {
        self.max_line_bytes = limit;
        self
    }

    /// How many calls wait for answers at a time; 1024 unless set, as many as a host queues.
    /// Further calls wait here for their turn.
    #[must_use]
    pub fn max_pending(mut self, limit: usize) -> Self {
        self.max_pending = limit.max(1);
        self
    }

    /// At this many bytes that the host has not taken, calls wait before they send; 1 MiB unless set.
    #[must_use]
    pub fn max_unsent_bytes(mut self, limit: usize) -> Self {
        self.max_unsent_bytes = limit.max(1);
        self
    }

    /// How many events of one call wait to be taken, see [`Calling`](crate::Calling).
    #[must_use]
    pub fn event_bound(mut self, bound: Bound) -> Self {
        self.event_bound = bound;
        self
    }

    /// How many messages wait in one [`PushStream`](crate::PushStream).
    #[must_use]
    pub fn push_bound(mut self, bound: Bound) -> Self {
        self.push_bound = bound;
        self
    }

    /// Makes the connection again when it is lost, and asks the host to go on with the session. It is
    /// not made again unless set here or by a [`ClientBuilder`](crate::ClientBuilder), and cannot be
    /// for a connection that was handed to the client.
    #[must_use]
    pub fn reconnect(mut self, policy: Reconnect) -> Self {
        self.reconnect = Some(policy);
        self
    }
}

/// Without the token.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("agent_id", &self.agent_id)
            .field("capabilities", &self.capabilities)
            .field("has_token", &!self.auth_token.is_empty())
            .field("call_timeout", &self.call_timeout)
            .field("reconnect", &self.reconnect)
            .finish_non_exhaustive()
    }
}

/// What one call wants otherwise than [`Options`] say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallOptions {
    pub(crate) deadline: Limit,
    pub(crate) is_repeatable: bool,
}

/// How long a call may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Limit {
    /// As the client's options say.
    #[default]
    Inherited,
    After(Duration),
    Never,
}

impl CallOptions {
    /// The call may take this long, waiting for its turn included.
    pub fn within(limit: Duration) -> Self {
        Self { deadline: Limit::After(limit), ..Self::default() }
    }

    /// The call waits until it is answered or the connection ends.
    pub fn without_deadline() -> Self {
        Self { deadline: Limit::Never, ..Self::default() }
    }

    /// The call may be made more than once: when the connection is lost before its answer has come, it
    /// is sent again under the same id once the connection is back, three times at most, within its
    /// time limit. Its events may then come again from the first.
    ///
    /// For what only reads, or does nothing more when it is done twice.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.is_repeatable = true;
        self
    }
}

//! The states of a connection, for programs that watch it.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::error::{ClientError, Closed};

/// The state of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Calls go through.
    Connected(SessionStart),
    /// The connection was lost and is made again.
    Reconnecting {
        /// Which attempt is waited for or under way, from 1.
        attempt: u32,
        /// Why: the loss at first, then what the attempt before failed with.
        reason: ClientError,
    },
    /// It has ended for good; [`Closed::GaveUp`] when it could not be made again.
    Closed(Closed),
}

/// What the present connection found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStart {
    /// The first connection.
    First,
    /// The session goes on, with its state.
    Resumed {
        /// How many lines of the host were lost for good; `None` when that is not known, as after a
        /// restart of the host.
        gap: Option<u64>,
    },
    /// The host no longer knows the session: this is a new one, and the state of the old one is lost.
    New,
}

/// For people.
impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected(SessionStart::First) => write!(f, "connected"),
            Self::Connected(SessionStart::Resumed { gap: Some(0) }) => {
                write!(f, "reconnected, nothing was lost")
            }
            Self::Connected(SessionStart::Resumed { gap: Some(gap) }) => {
                write!(f, "reconnected, {gap} lines of the host were lost")
            }
            Self::Connected(SessionStart::Resumed { gap: None }) => {
                write!(f, "reconnected, lines of the host may be lost")
            }
            Self::Connected(SessionStart::New) => write!(f, "reconnected with a new session"),
            Self::Reconnecting { attempt, reason } => {
                write!(f, "reconnecting, attempt {attempt}: {reason}")
            }
            Self::Closed(closed) => write!(f, "closed: {closed}"),
        }
    }
}

/// Called with every state, in order.
pub(crate) type StateHandler = Arc<dyn Fn(&ConnectionState) + Send + Sync>;

/// The states of a connection as they come. One that is not taken in time is replaced by the next:
/// for each of them use [`ClientBuilder::on_state`](crate::ClientBuilder::on_state).
#[derive(Clone, Debug)]
pub struct StateWatch {
    states: watch::Receiver<ConnectionState>,
}

impl StateWatch {
    pub(crate) fn new(states: watch::Receiver<ConnectionState>) -> Self {
        Self { states }
    }

    /// The state now.
    pub fn now(&self) -> ConnectionState {
        self.states.borrow().clone()
    }

    /// The next state; `None` after [`ConnectionState::Closed`].
    pub async fn next(&mut self) -> Option<ConnectionState> {
        self.states.changed().await.ok()?;
        Some(self.states.borrow_and_update().clone())
    }
}

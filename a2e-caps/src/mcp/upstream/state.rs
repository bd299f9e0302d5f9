//! Where a server stands.

use std::sync::Arc;
use std::time::Duration;

use a2e_core::Error;

use crate::mcp::link::Link;
use crate::mcp::protocol::ServerStatus;

/// The stage of a server.
#[derive(Clone, Debug, Default)]
pub(super) enum Phase {
    /// It does not run, and is started when it is used.
    #[default]
    Idle,
    /// It is being started.
    Starting,
    /// It answers.
    Ready(Arc<Link>),
    /// It has failed, and is started again by itself.
    BackingOff,
    /// It has failed, and is started again when it is used.
    Failed,
    /// It has failed too often, and is left alone for a while.
    Quarantined,
    /// It was unregistered.
    Ended,
}

/// Where a server stands, and why.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// How often a start or a run has failed.
    pub(super) failures: u64,
    /// The last failure, until it answers again.
    pub(super) failure: Option<Error>,
    /// Since when it answers.
    pub(super) since: Duration,
}

impl State {
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready(_))
    }

    pub(super) fn status(&self) -> ServerStatus {
        match self.phase {
            Phase::Idle | Phase::Ended => ServerStatus::Disconnected,
            Phase::Starting | Phase::BackingOff => ServerStatus::Connecting,
            Phase::Ready(_) => ServerStatus::Ready,
            Phase::Failed | Phase::Quarantined => ServerStatus::Error,
        }
    }

    pub(super) fn strays(&self) -> u64 {
        match &self.phase {
            Phase::Ready(link) => link.strays(),
            _ => 0,
        }
    }
}

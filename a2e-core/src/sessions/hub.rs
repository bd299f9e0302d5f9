//! What the sessions of a host share.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use super::pace::WrongTokens;
use crate::Result;
use crate::lifecycle::Plugins;
use crate::plugin::BoxFuture;
use crate::protocol::host::{
    Explanation, HostReloadRequest, HostSnapshot, HostStatus, HostStop, ReloadReport,
};
use crate::request::{Services, Session};
use crate::run::Runners;

/// Shared by all sessions of a host.
pub(crate) struct Hub {
    pub(crate) services: Arc<Services>,
    pub(crate) runners: Arc<Runners>,
    pub(crate) plugins: Arc<Plugins>,
    pub(crate) tokens: WrongTokens,
    /// How long a session may go on after the end of its input.
    pub(crate) drain: Duration,
    /// How long a reader may take nothing.
    pub(crate) stall: Duration,
    desk: OnceLock<Weak<dyn OperatorDesk>>,
}

/// What operators ask of the host.
pub(crate) trait OperatorDesk: Send + Sync {
    fn status(&self) -> HostStatus;
    fn explain(&self, message_type: &str) -> Explanation;
    fn reload(&self, request: HostReloadRequest) -> BoxFuture<ReloadReport>;
    fn snapshot(&self) -> BoxFuture<Result<HostSnapshot>>;
    /// The program that runs the host is told to end it.
    fn stop(&self, drain_s: Option<f64>) -> Result<HostStop>;
    /// The host cannot go on.
    fn fail(&self, reason: &str);
}

impl Hub {
    pub(crate) fn new(
        runners: &Arc<Runners>,
        plugins: &Arc<Plugins>,
        drain: Duration,
        stall: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            services: Arc::clone(&runners.services),
            runners: Arc::clone(runners),
            plugins: Arc::clone(plugins),
            tokens: WrongTokens::default(),
            drain,
            stall,
            desk: OnceLock::new(),
        })
    }

    pub(crate) fn set_desk(&self, desk: Weak<dyn OperatorDesk>) {
        // A host is set up once.
        let _first = self.desk.set(desk);
    }

    pub(super) fn desk(&self) -> Option<Arc<dyn OperatorDesk>> {
        self.desk.get().and_then(Weak::upgrade)
    }
}

/// A session and what it shares with others.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) hub: Arc<Hub>,
    pub(super) session: Arc<Session>,
}

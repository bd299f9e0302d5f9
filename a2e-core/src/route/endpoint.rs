//! A plugin as the dispatcher sees it: its label, its handlers, whether it takes calls, its permits.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::clock::Clock;
use crate::layers::{BreakerState, Entry, Gate};
use crate::plugin::Handler;
use crate::protocol::ErrorCode;
use crate::request::{PluginLabel, Session};
use crate::sync::RwLock;
use crate::{Error, Result};

/// One loaded plugin in its place in the tables.
pub(crate) struct Endpoint {
    pub(crate) label: Arc<PluginLabel>,
    pub(crate) order: Order,
    /// The longest that one of its handlers may take, where configured.
    pub(crate) deadline: Option<Duration>,
    pub(crate) gate: Arc<Gate>,
    /// Changed when the plugin declares others; a table keeps those that it was built with.
    handlers: RwLock<Arc<[Arc<Handler>]>>,
    /// For plugins that are built per session: the instance of each session.
    pub(crate) instances: Option<Arc<dyn Instances>>,
    /// The endpoint that stands in its place.
    successor: OnceLock<Arc<Endpoint>>,
}

/// Where an endpoint stands among those of one type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// Higher is asked first.
    pub(crate) priority: i64,
    /// Whether it alone is asked where it comes first.
    pub(crate) is_exclusive: bool,
}

/// The instances of a plugin that is built per session.
pub(crate) trait Instances: Send + Sync {
    /// The handlers of this session's instance; `None` while it is being started, which the first
    /// call begins.
    ///
    /// # Errors
    /// When it did not start.
    fn handlers(&self, session: &Arc<Session>) -> Result<Option<Arc<[Arc<Handler>]>>>;

    /// Calls `ready` when this session's instance has started or has failed to.
    ///
    /// # Errors
    /// `overloaded` when too many requests wait for it already.
    fn when_started(&self, session: &Arc<Session>, ready: Box<dyn FnOnce() + Send>) -> Result<()>;
}

/// The handler of a request's step.
#[derive(Debug)]
pub(crate) enum Found {
    Handler(Arc<Handler>),
    /// This session's instance is being started.
    Starting,
}

impl Endpoint {
    pub(crate) fn new(
        label: Arc<PluginLabel>,
        order: Order,
        deadline: Option<Duration>,
        gate: Arc<Gate>,
        handlers: &[Arc<Handler>],
        instances: Option<Arc<dyn Instances>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            label,
            order,
            deadline,
            gate,
            handlers: RwLock::new(handlers.into()),
            instances,
            successor: OnceLock::new(),
        })
    }

    /// Its handlers, in the order of declaration.
    pub(crate) fn handlers(&self) -> Arc<[Arc<Handler>]> {
        Arc::clone(&self.handlers.read())
    }

    pub(crate) fn set_handlers(&self, handlers: Arc<[Arc<Handler>]>) {
        *self.handlers.write() = handlers;
    }

    /// The handler of a type, in the session's own instance where it has one.
    pub(crate) fn find(&self, wire_type: &str, session: &Arc<Session>) -> Result<Found> {
        let handlers = match &self.instances {
            None => self.handlers(),
            Some(instances) => match instances.handlers(session)? {
                Some(handlers) => handlers,
                None => return Ok(Found::Starting),
            },
        };
        let found = handlers.iter().find(|it| it.spec.wire_type == wire_type);
        found.cloned().map(Found::Handler).ok_or_else(|| {
            if self.instances.is_some() {
                return Error::internal("this session's instance declares other handlers");
            }
            let text = format!("plugin `{}` no longer handles `{wire_type}`", self.label.name);
            Error::new(ErrorCode::Unavailable, text)
        })
    }

    /// Asks whether a call may go in; follows to the endpoint that stands in its place.
    pub(crate) fn entry(self: &Arc<Self>, clock: &dyn Clock) -> (Arc<Self>, Entry) {
        let mut endpoint = Arc::clone(self);
        loop {
            let entry = endpoint.label.admission.entry(clock);
            if !matches!(entry, Entry::Moved) {
                return (endpoint, entry);
            }
            let Some(successor) = endpoint.successor.get() else {
                let text = format!("plugin `{}` was removed", endpoint.label.name);
                let error = Error::new(ErrorCode::Unavailable, text);
                return (endpoint, Entry::Refused(error));
            };
            endpoint = Arc::clone(successor);
        }
    }

    /// Whether it takes messages, though perhaps not just now.
    pub(crate) fn is_serving(&self) -> bool {
        self.label.admission.is_serving()
    }

    /// Has calls wait, until [`resume`](Self::resume) or [`retire`](Self::retire). What runs, runs on.
    pub(crate) fn pause(&self) {
        self.label.admission.pause();
        self.gate.pause();
    }

    /// Lets calls in again.
    pub(crate) fn resume(&self) {
        self.label.admission.resume();
        self.gate.resume();
    }

    /// From now on calls go to the successor; without one they are refused.
    pub(crate) fn retire(&self, successor: Option<&Arc<Endpoint>>) {
        if let Some(successor) = successor {
            // An endpoint is replaced once.
            let _first = self.successor.set(Arc::clone(successor));
        }
        self.label.admission.retire();
        if !successor.is_some_and(|it| Arc::ptr_eq(&it.gate, &self.gate)) {
            self.gate.close();
        }
    }

    /// Refuses calls from now on, those that wait as well.
    pub(crate) fn fail(&self) {
        self.label.admission.fail();
        self.gate.resume();
        self.gate.forward_waiting();
    }

    /// Where its breaker stands, and how often it opened.
    pub(crate) fn breaker_state(&self) -> (BreakerState, u64) {
        self.label.admission.breaker_state()
    }
}

show!(Endpoint, name: |it| it.label.name);

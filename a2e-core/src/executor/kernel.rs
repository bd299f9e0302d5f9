//! The parts of a running host, and what they ask of each other from below.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::codec::Body;
use crate::counters::Count;
use crate::layers::Remedy;
use crate::lifecycle::{Plugins, Rebuild, Wanted};
use crate::plugin::{BoxFuture, is_given};
use crate::protocol::host::{
    Explanation, HostReloadRequest, HostSnapshot, HostStatus, HostStop, ReloadReport,
};
use crate::protocol::{ErrorCode, PluginName};
use crate::request::{
    Above, Ask, AskFor, NestedTarget, PluginLabel, Request, Services, Session, SessionHandle,
    TypeSpec,
};
use crate::route::{Route, may_send};
use crate::run::{Runners, Walk};
use crate::sessions::{Hub, OperatorDesk, begin, cut_hung};
use crate::transport::{Connection, Identity};
use crate::{Error, Result};

/// An operator may give accepted requests an hour at most.
const MAX_DRAIN_S: f64 = 3600.0;

/// A running host.
pub(crate) struct Kernel {
    pub(super) services: Arc<Services>,
    pub(super) runners: Arc<Runners>,
    pub(super) plugins: Arc<Plugins>,
    pub(super) hub: Arc<Hub>,
    failure: watch::Sender<Option<String>>,
    /// The session of the program that holds the host.
    own: OnceLock<Arc<Session>>,
    /// How long accepted requests may go on, once an operator has asked for the end.
    stop: watch::Sender<Option<Duration>>,
    me: Weak<Kernel>,
}

impl Kernel {
    pub(super) fn new(
        services: &Arc<Services>,
        plugins: &Arc<Plugins>,
        drain: Duration,
        stall: Duration,
    ) -> Arc<Self> {
        let runners = Runners::new(services);
        let hub = Hub::new(&runners, plugins, drain, stall);
        let kernel = Arc::new_cyclic(|me| Self {
            services: Arc::clone(services),
            runners,
            plugins: Arc::clone(plugins),
            hub,
            failure: watch::Sender::new(None),
            own: OnceLock::new(),
            stop: watch::Sender::new(None),
            me: Weak::clone(me),
        });
        let above: Weak<dyn Above> = kernel.me.clone();
        services.set_above(above);
        let desk: Weak<dyn OperatorDesk> = kernel.me.clone();
        kernel.hub.set_desk(desk);
        kernel
    }

    /// The session in which the program that holds the host makes its requests.
    pub(super) fn own_session(&self) -> Result<Arc<Session>> {
        if let Some(own) = self.own.get() {
            return Ok(Arc::clone(own));
        }
        let made = self.plugins.unread_session("program", Identity::of("program"))?;
        Ok(Arc::clone(self.own.get_or_init(|| made)))
    }

    /// Resolves when the host can no longer serve.
    pub(super) async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Resolves when an operator asks for the end.
    pub(super) async fn stop_asked(&self) -> Duration {
        let mut stop = self.stop.subscribe();
        match stop.wait_for(Option::is_some).await {
            Ok(drain) => drain.unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// The route of a nested request, cut down to the plugins that are meant.
    fn route_for(&self, asked: &AskFor<'_>) -> Result<Arc<Route>> {
        let unknown = |text: String| Error::new(ErrorCode::UnknownType, text);
        let wire_type = asked.wire_type;
        let view = self.plugins.views.of(asked.session.identity().tenant.as_deref());
        let route = view.table.get(wire_type);
        let route = route.ok_or_else(|| unknown(format!("no plugin handles `{wire_type}`")))?;
        let meant = match asked.target {
            NestedTarget::Route => return Ok(Arc::clone(route)),
            NestedTarget::Plugin(name) => route.only(|it| it.name.as_str() == name),
            NestedTarget::Capability(capability) => route.only(|it| it.capability == *capability),
        };
        meant
            .map(Arc::new)
            .ok_or_else(|| unknown(format!("{:?} does not handle `{wire_type}`", asked.target)))
    }
}

impl Ask for Kernel {
    fn spec(&self, asked: &AskFor<'_>) -> Result<Arc<TypeSpec>> {
        Ok(Arc::clone(&self.route_for(asked)?.spec))
    }

    fn start(&self, asked: &AskFor<'_>, request: Arc<Request>, body: Body) -> Result<()> {
        let route = self.route_for(asked)?;
        let identity = asked.session.identity();
        may_send(identity, asked.wire_type, Some(&route), body.as_incoming())
            .inspect_err(|_| self.services.counters.add(Count::Forbidden))?;
        let walk = Walk::elsewhere(&self.runners, request, route, body);
        // A handler that runs inline may take its time there: the caller's thread is no reader.
        self.services.runtime.spawn(async move { walk.begin(None) });
        Ok(())
    }
}

impl Above for Kernel {
    fn reader_hangs(&self, session: &Arc<Session>) {
        cut_hung(&self.hub, session);
    }

    fn sweep(&self) {
        self.plugins.sweep();
    }

    fn heal(&self, plugin: &PluginLabel, remedy: Remedy, reason: &str) {
        let slot = self.plugins.set.instance(plugin.number);
        if let Some(slot) = slot {
            self.plugins.heal(&slot, remedy, reason);
        }
    }

    fn serve(&self, connection: Connection, identity: Identity) -> Result<SessionHandle> {
        begin(&self.hub, connection, identity)
    }
}

impl OperatorDesk for Kernel {
    fn status(&self) -> HostStatus {
        self.look()
    }

    fn explain(&self, message_type: &str) -> Explanation {
        self.explain_type(message_type)
    }

    fn reload(&self, request: HostReloadRequest) -> BoxFuture<ReloadReport> {
        let plugins = Arc::clone(&self.plugins);
        Box::pin(async move {
            let names = if request.rebuild.iter().any(|name| name == "*") {
                let all = plugins.set.all();
                let built = all.iter().filter(|slot| !is_given(&slot.config.cls));
                built.map(|slot| slot.name().clone()).collect()
            } else {
                request.rebuild.into_iter().map(PluginName::from).collect::<Vec<_>>()
            };
            // Without a file there is still something to rebuild.
            let is_from_file = plugins.has_file() || names.is_empty();
            let wanted = if is_from_file { Wanted::File } else { Wanted::InForce };
            // A reload that is refused is no failure of the request: the reply says why.
            match plugins.reload(wanted, Rebuild { names, is_suspect: false }).await {
                Ok(report) => report,
                Err(error) => ReloadReport {
                    ok: false,
                    generation: plugins.views.generation(),
                    problems: error.problems(),
                    code: Some(error.code()),
                    ..ReloadReport::default()
                },
            }
        })
    }

    fn snapshot(&self) -> BoxFuture<Result<HostSnapshot>> {
        let plugins = Arc::clone(&self.plugins);
        Box::pin(async move {
            plugins.snapshot().await.map(|(saved, failed)| HostSnapshot { saved, failed })
        })
    }

    fn stop(&self, drain_s: Option<f64>) -> Result<HostStop> {
        if self.stop.receiver_count() == 0 {
            let text = "the program that this host is part of does not let operators end it";
            return Err(Error::new(ErrorCode::Unavailable, text));
        }
        let drain = match drain_s {
            None => self.hub.drain,
            Some(seconds) if (0.0..=MAX_DRAIN_S).contains(&seconds) => {
                Duration::from_secs_f64(seconds)
            }
            Some(_) => {
                return Err(Error::schema("drain_s", format!("not within 0..={MAX_DRAIN_S}")));
            }
        };
        let HostStatus { in_flight, .. } = self.look();
        self.stop.send_replace(Some(drain));
        Ok(HostStop { drain_s: drain.as_secs_f64(), in_flight, pid: std::process::id() })
    }

    fn fail(&self, reason: &str) {
        self.failure.send_replace(Some(reason.to_owned()));
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("services", &self.services).finish_non_exhaustive()
    }
}

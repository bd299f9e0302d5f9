//! Starting a host: configuration to kernel, plugins loaded, state restored.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::kernel::Kernel;
use super::{Executor, memory};
use crate::Error;
use crate::audit::{self, AuditLog};
use crate::children::{Supervisor, SupervisorConfig};
use crate::clock::{Clock, SystemClock};
use crate::config::{AuditMode, HostConfig, PluginConfig, Problem, SessionIdSource};
use crate::lifecycle::{Brought, LoadError, Plugins};
use crate::plugin::{Given, Plugin, PluginClass, Registry, RegistryError, entry_of};
use crate::request::Services;
use crate::snapshot::SnapshotStore;

/// Why a host did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The program links two plugin classes of one name.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The configuration has errors.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Config(Vec<Problem>),
    /// A plugin with `required: true` could not be loaded.
    #[error("plugin `{plugin}` is required and failed: {reason}")]
    RequiredPlugin {
        /// Its instance name.
        plugin: String,
        /// What went wrong.
        reason: String,
    },
    /// No plugin serves, so the host could do nothing.
    #[error("no plugin serves, so this host could do nothing: {}", .0.join("; "))]
    NoPlugin(Vec<String>),
    /// Audit, snapshot store, child supervisor or a thread could not be had.
    #[error("{0}")]
    Service(Error),
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        Self::Service(error)
    }
}

/// What a host is made of; the configuration decides all that is not set here.
#[derive(Debug)]
pub struct Builder {
    pub(super) config: HostConfig,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) registry: Option<Registry>,
    /// Instances that the program made.
    pub(super) given: Vec<Arc<dyn PluginClass>>,
    pub(super) store: Option<Arc<dyn SnapshotStore>>,
    pub(super) guard: Option<PathBuf>,
    pub(super) source: Option<PathBuf>,
    pub(super) drain: Duration,
    pub(super) stall: Duration,
    pub(super) plugin_limit: Duration,
    pub(super) is_lenient: bool,
}

impl Builder {
    pub(super) fn new(config: HostConfig) -> Self {
        Self {
            config,
            clock: Arc::new(SystemClock::new()),
            registry: None,
            given: Vec::new(),
            store: None,
            guard: None,
            source: None,
            drain: Duration::from_secs(2),
            stall: Duration::from_secs(10),
            plugin_limit: Duration::from_secs(5),
            is_lenient: false,
        }
    }

    /// Starts with what there is: settings that a class does not know are warnings, a plugin with wrong
    /// settings is left out, and a host without any plugin starts, for one that gets them later.
    #[must_use]
    pub fn lenient(mut self) -> Self {
        self.is_lenient = true;
        let plugins = self.config.plugins.into_iter();
        self.config.plugins = plugins.map(|it| it.lenient(true)).collect();
        self
    }

    /// Another clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// These plugin classes instead of all that are linked.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Loads this instance behind the plugins of the configuration, under the name of its type in snake case
    /// (`MyPlugin` is `my_plugin`) and with a capability of that name. So a program gives a plugin what no
    /// settings can say: its own state. The instance stays through every reload, and is not built anew.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use a2e_core::plugin::{Answer, Handlers, Plugin};
    /// use a2e_core::request::Call;
    /// use a2e_core::{Executor, config::HostConfig, message};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct CountRequest { by: u64 }
    /// #[derive(Serialize, Deserialize)]
    /// struct CountResponse { count: u64 }
    /// message!(CountResponse, "count/resp");
    /// message!(CountRequest, "count/req" => CountResponse, First);
    ///
    /// struct Counter(Arc<AtomicU64>);
    ///
    /// impl Counter {
    ///     fn count(&self, request: CountRequest, _: &Call) -> Answer<CountResponse> {
    ///         let before = self.0.fetch_add(request.by, Ordering::Relaxed);
    ///         Ok(CountResponse { count: before + request.by }.into())
    ///     }
    /// }
    ///
    /// impl Plugin for Counter {
    ///     fn handlers(on: &mut Handlers<Self>) {
    ///         on.inline(Self::count);
    ///     }
    /// }
    ///
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # runtime.block_on(async {
    /// let count = Arc::new(AtomicU64::new(40));
    /// let host = Executor::builder(HostConfig::new()).plugin(Counter(Arc::clone(&count))).start().await?;
    /// let reply = host.call(&CountRequest { by: 2 }).await.unwrap();
    /// assert_eq!((reply.count, count.load(Ordering::Relaxed)), (42, 42));
    /// # host.shutdown(std::time::Duration::ZERO).await;
    /// # Ok::<(), a2e_core::executor::StartError>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn plugin<P: Plugin>(self, plugin: P) -> Self {
        self.plugin_as(entry_of::<P>(), plugin)
    }

    /// As [`plugin`](Self::plugin), under a name, a capability, a priority and limits of its own. The entry's
    /// `cls` and settings are not used.
    #[must_use]
    pub fn plugin_as<P: Plugin>(mut self, entry: PluginConfig, plugin: P) -> Self {
        let (entry, class) = Given::new(entry, plugin);
        self.config.plugins.push(entry);
        self.given.push(Arc::new(class));
        self
    }

    /// This store instead of the configured one.
    #[must_use]
    pub fn snapshot_store(mut self, store: Arc<dyn SnapshotStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// The program that guards child processes; its `main` must begin with
    /// [`run_if_guard`](crate::children::run_if_guard). Without one, children are held by their
    /// process group only, which status says.
    #[must_use]
    pub fn guard(mut self, program: impl Into<PathBuf>) -> Self {
        self.guard = Some(program.into());
        self
    }

    /// The file that [`Executor::reload`](super::Executor::reload) and `host/reload/req` read anew.
    #[must_use]
    pub fn config_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.source = Some(file.into());
        self
    }

    /// How long a session may go on after the end of its input; 2 s unless set.
    #[must_use]
    pub fn drain(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    /// How long a peer may take nothing of what is sent to it before its connection is cut; 10 s
    /// unless set. On stdio nobody is cut.
    #[must_use]
    pub fn stall_limit(mut self, limit: Duration) -> Self {
        self.stall = limit;
        self
    }

    /// How long a plugin may take to be built, restored, started, saved, to let go of a session, and
    /// to end; 5 s each unless set. What takes longer is gone on without.
    #[must_use]
    pub fn plugin_limit(mut self, limit: Duration) -> Self {
        self.plugin_limit = limit;
        self
    }

    /// Loads the plugins and starts the host. Needs a running tokio with several threads.
    ///
    /// # Errors
    /// [`StartError`]; a plugin that cannot be had without `required: true` is no error of the host as
    /// long as another one serves.
    pub async fn start(self) -> Result<Executor, StartError> {
        let registry = match self.registry {
            Some(registry) => registry,
            None => Registry::linked()?,
        };
        let mut problems = self.config.problems();
        // Of two instances under one name the configuration tells better than the registry.
        if !problems.iter().any(Problem::is_error) {
            for class in self.given {
                registry.add(class)?;
            }
        }
        if !self.is_lenient {
            let plugins = self.config.enabled_plugins();
            problems
                .extend(plugins.filter_map(|it| Some(registry.find(&it.cls)?.check(it))).flatten());
        }
        problems.retain(Problem::is_error);
        if !problems.is_empty() {
            return Err(StartError::Config(problems));
        }
        let store = match self.store {
            Some(store) => Some(store),
            None => open_store(&self.config)?,
        };
        let children =
            Supervisor::new(SupervisorConfig { guard: self.guard, ..SupervisorConfig::default() })?;
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| Error::internal("a host needs a running tokio"))?;
        let audit = Arc::new(open_audit(&self.config)?);
        let services = Services::new(Arc::new(self.config), self.clock, runtime, audit);
        let brought = Brought {
            registry,
            source: self.source,
            is_lenient: self.is_lenient,
            store,
            children: Some(children),
            limit: self.plugin_limit,
        };
        let plugins = Plugins::new(&services, brought);
        let kernel = Kernel::new(&services, &plugins, self.drain, self.stall);
        kernel.runners.start_watchdog()?;
        memory::start(&services);
        if let Err(LoadError { plugin, reason }) = plugins.load().await {
            // What was started before is ended in order.
            kernel.shut_down(Duration::ZERO).await;
            return Err(StartError::RequiredPlugin { plugin, reason });
        }
        let serving = plugins.set.serving().len();
        if serving == 0 && !self.is_lenient {
            let why = kernel.why_idle();
            kernel.shut_down(Duration::ZERO).await;
            return Err(StartError::NoPlugin(why));
        }
        plugins.start_saving();
        tracing::info!(
            host = %services.config.host_id,
            plugins = serving,
            audit = services.audit.mode(),
            isolation = plugins.isolation(),
            "host started"
        );
        if serving == 0 {
            tracing::warn!("no plugin is loaded; only ping and handshake are answered");
        }
        Ok(Executor { kernel })
    }
}

fn open_audit(config: &HostConfig) -> Result<AuditLog, StartError> {
    let wanted = &config.audit;
    if wanted.mode == AuditMode::Off {
        return Ok(AuditLog::off());
    }
    let Some(path) = &wanted.path else {
        tracing::warn!("audit is enabled without `audit.path`; records go to the log only");
        return Ok(AuditLog::off());
    };
    Ok(AuditLog::open(audit::AuditConfig {
        mode: wanted.mode,
        on_error: wanted.on_error,
        path: path.clone(),
        max_bytes: wanted.max_bytes,
        backup_count: wanted.backup_count,
        session_id_source: match wanted.session_id_source {
            SessionIdSource::Uuid => audit::SessionIdSource::Uuid,
            SessionIdSource::HostId => audit::SessionIdSource::HostId(config.host_id.clone()),
        },
    })?)
}

fn open_store(config: &HostConfig) -> Result<Option<Arc<dyn SnapshotStore>>, StartError> {
    let Some(store) = &config.snapshot_store else { return Ok(None) };
    Ok(Some(crate::snapshot::open_for_host(store)?))
}

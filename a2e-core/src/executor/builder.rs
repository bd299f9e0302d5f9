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
use crate::config::{AuditOnError, HostConfig, Problem, SessionIdSource};
use crate::lifecycle::{Brought, LoadError, Plugins};
use crate::plugin::{Registry, RegistryError};
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
    config: HostConfig,
    clock: Arc<dyn Clock>,
    registry: Option<Registry>,
    store: Option<Arc<dyn SnapshotStore>>,
    guard: Option<PathBuf>,
    source: Option<PathBuf>,
    drain: Duration,
    stall: Duration,
    plugin_limit: Duration,
}

impl Builder {
    pub(super) fn new(config: HostConfig) -> Self {
        Self {
            config,
            clock: Arc::new(SystemClock::new()),
            registry: None,
            store: None,
            guard: None,
            source: None,
            drain: Duration::from_secs(2),
            stall: Duration::from_secs(10),
            plugin_limit: Duration::from_secs(5),
        }
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
    /// [`StartError`]; a plugin that fails without `required: true` is no error of the host.
    pub async fn start(self) -> Result<Executor, StartError> {
        let problems: Vec<Problem> =
            self.config.problems().into_iter().filter(Problem::is_error).collect();
        if !problems.is_empty() {
            return Err(StartError::Config(problems));
        }
        let registry = match self.registry {
            Some(registry) => registry,
            None => Registry::linked()?,
        };
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
        plugins.start_saving();
        let serving = plugins.set.serving().len();
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
    if wanted.mode == crate::config::AuditMode::Off {
        return Ok(AuditLog::off());
    }
    let Some(path) = &wanted.path else {
        tracing::warn!("audit is enabled without `audit.path`; records go to the log only");
        return Ok(AuditLog::off());
    };
    Ok(AuditLog::open(audit::AuditConfig {
        mode: audit_mode(wanted.mode),
        on_error: wanted.on_error.map(|on_error| match on_error {
            AuditOnError::Continue => audit::OnError::Continue,
            AuditOnError::Refuse => audit::OnError::Refuse,
        }),
        path: path.clone(),
        max_bytes: wanted.max_bytes,
        backup_count: wanted.backup_count,
        session_id_source: match wanted.session_id_source {
            SessionIdSource::Uuid => audit::SessionIdSource::Uuid,
            SessionIdSource::HostId => audit::SessionIdSource::HostId(config.host_id.clone()),
        },
    })?)
}

fn audit_mode(mode: crate::config::AuditMode) -> audit::AuditMode {
    match mode {
        crate::config::AuditMode::Off => audit::AuditMode::Off,
        crate::config::AuditMode::Buffered => audit::AuditMode::Buffered,
        crate::config::AuditMode::Write => audit::AuditMode::Write,
        crate::config::AuditMode::Sync => audit::AuditMode::Sync,
    }
}

fn open_store(config: &HostConfig) -> Result<Option<Arc<dyn SnapshotStore>>, StartError> {
    let Some(store) = &config.snapshot_store else { return Ok(None) };
    Ok(Some(crate::snapshot::open_for_host(store)?))
}
